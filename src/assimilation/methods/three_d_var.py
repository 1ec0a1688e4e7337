"""3DVar: the analysis as the minimum of a cost, at one time at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import square_root
from assimilation.methods.ingredients import (
    check_batch,
    check_ingredients,
    over_window,
)
from assimilation.observations import Batch1D, ObsOperator, observation_variance
from assimilation.solvers import (
    Diagnostics,
    each,
    finite_or_inf,
    levenberg_marquardt,
    normal_equations,
)


class ThreeDVar(eqx.Module):
    """Three-dimensional variational assimilation; Lorenc (1986, eq. 22).

    Minimises 1/2 |chi|^2 + 1/2 |R^{-1/2} (h(x_b + L chi) - y)|^2 over the control
    variable chi, with B = L L^T. The model plays no part. For a linear operator the
    minimum is the analysis of `OptimalInterpolation`; a nonlinear one is linearised
    anew in each of at most `max_steps` damped Gauss-Newton steps, which end when one
    lowers the cost by less than a fraction `rtol`. Arguments otherwise as for OI.
    """

    obs_op: ObsOperator
    prior_mean: Float[Array, " D"] | Float[Array, "T D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    max_steps: int = eqx.field(default=50, static=True)
    rtol: float = eqx.field(default=1e-6, static=True)

    def __check_init__(self):
        check_ingredients(self, whole_window=True)
        checks.count(max_steps=self.max_steps)
        checks.positive(rtol=self.rtol)

    def __call__(self, batch: Batch1D) -> Float[Array, "B T D"]:
        """The analysis (B, T, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(self, batch: Batch1D) -> tuple[Float[Array, "B T D"], Diagnostics]:
        """The analysis (B, T, D) and its diagnostics, each with a leading axis B.

        Where each time is analysed on its own, costs are summed over the window and
        `iterations` is the largest number that one time took.
        """
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        window = over_window(self.prior_mean, self.prior_cov_op, batch.input.shape[1])
        root = square_root(window.covariance)
        controls = root.in_structure()
        observe = self.obs_op if window.per_time else jax.vmap(self.obs_op)

        def minimise(mean, obs, mask):
            def state_of(chi):
                return mean + root.mv(chi.reshape(controls.shape))

            def residual(chi):
                departure = mask / jnp.sqrt(variance) * (observe(state_of(chi)) - obs)
                return jnp.concatenate([chi, departure.ravel()])

            found = levenberg_marquardt(
                lambda chi: finite_or_inf(0.5 * jnp.sum(residual(chi) ** 2)),
                normal_equations(residual),
                jnp.zeros(controls.size, mean.dtype),
                self.max_steps,
                self.rtol,
                self.max_steps + 1,
            )
            return (
                state_of(found.chi),
                found.history,
                found.iterations,
                found.converged,
            )

        def background(mean, obs, mask):
            history = jnp.zeros(self.max_steps + 1, mean.dtype)
            return mean, history, jnp.zeros((), jnp.int32), jnp.ones((), bool)

        def analyse(mean, obs, mask):
            return jax.lax.cond(mask.any(), minimise, background, mean, obs, mask)

        def one(obs, mask):
            if not window.per_time:
                return analyse(window.mean, obs, mask)
            states, history, iterations, converged = each(analyse, window.mean, obs, mask)
            return states, history.sum(axis=0), iterations.max(), converged.all()

        analysis, history, iterations, converged = each(one, batch.input, batch.mask)
        cost = history[:, -1]
        return analysis, Diagnostics(
            cost=cost,
            cost_history=history,
            iterations=iterations,
            converged=converged,
            misfit=2 * cost / batch.mask.sum(axis=(1, 2)),
            model_runs=jnp.zeros_like(cost),
        )
