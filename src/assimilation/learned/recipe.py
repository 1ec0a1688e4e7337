"""How weights are trained, told in a form that all versions of the libraries agree on."""

import hashlib
import inspect
import textwrap
import types
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from assimilation.learned import fingerprint
from assimilation.learned.flow import Modes
from assimilation.learned.heads import GaussianHead, RegressionHead
from assimilation.learned.normalisation import Normalisation
from assimilation.problems import Background

# Fields that are statistics of long chaotic runs: versions agree on them as two samples do.
STATISTICS = {
    Background: ("mean", "covariance"),
    Normalisation: ("mean", "std"),
    RegressionHead: ("weights",),
    GaussianHead: ("scale",),
    Modes: ("size", "basis", "scale", "rest"),
}
SAMPLING, ROUNDING = 0.05, 1e-5
GENERATED = {"__init__", "__eq__", "__repr__"}  # by dataclasses, from what the fields say


class Recipe(NamedTuple):
    """How weights are trained, in a form that other versions of the libraries find too.

    `code` is a hash of the exact settings and of the sources; `numbers` has a row for each
    array of floats, whose last digits differ between versions.
    """

    code: str
    numbers: list[list[float]]

    def fits(self, code: str, numbers: list[list[float]]) -> bool:
        """Whether weights of another recipe can stand for those of this one."""
        pairs = zip(self.numbers, numbers, strict=False)
        return (self.code, len(self.numbers)) == (code, len(numbers)) and all(
            _close(*pair) for pair in pairs
        )


class _Statistic(NamedTuple):
    values: Any


def recipe(*things: Any) -> Recipe:
    """The recipe of what is made of `things`; as `fingerprint`, without versions and bytecode.

    Raises TypeError for a function without source text, as one typed at a prompt.
    """
    digest, numbers = hashlib.sha256(), []

    def parts(thing: Any) -> list[Any]:
        if isinstance(thing, _Statistic):
            size = float(np.mean(np.abs(np.asarray(thing.values, float))))
            numbers.append([size])
            return [str(np.shape(thing.values))]
        if eqx.is_inexact_array(thing):
            numbers.append(_summary(np.asarray(thing)))
            return [str(thing.dtype), str(thing.shape)]
        if isinstance(thing, set | frozenset):
            return sorted(recipe(part).code for part in thing)
        if isinstance(thing, types.CodeType):
            return [_source(thing)]
        if fields := STATISTICS.get(type(thing)):
            rest = [getattr(thing, f) for f in thing.__dataclass_fields__ if f not in fields]
            leaves = jax.tree.leaves([getattr(thing, f) for f in fields])
            return [*rest, *map(_Statistic, filter(eqx.is_inexact_array, leaves))]
        found = fingerprint.parts(thing)
        name, module = getattr(thing, "__qualname__", None), getattr(thing, "__module__", None)
        if isinstance(name, str) and fingerprint.found_by_name(module, name):
            return [module.partition(".")[0], name]  # libraries move things between files
        if isinstance(thing, type):
            _, bases, written, _ = found
            written = {k: v for k, v in written.items() if k not in GENERATED or _has_source(v)}
            return [name, bases, written, list(inspect.get_annotations(thing))]
        return found

    places = fingerprint.walk(things, digest.update, parts)
    for source in fingerprint.sources(places):
        digest.update(source)
    return Recipe(digest.hexdigest()[:20], numbers)


def _summary(values: np.ndarray) -> list[float]:
    """Mean size, mean, and a mean that sees an exchange of entries."""
    values = values.astype(float).ravel()
    if not values.size:
        return [0.0, 0.0, 0.0]
    ramp = np.linspace(0, 1, values.size)
    return [float(each) for each in (np.abs(values).mean(), values.mean(), (ramp * values).mean())]


def _close(one: list[float], other: list[float]) -> bool:
    tolerance = SAMPLING if len(one) == 1 else ROUNDING
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * one[0]))


def _source(code: types.CodeType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(code))
    except OSError:
        raise TypeError(
            f"{code.co_name} has no source text: define it in a cell or a file."
        ) from None


def _has_source(function: types.FunctionType) -> bool:
    try:
        return bool(inspect.getsource(function))
    except OSError:
        return False
