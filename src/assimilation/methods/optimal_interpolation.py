"""Optimal interpolation: the best linear analysis, by one solve."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.methods.ingredients import (
    Window,
    check_batch,
    check_ingredients,
    over_window,
)
from assimilation.observations import Batch1D, LinearObs, observation_variance
from assimilation.solvers import Diagnostics


class OptimalInterpolation(eqx.Module):
    """Optimal interpolation (OI), solved in the space of the observations.

    x_a = x_b + B H^T (H B H^T + R)^{-1} (y - H x_b); Gandin (1965), in the form of
    Lorenc (1986, eqs. 30-31).

    With a covariance of the state, or one that links no two times, each time of the
    window is analysed on its own. With a covariance over the trajectory (T, D), all
    observations of the window are used at once. `prior_mean` is (D,) or (T, D).
    `max_obs` bounds the observations in one analysis, and sets the size of the linear
    system; left at None it is counted when the mask is known, and is the size of the
    whole mask under `jit`. An analysis with more than `max_obs` observations is NaN.
    """

    obs_op: LinearObs
    prior_mean: Float[Array, " D"] | Float[Array, "T D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    max_obs: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if not isinstance(self.obs_op, LinearObs):
            raise TypeError(
                f"obs_op is {type(self.obs_op).__name__}: OI is linear, pass "
                "LinearObs(H_mat=...), or use ThreeDVar."
            )
        check_ingredients(self, whole_window=True)
        if self.max_obs is not None:
            checks.count(max_obs=self.max_obs)

    def __call__(self, batch: Batch1D) -> Float[Array, "B T D"]:
        """The analysis (B, T, D) of a batch."""
        return self.solve(batch)[0]

    def solve(self, batch: Batch1D) -> tuple[Float[Array, "B T D"], Diagnostics]:
        """The analysis (B, T, D) and its diagnostics, each with a leading axis B."""
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        n_batch, n_time, _ = batch.input.shape
        window = over_window(self.prior_mean, self.prior_cov_op, n_time)
        per = (n_batch, n_time) if window.per_time else (n_batch, 1)
        size = self._size(batch.mask.reshape(*per, -1))
        analysis, twice_cost = _solve(self, window, variance, batch, size)
        n_obs = batch.mask.sum(axis=(1, 2))
        none = jnp.zeros(n_batch, jnp.int32)
        return analysis, Diagnostics(
            cost=twice_cost / 2,
            cost_history=twice_cost[:, None] / 2,
            iterations=none,
            converged=jnp.isfinite(twice_cost),
            misfit=twice_cost / n_obs,
            model_runs=jnp.zeros(n_batch),
        )

    def analysis_covariance(self, mask: Float[Array, "..."]) -> Float[Array, "n n"]:
        """B - B H^T (H B H^T + R)^{-1} H B for one mask, as a dense matrix.

        `mask` is (N,) for a state covariance, giving (D, D), or (T, N) for one over the
        trajectory, giving (T D, T D): large.
        """
        mask = jnp.asarray(mask)
        window = over_window(
            self.prior_mean, self.prior_cov_op, mask.shape[0] if mask.ndim == 2 else 1
        )
        if window.per_time == (mask.ndim == 2):
            raise ValueError(
                f"mask has shape {mask.shape}: pass (N,) for a covariance of the state, "
                "(T, N) for one over the trajectory."
            )
        variance = observation_variance(self.obs_cov_op)
        size = self._size(mask.reshape(1, -1))
        gain = _Gain(self.obs_op, window, variance, mask.ravel(), size)
        whitened = jax.scipy.linalg.solve_triangular(gain.factor, gain.BHt, lower=True)
        return window.covariance.as_matrix() - whitened.T @ whitened

    def _size(self, mask: Float[Array, "... n"]) -> int:
        """How many observations one analysis has at most."""
        if self.max_obs is not None:
            return min(self.max_obs, mask.shape[-1])
        if checks.is_concrete(mask):
            return max(1, int(np.asarray(mask).sum(axis=-1).max()))
        return mask.shape[-1]


class _Gain:
    """The pieces of the gain for one mask (n,): its observations are picked out."""

    def __init__(self, obs_op, window: Window, variance, mask, size: int):
        n_space = variance.size
        self.index = jnp.nonzero(mask, size=size, fill_value=0)[0]
        self.valid = jnp.arange(size) < mask.sum()
        time, place = self.index // n_space, self.index % n_space
        rows = obs_op.rows(place)
        if not window.per_time:
            n_time = window.mean.shape[0]
            rows = jax.vmap(lambda t, row: jnp.zeros((n_time, row.size)).at[t].set(row))(time, rows)
        rows = jnp.where(self.valid.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)
        self.BHt = jax.vmap(window.covariance.mv)(rows).reshape(size, -1)
        noise = jnp.where(self.valid, variance[place], 1.0)
        S = rows.reshape(size, -1) @ self.BHt.T + jnp.diag(noise)
        self.factor = jnp.linalg.cholesky(S)


@eqx.filter_jit
def _solve(method, window: Window, variance, batch: Batch1D, size: int):
    """The analyses (B, T, D) and twice their costs (B,)."""
    expected = jax.vmap(method.obs_op)(window.mean)

    def analyse(mean, expected, obs, mask):
        gain = _Gain(method.obs_op, window, variance, mask, size)
        departure = jnp.where(gain.valid, (obs - expected)[gain.index], 0)
        weights = jax.scipy.linalg.cho_solve((gain.factor, True), departure)
        weights = jnp.where(mask.sum() > size, jnp.nan, weights)
        return mean + weights @ gain.BHt, departure @ weights

    def one(obs, mask):
        if window.per_time:
            states, costs = jax.vmap(analyse)(window.mean, expected, obs, mask)
            return states, costs.sum()
        flat, cost = analyse(window.mean.ravel(), expected.ravel(), obs.ravel(), mask.ravel())
        return flat.reshape(window.mean.shape), cost

    return jax.vmap(one)(batch.input, batch.mask)
