"""A hash of values and of the code that they use, the same in every process."""

import ast
import dataclasses
import dis
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
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
    digest = hashlib.sha256()
    digest.update(repr(sys.version_info[:2]).encode())
    digest.update(repr([library.__version__ for library in LIBRARIES]).encode())
    places = walk(things, digest.update, parts)
    tops = {place.partition(".")[0] for place in places} - {PACKAGE}
    for top in sorted(tops):
        digest.update(repr((top, getattr(sys.modules.get(top), "__version__", ""))).encode())
    for source in sources(places):
        digest.update(source)
    return digest.hexdigest()[:20]


def walk(
    things: tuple[Any, ...], note: Callable[[bytes], None], parts: Callable[[Any], list[Any]]
) -> set[str]:
    """Notes what tells `things` from others, piece by piece; returns the modules they are from.

    `parts` says what a thing is made of that is no plain value.
    """
    places, seen = set(), []

    def add(thing: Any) -> None:
        if isinstance(thing, PLAIN):
            note(repr((type(thing).__name__, thing)).encode())
        elif any(thing is other for other in seen):
            note(b"seen")
        else:
            seen.append(thing)
            kind = type(thing)
            places.add(str(getattr(thing, "__module__", None) or kind.__module__))
            note(kind.__qualname__.encode())
            if not found_by_name(kind.__module__, kind.__qualname__):
                add(kind)  # its methods are nowhere but here
            for part in parts(thing):
                add(part)

    for thing in things:
        add(thing)
    return places


def sources(places: set[str]) -> Iterator[bytes]:
    """The source of the modules of this package in `places` and of all that they import."""
    ours = [place for place in places if place.partition(".")[0] == PACKAGE]
    for name in sorted(frozenset().union(*map(imported_from, ours))):
        yield Path(sys.modules[name].__file__).read_bytes()


def parts(thing: Any) -> list[Any]:
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
        if found_by_name(module, name):
            return [module, name]
        if isinstance(thing, type):
            inner = {k: _unwrapped(v) for k, v in vars(thing).items()}
            written = {k: v for k, v in inner.items() if inspect.isfunction(v)}
            return [name, thing.__bases__, written, str(inspect.get_annotations(thing))]
        function = inspect.unwrap(thing)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        around = [function.__globals__.get(used) for used in _globals_of(function.__code__)]
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


def _globals_of(code: types.CodeType) -> list[str]:
    """The global names that a function reads, those within its inner functions too."""
    used = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return sorted(used.union(*map(_globals_of, inner)))


def _unwrapped(attribute: Any) -> Any:
    """The function in a property, a class method or a decorator."""
    return inspect.unwrap(getattr(attribute, "fget", None) or attribute)


def found_by_name(module: str | None, name: str) -> bool:
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
