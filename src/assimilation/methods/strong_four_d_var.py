"""Strong-constraint 4DVar: the initial state whose forecast fits the whole window."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int

from assimilation import checks
from assimilation.covariances import square_root
from assimilation.methods.ingredients import check_batch, check_ingredients
from assimilation.observations import Batch1D, ObsOperator, observation_variance
from assimilation.solvers import (
    Diagnostics,
    NormalEquations,
    each,
    finite_or_inf,
    levenberg_marquardt,
)


class WindowCost(NamedTuple):
    """The 4DVar cost of one window, in control space and up to a chosen time.

    J(chi) = 1/2 |chi|^2 + 1/2 sum_t |R^{-1/2} (h(x_t) - y_t)|^2, where x_0 = x_b + L chi
    and x_{t+1} = M(x_t); the sum runs over the observed times t <= `end`.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    root: lx.AbstractLinearOperator
    obs: Float[Array, "T N"]
    weights: Float[Array, "T N"]

    def initial_state(self, chi: Float[Array, " n"]) -> Float[Array, " D"]:
        """x_0 = x_b + L chi."""
        return self.prior_mean + self.root.mv(chi)

    def cost(self, chi: Float[Array, " n"], end: Int[Array, ""]) -> Float[Array, ""]:
        """J(chi), or infinity if the model overflows."""

        def at(time, state):
            departure = self.weights[time] * (self.obs_op(state) - self.obs[time])
            return 0.5 * departure @ departure

        def step(time, carry):
            state, cost = carry
            state = self.forward.step(state, self.forward.dt)
            return state, cost + at(time + 1, state)

        state = self.initial_state(chi)
        start = (state, 0.5 * chi @ chi + at(0, state))
        return finite_or_inf(jax.lax.fori_loop(0, end, step, start)[1])

    def linearise(self, chi: Float[Array, " n"], end: Int[Array, ""]) -> NormalEquations:
        """Cost, gradient and Gauss-Newton Hessian, summed up while the model runs.

        Carries the sensitivities V_t = dx_t/dchi (D, n) forward with the tangent-linear
        model, and adds (H V_t)^T R^{-1} (H V_t) at each time that has observations.
        """

        def add(time, state, V, sums):
            def observed(sums):
                expected, H = jax.linearize(self.obs_op, state)
                departure = self.weights[time] * (expected - self.obs[time])
                HV = jax.vmap(H, in_axes=-1, out_axes=-1)(V)
                HV = self.weights[time][:, None] * HV
                return NormalEquations(
                    sums.cost + 0.5 * departure @ departure,
                    sums.gradient + HV.T @ departure,
                    sums.hessian + HV.T @ HV,
                )

            seen = jnp.any(self.weights[time] > 0)
            return jax.lax.cond(seen, observed, lambda sums: sums, sums)

        def step(time, carry):
            state, V, sums = carry
            state, M = jax.linearize(lambda x: self.forward.step(x, self.forward.dt), state)
            V = jax.vmap(M, in_axes=-1, out_axes=-1)(V)
            return state, V, add(time + 1, state, V, sums)

        state, V = self.initial_state(chi), self.root.as_matrix()
        identity = jnp.eye(chi.size, dtype=chi.dtype)
        sums = add(0, state, V, NormalEquations(0.5 * chi @ chi, chi, identity))
        return jax.lax.fori_loop(0, end, step, (state, V, sums))[2]


class _Found(NamedTuple):
    """The best control so far, or the one that a start has reached."""

    chi: Float[Array, " n"]
    cost: Float[Array, ""]
    history: Float[Array, " n_history"]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]
    model_runs: Float[Array, ""]


class StrongFourDVar(eqx.Module):
    """Strong-constraint 4DVar with a window that grows, and several starts.

    Minimises the cost of Talagrand & Courtier (1987, eq. 2.1) with a background term,
    over the control variable chi: x_0 = x_b + L chi, B = L L^T, by damped Gauss-Newton
    steps that must lower the cost. Over a long window a chaotic model gives the cost
    many local minima. So the window grows by one observation time at a time, each
    minimum being the next first guess (Pires, Vautard & Talagrand 1996). At the right
    minimum 2 J is chi-square with as many degrees of freedom as there are observations:
    where it lies more than four of its standard deviations above its mean, the start is
    given up, and another one is drawn from the background, up to `n_starts` in all. The
    lowest cost wins.

    `forward` is any object with `dt` and `step(state, dt)`; `prior_mean` (D,) is the
    background at the first time of the window. One minimisation takes at most
    `max_steps` steps and ends when a step lowers the cost by less than a fraction
    `rtol`. `grow_window=False` goes for the whole window at once. `key` draws the
    further starts.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_cov_op: lx.AbstractLinearOperator
    max_steps: int = eqx.field(default=60, static=True)
    rtol: float = eqx.field(default=1e-3, static=True)
    grow_window: bool = eqx.field(default=True, static=True)
    n_starts: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        checks.forward_model(self.forward)
        check_ingredients(self, whole_window=False)
        checks.count(max_steps=self.max_steps, n_starts=self.n_starts)
        checks.positive(rtol=self.rtol)
        checks.key(key=self.key)

    def __call__(self, batch: Batch1D) -> Float[Array, "B D"]:
        """The analysed initial states (B, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(self, batch: Batch1D) -> tuple[Float[Array, "B D"], Diagnostics]:
        """The initial states (B, D) and diagnostics, each with a leading axis B."""
        variance = observation_variance(self.obs_cov_op)
        check_batch(batch, variance)
        root = square_root(self.prior_cov_op)

        def one(obs, mask):
            window = WindowCost(
                self.forward,
                self.obs_op,
                self.prior_mean,
                root,
                obs,
                mask / jnp.sqrt(variance),
            )
            best = self._best_of_starts(window, mask)
            return window.initial_state(best.chi), Diagnostics(
                best.cost,
                best.history,
                best.iterations,
                best.converged,
                2 * best.cost / mask.sum(),
                best.model_runs,
            )

        return each(one, batch.input, batch.mask)

    def _best_of_starts(self, window: WindowCost, mask: Float[Array, "T N"]) -> _Found:
        """Try one start after another until the misfit is credible."""
        n_obs = mask.sum()
        zero = jnp.zeros(window.root.in_size(), mask.dtype)
        last = _last_observed(mask)
        nothing = _Found(
            chi=zero,
            cost=window.cost(zero, last),
            history=jnp.full(self.max_steps + 1, jnp.nan, mask.dtype),
            converged=jnp.zeros((), bool),
            iterations=jnp.zeros((), jnp.int32),
            model_runs=jnp.zeros((), mask.dtype),
        )

        def another(carry):
            number, best, _ = carry
            drawn = jax.random.normal(jax.random.fold_in(self.key, number), zero.shape, zero.dtype)
            first_guess = jnp.where(number == 0, zero, drawn)
            is_last_start = number == self.n_starts - 1
            found = self._grown(window, mask, first_guess, is_last_start)
            chosen = jax.tree.map(
                lambda new, old: jnp.where(found.cost < best.cost, new, old), found, best
            )
            total = chosen._replace(
                iterations=best.iterations + found.iterations,
                model_runs=best.model_runs + found.model_runs,
            )
            done = 2 * total.cost <= credible(n_obs)
            return number + 1, total, done

        start = (jnp.zeros((), jnp.int32), nothing, jnp.zeros((), bool))
        return jax.lax.while_loop(
            lambda carry: (carry[0] < self.n_starts) & ~carry[2], another, start
        )[1]

    def _grown(self, window, mask, chi, to_the_end) -> _Found:
        """Minimise over windows that grow by one observed time at a time."""
        last = _last_observed(mask)
        observed = mask.any(axis=1)
        times = jnp.arange(mask.shape[0])
        seen_until = jnp.cumsum(mask.sum(axis=1))

        def next_end(end):
            later = observed & (times > end)
            return jnp.where(later.any(), jnp.argmax(later), mask.shape[0])

        def minimise(carry):
            end, found, _ = carry
            whole = end == last
            lm = levenberg_marquardt(
                lambda chi: window.cost(chi, end),
                lambda chi: window.linearise(chi, end),
                found.chi,
                # On the way, a rough minimum is enough of a first guess.
                jnp.where(whole, self.max_steps, min(15, self.max_steps)),
                jnp.where(whole, self.rtol, max(1e-2, self.rtol)),
                self.max_steps + 1,
            )
            runs = lm.iterations + (1 + chi.size) * lm.linearisations
            new = _Found(
                lm.chi,
                lm.local.cost,
                lm.history,
                lm.converged,
                found.iterations + lm.iterations,
                found.model_runs + runs * end / (mask.shape[0] - 1),
            )
            lost = 2 * new.cost > credible(seen_until[end])
            return next_end(end), new, lost & ~to_the_end

        no_runs = jnp.zeros((), mask.dtype)
        start = _Found(
            chi,
            jnp.full((), jnp.inf, mask.dtype),
            jnp.full(self.max_steps + 1, jnp.nan, mask.dtype),
            jnp.zeros((), bool),
            jnp.zeros((), jnp.int32),
            no_runs,
        )
        first = jnp.minimum(next_end(0), last) if self.grow_window else last
        _, found, _ = jax.lax.while_loop(
            lambda carry: (carry[0] <= last) & ~carry[2],
            minimise,
            (first, start, jnp.zeros((), bool)),
        )
        # A start given up early is still judged by its cost over the whole window.
        return found._replace(cost=window.cost(found.chi, last))


def credible(n_obs: Float[Array, ""]) -> Float[Array, ""]:
    """The largest 2 J to believe: mean plus four standard deviations of chi-square."""
    return n_obs + 4 * jnp.sqrt(2 * n_obs)


def _last_observed(mask: Float[Array, "T N"]) -> Int[Array, ""]:
    """The last time that has an observation."""
    return jnp.max(jnp.where(mask.any(axis=1), jnp.arange(mask.shape[0]), 0))
