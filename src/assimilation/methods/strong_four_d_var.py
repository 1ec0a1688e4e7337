"""Strong-constraint 4DVar: the initial state whose forecast fits the whole window."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import square_root
from assimilation.methods.ingredients import check_batch, check_ingredients
from assimilation.methods.quasi_static import Search, best_of_starts
from assimilation.methods.window_cost import WindowCost
from assimilation.observations import Batch1D, ObsOperator, observation_variance
from assimilation.solvers import Diagnostics, each, levenberg_marquardt


class StrongFourDVar(eqx.Module):
    """Strong-constraint 4DVar with a window that grows, and several starts.

    Minimises the cost of Talagrand & Courtier (1987, eq. 2.1) with a background term,
    over the control variable chi: x_0 = x_b + L chi, B = L L^T, by damped Gauss-Newton
    steps that must lower the cost. Over a long window a chaotic model gives the cost
    many local minima. So the window grows by one observation time at a time, each
    minimum being the next first guess (Pires, Vautard & Talagrand 1996). At the right
    minimum 2 J is chi-square with as many degrees of freedom as there are observations:
    where it lies more than three of its standard deviations above its mean, the start is
    given up, and another one is drawn from the background, up to `n_starts` in all. The
    lowest cost wins.

    `forward` is any object with `dt` and `step(state, dt)`; `prior_mean` (D,) is the
    background at the first time of the window. One minimisation takes at most
    `max_steps` steps and ends when a step lowers the cost by less than a fraction
    `rtol`. `grow_window=False` goes for the whole window at once. `key` draws the
    further starts.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    max_steps: int = eqx.field(default=60, static=True)
    rtol: float = eqx.field(default=1e-3, static=True)
    grow_window: bool = eqx.field(default=True, static=True)
    n_starts: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        checks.forward_model(self.forward)
        check_ingredients(self, whole_window=False)
        checks.count(max_steps=self.max_steps, n_starts=self.n_starts)
        checks.positive(rtol=self.rtol)
        checks.key(key=self.key)

    def __call__(self, batch: Batch1D) -> Float[Array, "B D"]:
        """The analysed initial states (B, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(
        self, batch: Batch1D, first_guess: Float[Array, "B D"] | None = None
    ) -> tuple[Float[Array, "B D"], Diagnostics]:
        """The initial states (B, D) and diagnostics, each with a leading axis B.

        A `first_guess` (B, D) is an initial state to start from, with the whole window
        at once; where it does not lead to a credible misfit, the other starts follow.
        """
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        root = square_root(self.prior_cov_op)
        search = Search(self.max_steps, self.rtol, self.grow_window, self.n_starts, self.key)

        def one(obs, mask, guess):
            weights = mask / jnp.sqrt(variance)
            window = WindowCost(self.forward, self.obs_op, self.prior_mean, root, obs, weights)
            start = None if guess is None else window.control_of(guess)
            best = best_of_starts(window, mask, partial(self._minimise, window), search, start)
            return window.initial_state(best.chi), best.diagnostics(mask)

        return each(one, batch.input, batch.mask, first_guess)

    def _minimise(self, window, chi, end, max_steps, rtol, damping):
        lm = levenberg_marquardt(
            lambda chi: window.cost(chi, end),
            lambda chi: window.linearise(chi, end),
            chi,
            max_steps,
            rtol,
            self.max_steps + 1,
            damping,
        )
        return lm, lm.iterations + (1 + chi.size) * lm.linearisations
