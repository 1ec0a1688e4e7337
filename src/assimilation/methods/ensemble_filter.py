"""What ensemble filters share: members run from observation to observation, and updated."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import Method, window_key
from assimilation.models.integrate import ForwardModel
from assimilation.observations.operators import ObsOperator, Time
from assimilation.observations.window import Observations


class FilterDiagnostics(NamedTuple):
    """What a filter reports about one window.

    `model_runs` counts the integrations of the model over the window, one a member.
    `effective_members` (n,) says of each observed time how many equal weights the weights
    of the members were worth, before any resampling: their number where all count alike.
    """

    model_runs: Float[Array, ""]
    effective_members: Float[Array, " n"]


class Members(NamedTuple):
    """Members (m, D), and the logarithms (m,) of their weights."""

    states: Float[Array, "m D"]
    log_weights: Float[Array, " m"]

    @classmethod
    def alike(cls, states: Float[Array, "m D"]) -> "Members":
        """Members that all count alike."""
        return cls(states, jnp.full(len(states), -jnp.log(len(states)), states.dtype))

    @property
    def weights(self) -> Float[Array, " m"]:
        """Weights (m,) that sum to one."""
        return jax.nn.softmax(self.log_weights)

    @property
    def mean(self) -> Float[Array, " D"]:
        """The weighted mean."""
        return self.weights @ self.states


class MemberMethod(Method):
    """A method whose belief is a set of members.

    They start as draws from N(`prior_mean`, `prior_cov_op`), on states (D,). `key`, with the
    window's observations, draws for `solve`; in a cycle the cycle's key does.
    """

    forward: ForwardModel
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_op: ObsOperator | None = None
    obs_cov_op: lx.AbstractLinearOperator | None = None
    n_members: int = eqx.field(default=20, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        require.forward_model(self.forward)
        self.check_background()
        require.count(2, n_members=self.n_members)
        require.key(key=self.key)

    @abstractmethod
    def analyse(self, prior: Members, observations: Observations, key: Array) -> Analysis:
        """The analysis of one window, from members at its first time."""

    def initialise(self, key: Array) -> Members:
        """Draws from the background."""
        root = square_root(self.prior_cov_op)
        shape = (self.n_members, *root.in_structure().shape)
        draws = jax.random.normal(key, shape, jnp.result_type(self.prior_mean))
        return Members.alike(self.prior_mean + jax.vmap(root.mv)(draws))

    @eqx.filter_jit
    def solve(self, observations: Observations) -> Analysis:
        """The analysis of one window, from draws of the background."""
        k_start, k_window = jax.random.split(window_key(self.key, observations.values))
        return self.analyse(self.initialise(k_start), observations, k_window)


class MemberFilter(MemberMethod):
    """A filter: members are run to each observed time, then updated.

    Each step of the model adds an error drawn from `model_err_cov_op` Q (None: the model is
    exact).
    """

    model_err_cov_op: lx.AbstractLinearOperator | None = None

    def __check_init__(self):
        if self.model_err_cov_op is not None:
            shape = jnp.shape(self.prior_mean)
            require.covariance("model_err_cov_op", self.model_err_cov_op, shape)

    @abstractmethod
    def update(
        self, prior: Members, observations: Observations, row: Time, key: Array
    ) -> tuple[Members, Float[Array, ""]]:
        """The members after the observations of one row, and how many weights are effective."""

    @eqx.filter_jit
    def analyse(self, prior: Members, observations: Observations, key: Array) -> Analysis:
        """One window, from its first time to its last observed one, where the members stand.

        `states` holds their mean at each step; from an observed time on it knows of what
        was seen there. The record of `prior.weights` is kept in `weights`.
        """
        self.check_observations(observations)
        times = jnp.array(observations.times)
        means = jnp.zeros((observations.times[-1] + 1, prior.states.shape[1]), prior.states.dtype)

        def row(i, carry):
            members, means, effective = carry
            k_refresh, k_update = jax.random.split(jax.random.fold_in(k_updates, i))
            before = jnp.where(i > 0, times[i - 1], 0)
            members = self.refreshed(members, k_refresh)

            def step(t, carry):
                states, means = carry
                seen_now = (t == before) & (i > 0)
                states = self.advance(states, jax.random.fold_in(k_model, t), seen_now)
                return states, means.at[t + 1].set(members.weights @ states)

            states, means = jax.lax.fori_loop(before, times[i], step, (members.states, means))
            members = members._replace(states=states)
            members, worth = self.update(members, observations, i, k_update)
            return members, means.at[times[i]].set(members.mean), effective.at[i].set(worth)

        means = means.at[0].set(prior.mean)
        k_model, k_updates = jax.random.split(key)
        start = (prior, means, jnp.zeros(len(times), means.dtype))
        members, means, effective = jax.lax.fori_loop(0, len(times), row, start)
        runs = jnp.asarray(len(members.states), means.dtype)
        return Analysis(
            means[0],
            means,
            members=members.states,
            weights=members.weights,
            diagnostics=FilterDiagnostics(runs, effective),
        )

    def predict(self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array) -> Members:
        """The members `n_steps` steps after the first time of the window just analysed."""
        left = n_steps - (len(analysis.states) - 1)
        members = Members(analysis.members, jnp.log(analysis.weights))
        members = self.refreshed(members, jax.random.fold_in(key, 0))

        def step(t, states):
            return self.advance(states, jax.random.fold_in(key, t + 1), t == 0)

        return members._replace(states=jax.lax.fori_loop(0, left, step, members.states))

    def refreshed(self, members: Members, key: Array) -> Members:
        """The members that the model is run from: those of the analysis, or others for them."""
        return members

    def advance(
        self, states: Float[Array, "m D"], key: Array, seen_now: bool | Bool[Array, ""]
    ) -> Float[Array, "m D"]:
        """One step of the model for each member, with an error of its own.

        `seen_now` says that the members have just been updated.
        """
        states = jax.vmap(lambda x: self.forward.step(x, self.forward.dt))(states)
        return states + self.model_errors(states, key)

    def model_errors(
        self, states: Float[Array, "m D"], key: Array
    ) -> Float[Array, "m D"] | Float[Array, ""]:
        """Draws from N(0, Q), one for each member."""
        if self.model_err_cov_op is None:
            return jnp.zeros((), states.dtype)
        root = square_root(self.model_err_cov_op)
        shape = (len(states), *root.in_structure().shape)
        return jax.vmap(root.mv)(jax.random.normal(key, shape, states.dtype))

    def answer(self, analysis: Analysis) -> PyTree[Array]:
        """What a call on a batch returns: the means from the first time to the last observed."""
        return analysis.states


def departures(
    states: Float[Array, "m D"], observations: Observations, row: Time
) -> Float[Array, "m N"]:
    """R^{-1/2} (h(x_i) - y) of each member at one row; zero for values that are missing."""
    inverse_root = observations.inverse_root()
    return jax.vmap(lambda x: observations.departure(row, x, inverse_root))(states)
