"""Lorenz's 1996 model with two levels: slow sites, each driving fast ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import Parameter, rk4_step


def _advection(x: Float[Array, " n"], turn: int) -> Float[Array, " n"]:
    """The quadratic term of the one-level model, along the ring or (-1) against it."""
    return jnp.roll(x, turn) * (jnp.roll(x, -turn) - jnp.roll(x, 2 * turn))


class Lorenz96TwoLevelForward(eqx.Module):
    """The two-level system of Lorenz (1996), eqs. 2 and 3.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k}
    dY_{j,k}/dt = -c b Y_{j+1,k} (Y_{j+2,k} - Y_{j-1,k}) - c Y_{j,k} + (h c / b) X_k

    The Y of all blocks lie on one ring of length J K: the right neighbour of the
    last Y in block k is the first in block k + 1. State (K + J K,) = [X, Y], with
    the slow index outermost in Y; no units; `dt` in model time units.
    """

    K: int = eqx.field(default=8, static=True)
    J: int = eqx.field(default=8, static=True)
    F: Parameter = 20.0
    h: Parameter = 1.0
    c: Parameter = 10.0
    b: Parameter = 10.0
    dt: float = eqx.field(default=0.005, static=True)

    def __check_init__(self):
        require.count(4, K=self.K)
        require.count(1, J=self.J)
        require.parameters(self)

    @property
    def D(self) -> int:
        """Length of the state vector, K (1 + J)."""
        return self.K * (1 + self.J)

    def tendency(self, state: Float[Array, " D"]) -> Float[Array, " D"]:
        """dx/dt for a state of shape (K + J K,)."""
        require.shape((self.D,), state=state)
        slow, fast = state[: self.K], state[self.K :]
        coupling = self.h * self.c / self.b
        # The block SUM times h c / b. The block mean times h c is a frequent slip.
        # Term by term: for a reduction XLA leaves its vector loops to call a slower library.
        columns = jax.lax.split(fast.reshape(self.K, self.J), (1,) * self.J, axis=1)
        back_reaction = coupling * sum(columns)[:, 0]
        d_slow = _advection(slow, 1) - slow + self.F - back_reaction
        d_fast = (
            self.c * self.b * _advection(fast, -1)
            - self.c * fast
            + coupling * jnp.repeat(slow, self.J)
        )
        return jnp.concatenate([d_slow, d_fast])

    def step(self, state: Float[Array, " D"], dt: float) -> Float[Array, " D"]:
        """One RK4 step of length `dt`."""
        return rk4_step(self.tendency, state, dt)
