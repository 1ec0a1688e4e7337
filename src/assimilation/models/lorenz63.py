"""Lorenz's 1963 model of convection: three variables, two wings."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import Parameter, rk4_step


class Lorenz63Forward(eqx.Module):
    """The three equations of Lorenz (1963, J. Atmos. Sci. 20, eqs. 25-27).

    dx/dt = sigma (y - x),  dy/dt = x (rho - z) - y,  dz/dt = x y - beta z.
    State (3,) = [x, y, z], without units; `dt` in model time units. The parameters are
    numbers or scalar arrays, leaves of the pytree.
    """

    sigma: Parameter = 10.0
    rho: Parameter = 28.0
    beta: Parameter = 8.0 / 3.0
    dt: float = eqx.field(default=0.01, static=True)

    def __check_init__(self):
        require.parameters(self)

    @property
    def D(self) -> int:
        """Length of the state vector."""
        return 3

    def tendency(self, state: Float[Array, "3"]) -> Float[Array, "3"]:
        """dx/dt for a state of shape (3,)."""
        require.shape((3,), state=state)
        x, y, z = state
        return jnp.stack(
            [
                self.sigma * (y - x),
                x * (self.rho - z) - y,
                x * y - self.beta * z,
            ]
        )

    def step(self, state: Float[Array, "3"], dt: float) -> Float[Array, "3"]:
        """One RK4 step of length `dt`."""
        return rk4_step(self.tendency, state, dt)
