"""The iterative ensemble Kalman smoother: Gauss-Newton in the space of the members."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.methods.analysis import Analysis
from assimilation.methods.ensemble_filter import MemberMethod, Members
from assimilation.methods.ensemble_kalman import rotated
from assimilation.methods.inverse_square_root import inverse_square_root
from assimilation.models.integrate import Parameter, spun_up
from assimilation.observations.window import Observations


class SmootherDiagnostics(NamedTuple):
    """How the iterations of an ensemble smoother went.

    `cost` is that of the analysis, `normalised_cost` 2 J / n_obs; `model_runs` counts
    integrations over the window and its lag, one a member and iteration.
    """

    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Array
    normalised_cost: Float[Array, ""]
    model_runs: Float[Array, ""]


class _Search(NamedTuple):
    weights: Float[Array, " m"]
    transform: Float[Array, "m m"]
    inverse: Float[Array, "m m"]
    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    step: Float[Array, ""]


class IEnKS(MemberMethod):
    """The iterative ensemble Kalman smoother, in its transform form.

    The 4DVar cost in the space of the members, x_0 = x + X^T w,

        J(w) = (m - 1) / 2 |w|^2 + 1/2 sum_i |R_i^{-1/2} (h(x_{t_i}) - y_i)|^2,

    is minimised by Gauss-Newton steps; the members themselves, drawn together by the
    transform T found last, show how the departures change with w, so no adjoint is needed
    (Bocquet & Sakov 2014; Sakov, Oliver & Bertino 2012 for one observed time).
    The analysis has the members at its minimum with the covariance of its Hessian.

    `lag` steps before the first time of a window is where the state is estimated: with
    `lag` equal to the steps between observed times, and windows of one time each, this is the
    iterative ensemble Kalman filter (IEnKF). Whatever the lag, each observation is used once.
    With a lag the prior stands `lag` steps earlier too. At most `n_iterations` steps are made,
    until the weights change by less than `tol`.
    `inflation` multiplies the analysed anomalies; `rotate` as for `ETKF`.
    """

    inflation: Parameter = 1.0
    lag: int = eqx.field(default=0, static=True)
    n_iterations: int = eqx.field(default=10, static=True)
    tol: float = eqx.field(default=1e-3, static=True)
    rotate: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        require.positive(inflation=self.inflation, tol=self.tol)
        require.count(0, lag=self.lag)
        require.count(n_iterations=self.n_iterations)

    def departures(
        self, states: Float[Array, "m D"], observations: Observations
    ) -> Float[Array, "m n_N"]:
        """R^{-1/2} (h(x) - y) of each member at all rows, as one vector each."""
        times = jnp.array(observations.times)
        inverse_root = observations.inverse_root()

        def row(carry, i):
            states, now = carry
            steps = self.lag + times[i] - now
            states = self.ahead(states, steps)
            seen = jax.vmap(lambda x: observations.departure(i, x, inverse_root))(states)
            return (states, self.lag + times[i]), seen

        start = (states, jnp.zeros((), times.dtype))
        _, seen = jax.lax.scan(row, start, jnp.arange(len(times)))
        return jnp.moveaxis(seen, 0, 1).reshape(len(states), -1)

    @eqx.filter_jit
    def analyse(self, prior: Members, observations: Observations, key: Array) -> Analysis:
        """One window. Members and `x0` stand at its first time, the `carry` `lag` steps earlier."""
        self.check_observations(observations)
        mean = prior.states.mean(axis=0)
        X = prior.states - mean
        m = len(X)
        eye = jnp.eye(m, dtype=X.dtype)

        def members(search):
            return mean + search.weights @ X + search.transform @ X

        def improve(search):
            seen = self.departures(members(search), observations)
            departure = seen.mean(axis=0)
            S = search.inverse @ (seen - departure)
            cost = 0.5 * departure @ departure + 0.5 * (m - 1) * search.weights @ search.weights
            # The transform is that of the Hessian: H^{-1} = T T / (m - 1).
            T = inverse_square_root(eye + S @ S.T / (m - 1))
            gradient = S @ departure / (m - 1) + search.weights
            step = -T @ (T @ gradient)
            # S S^T / (m - 1) + I = T^{-2}, so T^{-1} = T (I + S S^T / (m - 1)).
            inverse = T + T @ (S @ S.T) / (m - 1)
            size = jnp.sqrt(jnp.sum(step**2))
            return _Search(search.weights + step, T, inverse, cost, search.iterations + 1, size)

        start = _Search(
            jnp.zeros(m, X.dtype),
            eye,
            eye,
            jnp.asarray(jnp.inf, X.dtype),
            jnp.zeros((), jnp.int32),
            jnp.asarray(jnp.inf, X.dtype),
        )
        found = jax.lax.while_loop(
            lambda s: (s.iterations < self.n_iterations) & (s.step > self.tol), improve, start
        )
        T = rotated(found.transform, key) if self.rotate else found.transform
        analysed = mean + found.weights @ X + self.inflation * (T @ X)
        now = self.ahead(analysed, self.lag)
        runs = (found.iterations + 1) * m
        diagnostics = SmootherDiagnostics(
            found.cost,
            found.iterations,
            found.step <= self.tol,
            2 * found.cost / observations.mask.sum(),
            runs.astype(X.dtype),
        )
        return Analysis(now.mean(axis=0), members=now, diagnostics=diagnostics, carry=analysed)

    def predict(self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array) -> Members:
        """The members `n_steps` steps later: `lag` steps before the next window."""
        return Members.alike(self.ahead(analysis.carry, n_steps))

    def ahead(self, states: Float[Array, "m D"], n_steps) -> Float[Array, "m D"]:
        """The members `n_steps` steps later."""
        return jax.vmap(lambda x: spun_up(self.forward, x, n_steps))(states)

    def answer(self, analysis: Analysis) -> Float[Array, "B D"]:
        """What a call on a batch returns: the means at the first time."""
        return analysis.x0
