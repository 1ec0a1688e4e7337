"""Operators: from a state to what an instrument would show without error."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int

from assimilation import require

Time = int | Int[Array, ""]


@runtime_checkable
class ObsOperator(Protocol):
    """What observations ask of an operator: their noise-free values, given state and time.

    `time` counts steps; most operators pay no attention to it.
    """

    def __call__(self, state: Float[Array, " D"], time: Time) -> Float[Array, " N"]: ...


class Fixed(eqx.Module):
    """A function as a part of a pytree, without leaves: `vmap` may then return it."""

    function: Callable = eqx.field(static=True)

    @classmethod
    def of(cls, function: Callable) -> Callable:
        """The function itself where it is a Module, whose arrays are leaves."""
        return function if isinstance(function, eqx.Module) else cls(function)

    def __call__(self, *arguments):
        return self.function(*arguments)


class LinearObs(eqx.Module):
    """Linear observations H x.

    `H_mat` is a matrix (N, D), a lineax operator from a state (D,) to N values, or a
    function from the time in steps to a matrix. An identity on whole trajectories (T, D)
    means "the state itself, at each time".
    """

    H_mat: lx.AbstractLinearOperator | Callable[[Time], Float[Array, "N D"]]

    def __init__(self, H_mat):
        if callable(H_mat) and not isinstance(H_mat, lx.AbstractLinearOperator):
            H_mat = Fixed.of(H_mat)
        elif not isinstance(H_mat, lx.AbstractLinearOperator):
            H_mat = require.array("H_mat", H_mat)
            require.shape(("N", "D"), H_mat=H_mat)
            require.finite(H_mat=H_mat)
            H_mat = lx.MatrixLinearOperator(H_mat)
        if isinstance(H_mat, lx.AbstractLinearOperator):
            shape = H_mat.in_structure().shape
            if isinstance(H_mat, lx.IdentityLinearOperator) and len(shape) == 2:
                H_mat = identity(shape[1]).H_mat
            elif len(shape) != 1:
                raise ValueError(f"H_mat acts on shape {shape}: pass an operator on (D,).")
        self.H_mat = H_mat

    def __call__(self, state: Float[Array, " D"], time: Time = 0) -> Float[Array, " N"]:
        """The observations (N,) of a state (D,), without noise."""
        if isinstance(self.H_mat, lx.AbstractLinearOperator):
            columns = self.H_mat.in_structure().shape
            if jnp.shape(state) != columns:
                raise ValueError(
                    f"H_mat acts on states {columns}, and the state has shape "
                    f"{jnp.shape(state)}: pass one H_mat column for each of its entries."
                )
            return self.H_mat.mv(state)
        matrix = self.H_mat(time)
        require.shape(("N", *jnp.shape(state)), **{"what H_mat(time) gives": matrix})
        return matrix @ state

    def matrix(self, time: Time = 0) -> Float[Array, "N D"]:
        """H at one time, as a matrix."""
        if isinstance(self.H_mat, lx.AbstractLinearOperator):
            return self.H_mat.as_matrix()
        return self.H_mat(time)


class NonlinearObs(eqx.Module):
    """Nonlinear observations h(x): any differentiable function of one state (D,)."""

    function: Callable[[Float[Array, " D"]], Float[Array, " N"]]

    def __init__(self, function):
        if not callable(function):
            raise TypeError(
                f"function is {type(function).__name__}: pass a function from a "
                "state (D,) to its observations (N,)."
            )
        self.function = Fixed.of(function)

    def __call__(self, state: Float[Array, " D"], time: Time = 0) -> Float[Array, " N"]:
        """The observations (N,) of a state (D,), without noise."""
        return self.function(state)


class Together(eqx.Module):
    """The values of several instruments, one after another."""

    operators: tuple[ObsOperator, ...]

    def __call__(self, state: Float[Array, " D"], time: Time = 0) -> Float[Array, " N"]:
        """The observations (N,) of a state (D,), without noise."""
        return jnp.concatenate([operator(state, time) for operator in self.operators])

    def matrix(self, time: Time = 0) -> Float[Array, "N D"]:
        """H at one time, as a matrix, if all instruments are linear."""
        return jnp.concatenate([operator.matrix(time) for operator in self.operators])


def is_linear(operator: ObsOperator) -> bool:
    """True for `LinearObs`, and for several of them together."""
    if isinstance(operator, Together):
        return all(map(is_linear, operator.operators))
    return isinstance(operator, LinearObs)


def identity(size: int) -> LinearObs:
    """The operator that observes each of the `size` entries of the state itself."""
    return LinearObs(
        lx.IdentityLinearOperator(jax.ShapeDtypeStruct((size,), jnp.result_type(float)))
    )


def check_operator(operator: Any, name: str = "operator") -> None:
    """Raise TypeError unless an operator can be called with a state and a time."""
    advice = "pass LinearObs(H_mat=...), NonlinearObs(function) or a function of state and time."
    if not callable(operator):
        raise TypeError(f"{name} is {type(operator).__name__}: {advice}")
    try:
        inspect.signature(operator).bind(None, None)
    except TypeError:
        raise TypeError(f"{name} takes no state and time: {advice}") from None
