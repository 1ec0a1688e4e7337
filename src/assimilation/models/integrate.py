"""Time stepping shared by the forward models."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import checks


class ForwardModel(Protocol):
    """What every method asks of a model: a time step and a way to take it."""

    dt: float

    def step(self, state: Float[Array, " D"], dt: float) -> Float[Array, " D"]: ...


def rk4_step(
    tendency: Callable[[Float[Array, " D"]], Float[Array, " D"]],
    state: Float[Array, " D"],
    dt: float,
) -> Float[Array, " D"]:
    """One step of the classical fourth-order Runge-Kutta scheme.

    `tendency` gives dx/dt for a state of shape (D,); `dt` is in model time units.
    """
    k1 = tendency(state)
    k2 = tendency(state + dt / 2 * k1)
    k3 = tendency(state + dt / 2 * k2)
    k4 = tendency(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def free_forecast(forward: Any, x0: Float[Array, " D"], n_steps: int) -> Float[Array, "T D"]:
    """Run the model from `x0` for `n_steps` steps, with nothing to correct it.

    Returns the states at steps 0 (that is, `x0`) to `n_steps`, shape
    (n_steps + 1, D). Raises TypeError if `forward` is not a forward model and
    ValueError for a negative `n_steps` or an `x0` that is not a vector.
    """
    checks.forward_model(forward)
    checks.count(0, n_steps=n_steps)
    checks.shape((None,), x0=x0)

    def advance(state, _):
        new = forward.step(state, forward.dt)
        return new, new

    _, states = jax.lax.scan(advance, x0, length=n_steps)
    return jnp.concatenate([x0[None], states])
