"""Weak-constraint 4DVar: the model may err, by amounts that Q thinks likely."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import EachTime, square_root
from assimilation.methods.incremental_four_d_var import minimise_by_products
from assimilation.methods.ingredients import check_batch, check_ingredients
from assimilation.methods.quasi_static import Search, best_of_starts, last_observed
from assimilation.methods.window_cost import WindowCost
from assimilation.observations import Batch1D, ObsOperator, observation_variance
from assimilation.solvers import Diagnostics, each


class WeakFourDVar(eqx.Module):
    """Weak-constraint 4DVar in the form with the model error as control (Tremolet 2006).

    Minimises over x_0 and eta, with x_{t+1} = M(x_t) + eta_t, the strong cost plus
    1/2 |eta|^2 in the norm of Q^{-1}. Both are whitened, x_0 = x_b + L chi_0 and
    eta = Q^{1/2} chi_eta, so Q is never inverted and may be as small as one likes: as
    Q goes to zero this is strong 4DVar.

    `model_err_cov_op` Q is the covariance of the error of one step: on states (D,), the
    same and independent at each step, or on arrays (T_assim, D) for a schedule over the
    window or errors that are correlated in time. The minimisation starts from the
    strong solution, found as by `IncrementalFourDVar`, and makes at most `max_steps`
    outer steps with `n_inner` inner ones. The other arguments are those of
    `IncrementalFourDVar`.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    model_err_cov_op: lx.AbstractLinearOperator
    max_steps: int = eqx.field(default=60, static=True)
    n_inner: int = eqx.field(default=40, static=True)
    rtol: float = eqx.field(default=1e-3, static=True)
    inner_rtol: float = eqx.field(default=1e-3, static=True)
    grow_window: bool = eqx.field(default=True, static=True)
    n_starts: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        checks.forward_model(self.forward)
        check_ingredients(self, whole_window=False)
        size = jnp.shape(self.prior_mean)[-1]
        Q = self.model_err_cov_op
        schedule = isinstance(Q, lx.AbstractLinearOperator) and len(Q.in_structure().shape) == 2
        n_steps = (Q.in_structure().shape[0],) if schedule else ()
        checks.covariance("model_err_cov_op", Q, (*n_steps, size))
        checks.positive_definite("model_err_cov_op", Q)
        checks.count(max_steps=self.max_steps, n_inner=self.n_inner, n_starts=self.n_starts)
        checks.positive(rtol=self.rtol, inner_rtol=self.inner_rtol)
        checks.key(key=self.key)

    def __call__(self, batch: Batch1D) -> tuple[Float[Array, "B D"], Float[Array, "B T D"]]:
        """The initial states (B, D) and model errors (B, T_assim, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(
        self, batch: Batch1D
    ) -> tuple[tuple[Float[Array, "B D"], Float[Array, "B T D"]], Diagnostics]:
        """The analysis (x0, etas) and its diagnostics, each with a leading axis B.

        Raises ValueError if a schedule Q does not have one entry for each step of the
        window. The diagnostics are those of the weak minimisation; its `model_runs` and
        `iterations` include the strong one.
        """
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        error_root = square_root(self._over_window(batch.input.shape[1] - 1))
        root = square_root(self.prior_cov_op)
        search = Search(self.max_steps, self.rtol, self.grow_window, self.n_starts, self.key)

        def one(obs, mask):
            weights = mask / jnp.sqrt(variance)
            strong = WindowCost(self.forward, self.obs_op, self.prior_mean, root, obs, weights)
            start = best_of_starts(strong, mask, self._minimiser(strong), search)
            weak = strong._replace(error_root=error_root)
            no_errors = jnp.zeros(error_root.in_size(), obs.dtype)
            lm, runs = self._minimiser(weak)(
                jnp.concatenate([start.chi, no_errors]),
                last_observed(mask),
                self.max_steps,
                self.rtol,
                0.0,
            )
            anomaly, etas = weak.perturbation(lm.chi)
            return (self.prior_mean + anomaly, etas), Diagnostics(
                cost=lm.local.cost,
                cost_history=lm.history,
                iterations=start.iterations + lm.iterations,
                converged=lm.converged,
                misfit=2 * lm.local.cost / mask.sum(),
                model_runs=start.model_runs + runs * last_observed(mask) / (len(mask) - 1),
            )

        return each(one, batch.input, batch.mask)

    def _minimiser(self, window):
        def minimise(chi, end, max_steps, rtol, damping):
            return minimise_by_products(
                window,
                chi,
                end,
                max_steps,
                rtol,
                damping,
                self.n_inner,
                self.inner_rtol,
                self.max_steps + 1,
            )

        return minimise

    def _over_window(self, n_steps: int) -> lx.AbstractLinearOperator:
        """Q on arrays (n_steps, D)."""
        shape = self.model_err_cov_op.in_structure().shape
        if len(shape) == 1:
            return EachTime(self.model_err_cov_op, n_steps)
        if shape[0] != n_steps:
            raise ValueError(
                f"model_err_cov_op acts on shape {shape}, but the window has {n_steps} steps: "
                f"pass a covariance on shape {(n_steps, shape[1])}."
            )
        return self.model_err_cov_op
