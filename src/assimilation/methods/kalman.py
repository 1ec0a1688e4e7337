"""The Kalman filter and smoother, and the extended one of a nonlinear model."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import Method
from assimilation.models.integrate import ForwardModel, Parameter
from assimilation.observations.operators import ObsOperator
from assimilation.observations.window import Observations


class MeanAndCovariance(NamedTuple):
    """A mean (D,) and a covariance (D, D)."""

    mean: Float[Array, " D"]
    covariance: Float[Array, "D D"]


class KalmanDiagnostics(NamedTuple):
    """What a Kalman filter reports about one window.

    `log_likelihood` is the logarithm of the density of the observations, given the background
    and all parameters. `model_runs` counts integrations over the window: one for the mean
    and one for each column of the tangent-linear model.
    """

    model_runs: Float[Array, ""]
    log_likelihood: Float[Array, ""]


class KalmanFilter(Method):
    """The Kalman filter; with a nonlinear model or operator, the extended one.

    Between observations x <- M(x) and P <- M' P M'^T + Q; at one, with the weighted
    departure d and the operator H = R^{-1/2} h' (Kalman 1960; Jazwinski 1970 where M and h
    are not linear),

        K = P H^T (H P H^T + I)^{-1},   x <- x - K d,   P <- (I - K H) P (I - K H)^T + K K^T.

    `prior_mean` (D,) and `prior_cov_op` are the background, `model_err_cov_op` is the Q of one
    step (None: zero). `inflation` multiplies P after each update; it is a leaf. Dense, so
    meant for small states: D + 1 model runs and D^2 numbers.
    """

    forward: ForwardModel
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_op: ObsOperator | None = None
    obs_cov_op: lx.AbstractLinearOperator | None = None
    model_err_cov_op: lx.AbstractLinearOperator | None = None
    inflation: Parameter = 1.0

    def __check_init__(self):
        require.forward_model(self.forward)
        self.check_background()
        if self.model_err_cov_op is not None:
            shape = jnp.shape(self.prior_mean)
            require.covariance("model_err_cov_op", self.model_err_cov_op, shape)
        require.positive(inflation=self.inflation)

    def initialise(self, key: Array | None = None) -> MeanAndCovariance:
        """The background; nothing is drawn."""
        return MeanAndCovariance(self.prior_mean, self.prior_cov_op.as_matrix())

    @eqx.filter_jit
    def analyse(
        self, prior: MeanAndCovariance, observations: Observations, key: Array | None = None
    ) -> Analysis:
        """One window, from its first time to its last observed one.

        `states` holds the mean at each step, of what was seen until then; `covariance`
        stands at the last of them.
        """
        filtered, log_likelihood = self.run(prior, observations)
        runs = jnp.asarray(1 + len(prior.mean), prior.mean.dtype)
        return Analysis(
            filtered.mean[0],
            filtered.mean,
            covariance=filtered.covariance[-1],
            diagnostics=KalmanDiagnostics(runs, log_likelihood),
        )

    def predict(
        self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array | None = None
    ) -> MeanAndCovariance:
        """Mean and covariance `n_steps` steps after the first time of the window."""
        last = MeanAndCovariance(analysis.states[-1], analysis.covariance)
        left = n_steps - (len(analysis.states) - 1)
        return jax.lax.fori_loop(0, left, lambda _, state: self.advance(state)[0], last)

    @eqx.filter_jit
    def solve(self, observations: Observations) -> Analysis:
        """The filter's analysis of one window."""
        return self.analyse(self.initialise(), observations)

    @eqx.filter_jit
    def smooth(self, observations: Observations) -> MeanAndCovariance:
        """Mean (T, D) and covariance (T, D, D) of each step, given the whole window.

        The smoother of Rauch, Tung & Striebel (1965): backwards from the filter's last
        step, x_t + G (x^s_{t+1} - x^f_{t+1}) with G = P_t M'^T (P^f_{t+1})^{-1}. T ends at the
        last observed step.
        """
        filtered, _ = self.run(self.initialise(), observations)

        def back(later, now):
            forecast, M = self.advance(now)
            # P^f is symmetric: solving for the transposed gain.
            G = jax.scipy.linalg.solve(forecast.covariance, M @ now.covariance, assume_a="pos").T
            mean = now.mean + G @ (later.mean - forecast.mean)
            covariance = now.covariance + G @ (later.covariance - forecast.covariance) @ G.T
            smoothed = MeanAndCovariance(mean, (covariance + covariance.T) / 2)
            return smoothed, smoothed

        last = jax.tree.map(lambda a: a[-1], filtered)
        before = jax.tree.map(lambda a: a[:-1], filtered)
        _, smoothed = jax.lax.scan(back, last, before, reverse=True)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), smoothed, last)

    def run(
        self, prior: MeanAndCovariance, observations: Observations
    ) -> tuple[MeanAndCovariance, Array]:
        """Filtered mean (T, D) and covariance (T, D, D) of each step, and the log-likelihood."""
        self.check_observations(observations)
        n_steps = observations.times[-1]
        # The row of the observations at each step, or -1.
        rows = (
            jnp.full(n_steps + 1, -1)
            .at[jnp.array(observations.times)]
            .set(jnp.arange(len(observations.times)))
        )
        inverse_root = observations.inverse_root()
        # log det R^{1/2} of the values that are there.
        if inverse_root.ndim == 2:
            diagonal = inverse_root
        else:
            diagonal = jnp.diagonal(inverse_root, axis1=1, axis2=2)
        scales = jnp.sum(jnp.log(jnp.where(observations.mask > 0, diagonal, 1)), axis=1)

        def update(state, row):
            d, H = _with_jacobian(
                lambda x: observations.departure(row, x, inverse_root), state.mean
            )
            there = observations.mask[row].sum()
            state, surprise = kalman_update(state, d, H)
            likelihood = surprise + scales[row] - there * jnp.log(2 * jnp.pi) / 2
            inflated = jnp.where(there > 0, self.inflation, 1.0) * state.covariance
            return MeanAndCovariance(state.mean, inflated), likelihood

        def step(carry, row):
            state, total = carry
            state, likelihood = jax.lax.cond(
                row >= 0, update, lambda state, _: (state, jnp.zeros_like(total)), state, row
            )
            return (self.advance(state)[0], total + likelihood), state

        start = (prior, jnp.zeros((), prior.mean.dtype))
        (_, total), filtered = jax.lax.scan(step, start, rows)
        return filtered, total

    def advance(self, state: MeanAndCovariance) -> tuple[MeanAndCovariance, Float[Array, "D D"]]:
        """One step of the model for mean and covariance, and the tangent-linear model M'."""
        mean, M = _with_jacobian(lambda x: self.forward.step(x, self.forward.dt), state.mean)
        covariance = M @ state.covariance @ M.T
        if self.model_err_cov_op is not None:
            covariance = covariance + self.model_err_cov_op.as_matrix()
        return MeanAndCovariance(mean, covariance), M

    def answer(self, analysis: Analysis) -> Float[Array, "B T D"]:
        """What a call on a batch returns: the means from the first time to the last observed."""
        return analysis.states


def kalman_update(
    prior: MeanAndCovariance, departure: Float[Array, " N"], H: Float[Array, "N D"]
) -> tuple[MeanAndCovariance, Float[Array, ""]]:
    """The update by weighted departures R^{-1/2} (h(x) - y), whose errors have variance one.

    Also -(d^T S^{-1} d + log det S) / 2 with S = H P H^T + I, the part of the log-likelihood
    that depends on the state. The covariance is in Joseph's form, and what rounding has made
    negative in the forecast is left out: in a direction where errors grow it would grow.
    """
    P = _semidefinite(prior.covariance)
    PHt = P @ H.T
    factor = jax.scipy.linalg.cho_factor(H @ PHt + jnp.eye(len(H)), lower=True)
    # Solved at once: batches of two triangular solves side by side can block JAX 0.10 on CPUs.
    solved = jax.scipy.linalg.cho_solve(factor, jnp.column_stack([PHt.T, departure]))
    K = solved[:, :-1].T
    kept = jnp.eye(len(prior.mean)) - K @ H
    covariance = kept @ P @ kept.T + K @ K.T
    mean = prior.mean - K @ departure
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(factor[0])))
    surprise = -departure @ solved[:, -1] / 2 - half_log_det
    return MeanAndCovariance(mean, covariance), surprise


def _semidefinite(covariance: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """A covariance without eigenvalues below zero; to its derivative nothing has happened."""
    values, vectors = jnp.linalg.eigh(covariance)
    nearest = (vectors * jnp.maximum(values, 0)) @ vectors.T
    return covariance + jax.lax.stop_gradient(nearest - covariance)


def _with_jacobian(function, x: Float[Array, " D"]) -> tuple[Array, Array]:
    """Value (N,) and Jacobian (N, D) of a function of a vector."""
    value, push = jax.linearize(function, x)
    return value, jax.vmap(push, out_axes=1)(jnp.eye(len(x), dtype=x.dtype))
