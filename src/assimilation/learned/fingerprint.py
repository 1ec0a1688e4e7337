"""A hash of values and of the code that they use, the same in every process."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax

PACKAGE = __name__.partition(".")[0]
LIBRARIES = (jax, jaxlib, optax, eqx, np)
PLAIN = bool | int | float | complex | str | bytes | None | type(...)


def fingerprint(*things: Any) -> str:
    """A hash of `things` and of the code that has a part in what is made of them.

    Arrays count with type, shape and values, objects with their class and fields. What is
    found by name in this package counts with the source of its module and of all modules
    of the package that this one imports; in an installed library, with its name and the
    library's version. Other functions, lambdas among them, count with their bytecode, their
    defaults, and the values that they take from around them.

    Raises TypeError for an object that can be told from others only by its address.
    """
    digest, places, seen = hashlib.sha256(), set(), []

    def add(thing: Any) -> None:
        if isinstance(thing, PLAIN):
            digest.update(repr((type(thing).__name__, thing)).encode())
        elif any(thing is other for other in seen):
            digest.update(b"seen")
        else:
            seen.append(thing)
            places.add(getattr(thing, "__module__", None) or type(thing).__module__)
            digest.update(type(thing).__qualname__.encode())
            for part in _parts(thing):
                add(part)

    add([sys.version_info[:2], [library.__version__ for library in LIBRARIES]])
    for thing in things:
        add(thing)
    tops = {str(place).partition(".")[0] for place in places} - {PACKAGE}
    add([(top, str(getattr(sys.modules.get(top), "__version__", ""))) for top in sorted(tops)])
    ours = [place for place in places if str(place).partition(".")[0] == PACKAGE]
    for name in sorted(frozenset().union(*map(imported_from, ours))):
        digest.update(Path(sys.modules[name].__file__).read_bytes())
    return digest.hexdigest()[:20]


def _parts(thing: Any) -> list[Any]:
    """What a thing is made of."""
    if eqx.is_array(thing) or isinstance(thing, np.ndarray | np.generic):
        if jnp.issubdtype(thing.dtype, jax.dtypes.prng_key):
            thing = jax.random.key_data(thing)
        return [str(thing.dtype), str(thing.shape), np.asarray(thing).tobytes()]
    if isinstance(thing, list | tuple):
        return [len(thing), *thing]
    if isinstance(thing, dict | types.MappingProxyType):
        return [len(thing), *thing.items()]
    if isinstance(thing, set | frozenset):
        return sorted(fingerprint(part) for part in thing)
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.CodeType):
        return [thing.co_code, thing.co_names, thing.co_varnames, thing.co_consts]
    name, module = getattr(thing, "__qualname__", None), getattr(thing, "__module__", None)
    if isinstance(name, str):
        if _found_by_name(module, name):
            return [module, name]
        if isinstance(thing, type):
            written = {k: v for k, v in vars(thing).items() if inspect.isfunction(v)}
            return [name, thing.__bases__, written, str(inspect.get_annotations(thing))]
        function = inspect.unwrap(thing)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        around = [function.__globals__.get(used) for used in function.__code__.co_names]
        return [name, function.__code__, function.__defaults__, function.__kwdefaults__, cells] + [
            value for value in around if not inspect.ismodule(value)
        ]
    if dataclasses.is_dataclass(thing):
        return [
            type(thing).__qualname__,
            *(getattr(thing, f.name) for f in dataclasses.fields(thing)),
        ]
    if " at 0x" in repr(thing):
        raise TypeError(
            f"{thing!r} cannot be told from others of its kind in another process: pass a "
            "function, or a dataclass whose fields say what it does."
        )
    return [repr(thing)]


def _found_by_name(module: str | None, name: str) -> bool:
    """Whether a name leads to a place whose source or version tells what it does."""
    file = getattr(sys.modules.get(str(module)), "__file__", "")
    here = str(module).partition(".")[0] == PACKAGE
    known = (
        here
        or "site-packages" in file
        or (module in sys.stdlib_module_names and module != "__main__")
    )
    return known and "<lambda>" not in name and "<locals>" not in name


@functools.cache
def imported_from(name: str) -> frozenset[str]:
    """The modules of this package that module `name` needs: itself and what it imports."""
    found, left = set(), [name]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += _imports(name)
    return frozenset(found)


def _imports(name: str) -> list[str]:
    """The modules of this package that `name` imports, from its source."""
    found = []
    for node in ast.walk(ast.parse(Path(sys.modules[name].__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [each if each in sys.modules else node.module for each in whole]
    return [each for each in found if each.partition(".")[0] == PACKAGE]
