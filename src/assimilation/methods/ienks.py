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

    `cost` is that of the analysis, `normalised_cost` 2 J / n_obs; infinite if the prior
    members overflow on their way to the observations, which then change nothing.
    `model_runs` counts integrations over the window and its lag, one a member and iteration.
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
    step: Float[Array, " m"]
    iterations: Int[Array, ""]


class IEnKS(MemberMethod):
    """The iterative ensemble Kalman smoother, in its transform form.

    The 4DVar cost in the space of the members, x_0 = x + X^T w,

        J(w) = (m - 1) / 2 |w|^2 + 1/2 sum_i |R_i^{-1/2} (h(x_{t_i}) - y_i)|^2,

    is minimised by Gauss-Newton steps; the members themselves, drawn together by the
    transform T found last, show how the departures change with w, so no adjoint is needed
    (Bocquet & Sakov 2014; Sakov, Oliver & Bertino 2012 for one observed time). A step after
    which the cost is higher, or not finite, is halved.
    The analysis has the members at its minimum with the covariance of its Hessian.

    `lag` steps before the first time of a window is where the state is estimated: with
    `lag` equal to the steps between observed times, and windows of one time each, this is the
    iterative ensemble Kalman filter (IEnKF). Whatever the lag, each observation is used once.
    With a lag the prior stands `lag` steps earlier too. At most `n_iterations` steps are made,
    until the weights change by less than `tol`. `quasi_static` uses the observed times
    of a window one after another, each from the members that the one before has left: for windows
    so long that the prior members fill the attractor (Fillion, Bocquet & Gratton 2018).
    `inflation` multiplies the analysed anomalies; `rotate` as for `ETKF`.
    """

    inflation: Parameter = 1.0
    lag: int = eqx.field(default=0, static=True)
    n_iterations: int = eqx.field(default=10, static=True)
    tol: float = eqx.field(default=1e-3, static=True)
    rotate: bool = eqx.field(default=True, static=True)
    quasi_static: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        require.positive(inflation=self.inflation, tol=self.tol)
        require.count(0, lag=self.lag)
        require.count(n_iterations=self.n_iterations)

    def departures(
        self, states: Float[Array, "m D"], observations: Observations, rows: Int[Array, " n"]
    ) -> Float[Array, "m n_N"]:
        """R^{-1/2} (h(x) - y) of each member at the `rows`, as one vector each."""
        times = jnp.array(observations.times)
        inverse_root = observations.inverse_root()

        def row(carry, i):
            states, now = carry
            steps = self.lag + times[i] - now
            states = self.ahead(states, steps)
            seen = jax.vmap(lambda x: observations.departure(i, x, inverse_root))(states)
            return (states, self.lag + times[i]), seen

        _, seen = jax.lax.scan(row, (states, jnp.zeros((), times.dtype)), rows)
        return jnp.moveaxis(seen, 0, 1).reshape(len(states), -1)

    def search(
        self, states: Float[Array, "m D"], observations: Observations, rows: Int[Array, " n"]
    ) -> tuple[Float[Array, "m D"], _Search]:
        """The members (m, D) that the observations of the `rows` leave, and how it went."""
        mean = states.mean(axis=0)
        X = states - mean
        m = len(X)
        eye = jnp.eye(m, dtype=X.dtype)

        def members(weights, transform):
            return mean + weights @ X + transform @ X

        def improve(last):
            weights = last.weights + last.step
            seen = self.departures(members(weights, last.transform), observations, rows)
            departure = seen.mean(axis=0)
            S = last.inverse @ (seen - departure)
            cost = 0.5 * departure @ departure + 0.5 * (m - 1) * weights @ weights
            # The transform is that of the Hessian: H^{-1} = T T / (m - 1).
            T = inverse_square_root(eye + S @ S.T / (m - 1))
            step = -T @ (T @ (S @ departure / (m - 1) + weights))
            # S S^T / (m - 1) + I = T^{-2}, so T^{-1} = T (I + S S^T / (m - 1)).
            inverse = T + T @ (S @ S.T) / (m - 1)
            better = _Search(weights, T, inverse, cost, step, last.iterations + 1)
            shorter = last._replace(step=last.step / 2, iterations=last.iterations + 1)
            accept = jnp.isfinite(cost) & (cost <= last.cost)
            return jax.tree.map(lambda a, b: jnp.where(accept, a, b), better, shorter)

        nowhere = jnp.zeros(m, X.dtype)
        start = _Search(
            nowhere, eye, eye, jnp.asarray(jnp.inf, X.dtype), nowhere, jnp.zeros((), jnp.int32)
        )

        def goes_on(search):
            far = jnp.sum(search.step**2) > self.tol**2
            return (search.iterations < self.n_iterations) & (far | (search.iterations == 0))

        found = jax.lax.while_loop(goes_on, improve, start)
        return members(found.weights, found.transform), found

    @eqx.filter_jit
    def analyse(self, prior: Members, observations: Observations, key: Array) -> Analysis:
        """One window. Members and `x0` stand at its first time, the `carry` `lag` steps earlier."""
        self.check_observations(observations)
        rows = jnp.arange(len(observations.times))
        groups = rows[:, None] if self.quasi_static else rows[None]
        members, found = jax.lax.scan(
            lambda states, rows: self.search(states, observations, rows), prior.states, groups
        )
        mean = members.mean(axis=0)
        anomalies = rotated(members - mean, key) if self.rotate else members - mean
        analysed = mean + self.inflation * anomalies
        now = self.ahead(analysed, self.lag)
        # How far each group is run, in runs to the last observed time.
        steps = self.lag + jnp.array(observations.times)[groups[:, -1]]
        share = jnp.where(steps[-1] > 0, steps / jnp.maximum(steps[-1], 1), 1)
        cost = found.cost.sum()
        diagnostics = SmootherDiagnostics(
            cost,
            found.iterations.sum(),
            jnp.all((jnp.linalg.norm(found.step, axis=-1) <= self.tol) & jnp.isfinite(found.cost)),
            2 * cost / observations.mask.sum(),
            ((share @ found.iterations + 1) * len(members)).astype(mean.dtype),
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
