"""What is required of arguments, before any long computation.

Every message names the argument, says what arrived and what to pass instead.
Values that JAX is tracing cannot be looked at; checks of values are skipped
for them, checks of shapes never are.
"""

from collections.abc import Iterable
from types import UnionType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array


def is_concrete(value: Any) -> bool:
    """True if no leaf of `value` is a JAX tracer."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def array(name: str, value: Any) -> Array:
    """`value` as an array of the default float type; TypeError if it is not numbers."""
    try:
        return jnp.asarray(value, float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {type(value).__name__}: pass an array of numbers.") from None


def positive(**arguments: Any) -> None:
    """Raise ValueError unless each argument is a finite number above zero."""
    for name, value in arguments.items():
        if not is_concrete(value):
            continue
        number = eqx.is_array_like(value) and np.ndim(value) == 0
        if not number or not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r}: pass a finite number above zero.")


def count(minimum: int = 1, **arguments: int) -> None:
    """Raise ValueError unless each argument is a whole number >= `minimum`."""
    for name, value in arguments.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < minimum:
            raise ValueError(f"{name}={value!r}: pass a whole number, {minimum} or larger.")


def one_of(options: Iterable[str], **arguments: Any) -> None:
    """Raise ValueError unless each argument is one of `options`."""
    options = tuple(options)
    for name, value in arguments.items():
        if value not in options:
            known = ", ".join(repr(option) for option in options)
            raise ValueError(f"{name}={value!r}: pass one of {known}.")


def shape(expected: tuple[int | str, ...], **arguments: Any) -> None:
    """Raise ValueError unless each array has the `expected` shape (a name: any length)."""
    for name, value in arguments.items():
        got = np.shape(value)
        matches = len(got) == len(expected) and all(
            isinstance(want, str) or want == have for want, have in zip(expected, got, strict=True)
        )
        if not matches:
            text = "(" + ", ".join(map(str, expected)) + ("," * (len(expected) == 1)) + ")"
            raise ValueError(f"{name} has shape {got}: pass an array of shape {text}.")


def key(**arguments: Any) -> None:
    """Raise TypeError unless each argument is one JAX random key."""
    for name, value in arguments.items():
        if eqx.is_array(value):
            typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
            if typed and value.shape == ():
                continue
            if not typed and value.dtype == jnp.uint32 and value.shape == (2,):
                continue
        got = (
            f"an array of shape {value.shape} and dtype {value.dtype}"
            if eqx.is_array(value)
            else repr(value)
        )
        raise TypeError(f"{name} is {got}: pass one JAX random key, such as jax.random.key(0).")


def forward_model(forward: Any) -> None:
    """Raise TypeError unless `forward` has `dt` and a callable `step`."""
    if not (hasattr(forward, "dt") and callable(getattr(forward, "step", None))):
        raise TypeError(
            f"forward is {type(forward).__name__}: pass a forward model, an object "
            "with `dt` and `step(state, dt) -> state`, such as Lorenz96Forward()."
        )


def is_a(expected: type | UnionType, advice: str, **arguments: Any) -> None:
    """Raise TypeError unless each argument is an instance of `expected`."""
    for name, value in arguments.items():
        if not isinstance(value, expected):
            raise TypeError(f"{name} is {type(value).__name__}: pass {advice}.")


def start(function: Any) -> None:
    """Raise TypeError unless a `start` can be called."""
    if not callable(function):
        raise TypeError(
            f"start is {type(function).__name__}: pass a function from a random key to a state "
            "(D,) to spin up from."
        )


def parameters(forward: Any) -> None:
    """Raise ValueError unless a model's parameters are finite numbers and `dt` is above zero."""
    positive(dt=forward.dt)
    for name, field in forward.__dataclass_fields__.items():
        values = jax.tree.leaves(getattr(forward, name))
        if field.metadata.get("static") or not is_concrete(values):
            continue
        if not all(eqx.is_array_like(value) and np.all(np.isfinite(value)) for value in values):
            raise ValueError(f"{name}={getattr(forward, name)!r}: pass finite numbers.")


def operator(**arguments: Any) -> None:
    """Raise TypeError unless each argument is a lineax operator."""
    for name, op in arguments.items():
        if not isinstance(op, lx.AbstractLinearOperator):
            raise TypeError(
                f"{name} is {type(op).__name__}: pass a lineax operator, such as "
                "dense(matrix) or scaled_identity(variance, size)."
            )


def covariance(name: str, op: Any, shape_wanted: tuple[int, ...]) -> None:
    """Raise unless `op` is a positive semidefinite lineax operator on that shape."""
    operator(**{name: op})
    got = op.in_structure().shape
    if got != tuple(shape_wanted) or op.out_structure().shape != got:
        raise ValueError(
            f"{name} maps shape {got} to {op.out_structure().shape}: "
            f"pass a covariance on shape {tuple(shape_wanted)}."
        )
    if not (lx.is_positive_semidefinite(op) or lx.is_diagonal(op)):
        raise ValueError(
            f"{name} carries no positive semidefinite tag: pass "
            "lx.TaggedLinearOperator(op, lx.positive_semidefinite_tag) if it is one."
        )


def finite(**arguments: Any) -> None:
    """Raise ValueError if a concrete array holds NaN or infinity."""
    for name, value in arguments.items():
        if is_concrete(value) and not np.all(np.isfinite(np.asarray(value))):
            bad = int(np.sum(~np.isfinite(np.asarray(value))))
            raise ValueError(
                f"{name} holds {bad} entries that are NaN or infinite: pass finite values (for "
                "missing observations, and only these, 0 in the mask)."
            )


def zeros_and_ones(**arguments: Any) -> None:
    """Raise ValueError if a concrete array holds anything but 0 and 1."""
    for name, value in arguments.items():
        if is_concrete(value) and not np.isin(np.asarray(value), (0, 1)).all():
            raise ValueError(f"{name} holds values other than 0 and 1: pass only those.")


def variances(name: str, value: Any) -> None:
    """Raise ValueError unless concrete variances (n, N) or covariances (n, N, N) are positive."""
    if not is_concrete(value):
        return
    finite(**{name: value})
    value = np.asarray(value, dtype=np.float64)
    if value.ndim == 3 and not np.allclose(value, value.swapaxes(1, 2), rtol=1e-5):
        raise ValueError(f"{name} is not symmetric: pass (matrix + matrix.T) / 2.")
    smallest = np.min(np.linalg.eigvalsh(value) if value.ndim == 3 else value, initial=np.inf)
    if not smallest > 0:
        raise ValueError(
            f"{name} has a variance of {smallest:.2g}: pass error variances above zero (for a "
            "missing observation put 0 in the mask)."
        )


def positive_definite(name: str, op: lx.AbstractLinearOperator) -> None:
    """Raise ValueError if a concrete matrix or diagonal is not positive definite."""
    if not is_concrete(op):
        return
    if lx.is_diagonal(op):
        smallest = float(np.min(np.asarray(lx.diagonal(op))))
    elif isinstance(op, lx.MatrixLinearOperator):
        matrix = np.asarray(op.matrix, dtype=np.float64)
        if not np.all(np.isfinite(matrix)):
            raise ValueError(f"{name} holds NaN or infinity: pass finite values.")
        asymmetry = np.abs(matrix - matrix.T).max()
        if asymmetry > 1e-5 * np.abs(matrix).max():
            raise ValueError(
                f"{name} is not symmetric (by up to {asymmetry:.2g}): pass (matrix + matrix.T) / 2."
            )
        smallest = float(np.linalg.eigvalsh(matrix)[0])
    else:
        return
    if not smallest > 0:
        raise ValueError(
            f"{name} is not positive definite (smallest eigenvalue {smallest:.2g}): "
            "pass a covariance with all eigenvalues above zero, for instance by adding "
            "a small multiple of the identity."
        )
