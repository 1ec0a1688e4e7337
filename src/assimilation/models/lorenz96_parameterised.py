"""The slow ring of the two-level system alone, with its fast ring parameterised."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import Parameter, rk4_step
from assimilation.models.lorenz96 import advection


class ParameterisedLorenz96Forward(eqx.Module):
    """Lorenz-96 with a polynomial in place of fast variables; Wilks (2005).

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F + sum_i a_i X_k^i, where
    `coefficients` = (a_0, a_1, ...). State (K,), without units; `dt` in model time units.
    """

    K: int = eqx.field(default=8, static=True)
    F: Parameter = 20.0
    coefficients: tuple[Parameter, ...] = (0.0,)
    dt: float = eqx.field(default=0.005, static=True)

    def __check_init__(self):
        require.count(4, K=self.K)
        require.parameters(self)
        if not isinstance(self.coefficients, tuple) or not self.coefficients:
            raise ValueError(
                f"coefficients={self.coefficients!r}: pass a tuple (a_0, a_1, ...) of numbers."
            )

    @property
    def D(self) -> int:
        """Length of the state vector."""
        return self.K

    def tendency(self, state: Float[Array, " K"]) -> Float[Array, " K"]:
        """dX/dt for a state of shape (K,)."""
        require.shape((self.K,), state=state)
        highest_first = jnp.stack([jnp.asarray(a, state.dtype) for a in self.coefficients[::-1]])
        return advection(state) - state + self.F + jnp.polyval(highest_first, state)

    def step(self, state: Float[Array, " K"], dt: float) -> Float[Array, " K"]:
        """One RK4 step of length `dt`."""
        return rk4_step(self.tendency, state, dt)
