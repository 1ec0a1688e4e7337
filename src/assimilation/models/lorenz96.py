"""Lorenz's 1996 model: one variable around a circle of latitude."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import Parameter, rk4_step


def advection(x: Float[Array, " K"]) -> Float[Array, " K"]:
    """The quadratic term x_{k-1} (x_{k+1} - x_{k-2}) on a ring; it conserves sum x^2.

    The ring is opened once and the product turned back: XLA would compute what it turns
    anew for each turned copy.
    """
    size = x.shape[0]
    opened = jnp.concatenate([x, x[:3]])
    return jnp.roll(opened[1 : size + 1] * (opened[3:] - opened[:size]), 2)


class Lorenz96Forward(eqx.Module):
    """The one-level system of Lorenz (1996), eq. 1 of Lorenz & Emanuel (1998).

    dx_k/dt = x_{k-1} (x_{k+1} - x_{k-2}) - x_k + F, indices modulo K.
    State (K,), without units; `dt` in model time units (0.05 is about 6 hours).
    """

    K: int = eqx.field(default=40, static=True)
    F: Parameter = 8.0
    dt: float = eqx.field(default=0.01, static=True)

    def __check_init__(self):
        require.count(4, K=self.K)
        require.parameters(self)

    @property
    def D(self) -> int:
        """Length of the state vector."""
        return self.K

    def tendency(self, state: Float[Array, " K"]) -> Float[Array, " K"]:
        """dx/dt for a state of shape (K,)."""
        require.shape((self.K,), state=state)
        return advection(state) - state + self.F

    def step(self, state: Float[Array, " K"], dt: float) -> Float[Array, " K"]:
        """One RK4 step of length `dt`."""
        return rk4_step(self.tendency, state, dt)
