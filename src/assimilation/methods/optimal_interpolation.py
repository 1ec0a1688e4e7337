"""Optimal interpolation: the best linear analysis, by one solve."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation.methods.analysis import Analysis, Diagnostics
from assimilation.methods.statics import Static, Window
from assimilation.observations.operators import ObsOperator, is_linear
from assimilation.observations.window import Observations, full


class OptimalInterpolation(Static):
    """Optimal interpolation (OI), solved in the space of the observations.

    x_a = x_b + B H^T (H B H^T + R)^{-1} (y - H x_b); Gandin (1965), in the form of
    Lorenc (1986, eqs. 30-31).

    With a covariance of the state, or one that links no two times, each observed time of
    the window is analysed on its own; at the others the background stands. With a
    covariance over the trajectory (T, D), all observations of the window are used at
    once. `prior_mean` is (D,) or (T, D). `obs_op` and `obs_cov_op` say what the values of
    a dense batch are.
    """

    prior_mean: Float[Array, " D"] | Float[Array, "T D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_op: ObsOperator | None = None
    obs_cov_op: lx.AbstractLinearOperator | None = None

    def __check_init__(self):
        self.check_background()
        if self.obs_op is not None:
            _must_be_linear("obs_op", self.obs_op)

    @eqx.filter_jit
    def solve(self, observations: Observations) -> Analysis:
        """The analysis (T, D) of one window. Raises TypeError for a nonlinear operator."""
        window = self.over_window(observations)
        _must_be_linear("operator", observations.operator)

        def analyse(mean, rows):
            gain = _Gain(window, observations, rows)
            expected = jax.vmap(observations.operator)(mean, observations.start + gain.times)
            departure = (observations.values[rows] - expected).ravel()
            departure = jnp.where(gain.mask > 0, departure, 0)
            weights = jax.scipy.linalg.cho_solve((gain.factor, True), departure)
            return jnp.tensordot(weights, gain.BHt, axes=1), departure @ weights

        rows = np.arange(len(observations.times))
        times = np.array(observations.times)
        if window.per_time:
            increments, twice_costs = jax.vmap(
                lambda time, row: analyse(window.mean[time][None], row[None])
            )(times, rows)
            states = window.mean.at[times].add(increments)
        else:
            increment, twice_costs = analyse(window.mean[times], rows)
            states = window.mean + increment
        cost = jnp.sum(twice_costs) / 2
        diagnostics = Diagnostics(
            cost=cost,
            cost_history=cost[None],
            iterations=jnp.zeros((), jnp.int32),
            converged=jnp.isfinite(cost),
            normalised_cost=2 * cost / observations.mask.sum(),
            model_runs=jnp.zeros(()),
        )
        return Analysis(states[0], states, diagnostics=diagnostics)

    def analysis_covariance(self, observations: Observations) -> Float[Array, "n n"]:
        """B - B H^T (H B H^T + R)^{-1} H B, as a dense matrix.

        For a state covariance (D, D), and the observations of one time; for one over the
        trajectory (T D, T D): large.
        """
        window = self.over_window(observations)
        _must_be_linear("operator", observations.operator)
        rows = np.arange(len(observations.times))
        if window.per_time and len(rows) != 1:
            raise ValueError(
                f"observations stand at {len(rows)} times: pass those of one time, or a "
                "covariance over the trajectory."
            )
        gain = _Gain(window, observations, rows)
        BHt = gain.BHt.reshape(len(gain.BHt), -1)
        whitened = jax.scipy.linalg.solve_triangular(gain.factor, BHt, lower=True)
        return window.covariance.as_matrix() - whitened.T @ whitened


def _must_be_linear(name: str, operator: ObsOperator) -> None:
    if not is_linear(operator):
        raise TypeError(
            f"{name} is {type(operator).__name__}: pass LinearObs(H_mat=...), or use ThreeDVar."
        )


class _Gain:
    """B H^T and the factor of H B H^T + R for some rows of the observations.

    A missing value has a row of zeros in H and a one on the diagonal of R.
    """

    def __init__(self, window: Window, observations: Observations, rows):
        self.mask = observations.mask[rows].ravel()
        self.times = jnp.array(observations.times)[rows]

        def transposed(row, time):
            """The rows (N, D) of H at one time, on the whole trajectory where B is over it."""
            at = observations.start + time
            there = observations.mask[row][:, None] > 0
            H = jnp.where(there, observations.operator.matrix(at), 0)
            if window.per_time:
                return H
            return jnp.zeros((len(H), *window.mean.shape)).at[:, time].set(H)

        H = jax.vmap(transposed)(rows, self.times).reshape(self.mask.size, -1)
        shape = window.covariance.in_structure().shape
        self.BHt = jax.vmap(lambda row: window.covariance.mv(row.reshape(shape)))(H)
        R = full(observations.filled_error()[rows])
        blocks = jnp.eye(len(R))[:, None, :, None] * R[:, :, None, :]
        S = H @ self.BHt.reshape(len(H), -1).T + blocks.reshape(len(H), len(H))
        self.factor = jnp.linalg.cholesky(S)
