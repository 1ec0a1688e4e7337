"""Incremental 4DVar: a sequence of linear problems, solved by products alone."""

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
from assimilation.methods.window_cost import Sweeps, WindowCost
from assimilation.observations import Batch1D, ObsOperator, observation_variance
from assimilation.solvers import (
    Diagnostics,
    LMState,
    conjugate_gradient_step,
    each,
    levenberg_marquardt,
)


class IncrementalFourDVar(eqx.Module):
    """Incremental 4DVar: outer linearisations, inner conjugate gradients.

    Minimises the cost of `StrongFourDVar` without a matrix (Courtier, Thepaut &
    Hollingsworth 1994). Each of at most `n_outer` outer steps linearises model and
    observations around the current run and solves

        (I + A^T A + damping I) dchi = -g,   A = R^{-1/2} H' M L,

    by at most `n_inner` conjugate-gradient steps, each of them one run of the tangent-
    linear and one of the adjoint model, down to `inner_rtol` of the gradient. A step is
    taken only if the nonlinear cost is finite and lower: otherwise damping rises and
    the inner loop is run again. Memory is linear in the state and in the window.

    The window grows and starts are repeated as in `StrongFourDVar`; `n_outer` and
    `rtol` bound each of these minimisations. The other arguments are those of
    `StrongFourDVar` too. For one large window, take `grow_window=False, n_starts=1`.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    n_outer: int = eqx.field(default=60, static=True)
    n_inner: int = eqx.field(default=40, static=True)
    rtol: float = eqx.field(default=1e-3, static=True)
    inner_rtol: float = eqx.field(default=1e-3, static=True)
    grow_window: bool = eqx.field(default=True, static=True)
    n_starts: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        checks.forward_model(self.forward)
        check_ingredients(self, whole_window=False)
        checks.count(n_outer=self.n_outer, n_inner=self.n_inner, n_starts=self.n_starts)
        checks.positive(rtol=self.rtol, inner_rtol=self.inner_rtol)
        checks.key(key=self.key)

    def __call__(self, batch: Batch1D) -> Float[Array, "B D"]:
        """The analysed initial states (B, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(
        self, batch: Batch1D, first_guess: Float[Array, "B D"] | None = None
    ) -> tuple[Float[Array, "B D"], Diagnostics]:
        """The initial states (B, D) and diagnostics, each with a leading axis B.

        `first_guess` as for `StrongFourDVar.solve`.
        """
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        root = square_root(self.prior_cov_op)
        search = Search(self.n_outer, self.rtol, self.grow_window, self.n_starts, self.key)

        def one(obs, mask, guess):
            weights = mask / jnp.sqrt(variance)
            window = WindowCost(self.forward, self.obs_op, self.prior_mean, root, obs, weights)
            start = None if guess is None else window.control_of(guess)
            minimise = partial(
                minimise_by_products,
                window,
                n_inner=self.n_inner,
                inner_rtol=self.inner_rtol,
                history_size=self.n_outer + 1,
            )
            best = best_of_starts(window, mask, minimise, search, start)
            return window.initial_state(best.chi), best.diagnostics(mask)

        return each(one, batch.input, batch.mask, first_guess)


def minimise_by_products(
    window: WindowCost,
    chi: Float[Array, " n"],
    end: Any,
    max_steps: Any,
    rtol: Any,
    damping: Any,
    n_inner: int,
    inner_rtol: float,
    history_size: int,
) -> tuple[LMState, Array]:
    """Outer and inner loops on a window up to `end`, and their cost in model runs.

    A tangent-linear run and an adjoint run count as one run of the model each.
    """
    lm = levenberg_marquardt(
        lambda chi: window.cost(chi, end),
        lambda chi: window.run(chi, end),
        chi,
        max_steps,
        rtol,
        history_size,
        damping,
        lambda local, damping: conjugate_gradient_step(
            local.gradient,
            Sweeps(window, local.states, end).hessian,
            damping,
            n_inner,
            inner_rtol,
        ),
    )
    return lm, lm.iterations + 2 * lm.linearisations + 2 * lm.products
