"""3DVar: the analysis as the minimum of a cost, at one time at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.methods.analysis import Analysis
from assimilation.methods.levenberg_marquardt import (
    NormalEquations,
    finite_or_inf,
    levenberg_marquardt,
)
from assimilation.methods.method import diagnostics, each
from assimilation.methods.statics import Static
from assimilation.observations.operators import ObsOperator
from assimilation.observations.window import Observations


class ThreeDVar(Static):
    """Three-dimensional variational assimilation; Lorenc (1986, eq. 22).

    Minimises 1/2 |chi|^2 + 1/2 |R^{-1/2} (h(x_b + L chi) - y)|^2 over the control
    variable chi, with B = L L^T. The model plays no part. For a linear operator the
    minimum is the analysis of `OptimalInterpolation`; a nonlinear one is linearised
    anew in each of at most `max_steps` damped Gauss-Newton steps, which end when one
    lowers the cost by less than a fraction `rtol`. Arguments otherwise as for OI.
    """

    prior_mean: Float[Array, " D"] | Float[Array, "T D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_op: ObsOperator | None = None
    obs_cov_op: lx.AbstractLinearOperator | None = None
    max_steps: int = eqx.field(default=50, static=True)
    rtol: float = eqx.field(default=1e-6, static=True)

    def __check_init__(self):
        self.check_background()
        require.count(max_steps=self.max_steps)
        require.positive(rtol=self.rtol)

    @eqx.filter_jit
    def solve(self, observations: Observations) -> Analysis:
        """The analysis (T, D) of one window.

        Where each time is analysed on its own, costs are summed over the window and
        `iterations` is the largest number that one time took.
        """
        window = self.over_window(observations)
        root = square_root(window.covariance)
        controls = root.in_structure()
        inverse_root = observations.inverse_root()
        times = np.array(observations.times)

        def minimise(mean, rows):
            """From the background at all times concerned to their analysis."""

            def state_of(chi):
                return mean + root.mv(chi.reshape(controls.shape))

            def residual(chi):
                states = jnp.atleast_2d(state_of(chi))
                seen = states if window.per_time else states[times]
                departures = jax.vmap(lambda row, x: observations.departure(row, x, inverse_root))
                return jnp.concatenate([chi, departures(rows, seen).ravel()])

            found = levenberg_marquardt(
                lambda chi: finite_or_inf(0.5 * jnp.sum(residual(chi) ** 2)),
                normal_equations(residual),
                jnp.zeros(controls.size, mean.dtype),
                self.max_steps,
                self.max_steps,
                self.rtol,
            )
            return state_of(found.chi), found._replace(runs=0 * found.runs)

        rows = jnp.arange(len(times))
        if window.per_time:
            at_times, each_found = each(
                lambda mean, row: minimise(mean, row[None]), window.mean[times], rows
            )
            states = window.mean.at[times].set(at_times)
            found = each_found._replace(
                cost=each_found.cost.sum(),
                history=each_found.history.sum(axis=0),
                iterations=each_found.iterations.max(),
                converged=each_found.converged.all(),
                runs=each_found.runs.sum(),
            )
        else:
            states, found = minimise(window.mean, rows)
        return Analysis(states[0], states, diagnostics=diagnostics(found, observations))


def normal_equations(residual):
    """The normal equations of a residual function (n,) -> (m,) with a dense Jacobian."""

    def at(chi: Float[Array, " n"]) -> NormalEquations:
        def twice(chi):
            r = residual(chi)
            return r, r

        jacobian, r = jax.jacfwd(twice, has_aux=True)(chi)
        return NormalEquations(0.5 * r @ r, jacobian.T @ r, jacobian.T @ jacobian)

    return at
