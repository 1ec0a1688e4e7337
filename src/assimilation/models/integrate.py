"""Time stepping shared by the forward models."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation import require

# A parameter of a model: a number, or a scalar array to differentiate, batch or estimate.
Parameter = float | Float[Array, ""]


@runtime_checkable
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


def free_forecast(
    forward: ForwardModel, x0: Float[Array, " D"], n_steps: int
) -> Float[Array, "T D"]:
    """Run the model from `x0` for `n_steps` steps, with nothing to correct it.

    Returns the states at steps 0 (that is, `x0`) to `n_steps`, shape
    (n_steps + 1, D). Raises TypeError if `forward` is not a forward model and
    ValueError for a negative `n_steps` or an `x0` that is not a vector.
    """
    require.forward_model(forward)
    require.count(0, n_steps=n_steps)
    x0 = require.array("x0", x0)
    require.shape(("D",), x0=x0)

    def advance(state, _):
        new = forward.step(state, forward.dt)
        return new, new

    _, states = jax.lax.scan(advance, x0, length=n_steps)
    return jnp.concatenate([x0[None], states])


def forced_trajectory(
    forward: ForwardModel, x0: Float[Array, " D"], etas: Float[Array, "T D"]
) -> Float[Array, "T_plus_1 D"]:
    """States with model error added: x_{t+1} = M(x_t) + eta_t. Shape (T + 1, D).

    Raises as `free_forecast` does.
    """
    require.forward_model(forward)
    require.shape(("D",), x0=x0)
    require.shape(("T", *jnp.shape(x0)), etas=etas)

    def advance(state, eta):
        new = forward.step(state, forward.dt) + eta
        return new, new

    return jnp.concatenate([x0[None], jax.lax.scan(advance, x0, etas)[1]])


def spun_up(
    forward: ForwardModel, x0: Float[Array, " D"], n_steps: int | Int[Array, ""]
) -> Float[Array, " D"]:
    """The state `n_steps` steps after `x0`, without keeping those between.

    Raises as `free_forecast` does.
    """
    require.forward_model(forward)
    require.shape(("D",), x0=x0)
    if require.is_concrete(n_steps):
        require.count(0, n_steps=n_steps)
    return jax.lax.fori_loop(0, n_steps, lambda _, state: forward.step(state, forward.dt), x0)
