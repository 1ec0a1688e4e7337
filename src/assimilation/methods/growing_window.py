"""Windows that grow and starts that are tried again: how 4DVar finds the right minimum."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from assimilation.methods.analysis import Diagnostics
from assimilation.methods.levenberg_marquardt import LMState
from assimilation.methods.window_cost import WindowCost

# From a control, the last row of observations, the largest number of steps, a tolerance and
# the first damping to the end of the minimisation, and its cost in runs of the model.
Minimiser = Callable[[Array, Array, Array, Array, Array], tuple[LMState, Array]]

# Damping with which a minimisation begins when its window has just grown. The minimum of
# the shorter window is close by, and a full Gauss-Newton step can leap out of its valley.
CAREFUL = 10.0


class Search(NamedTuple):
    """How to look for the minimum: see `StrongFourDVar` for each of these."""

    max_steps: int
    rtol: float
    grow_window: bool
    n_starts: int
    key: Array


class Found(NamedTuple):
    """The best control so far, or the one that a start has reached."""

    chi: Float[Array, " n"]
    cost: Float[Array, ""]
    history: Float[Array, " n_history"]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]
    model_runs: Float[Array, ""]

    def diagnostics(self, n_obs: Float[Array, ""]) -> Diagnostics:
        """What a method reports about its minimisation."""
        return Diagnostics(
            self.cost,
            self.history,
            self.iterations,
            self.converged,
            2 * self.cost / n_obs,
            self.model_runs,
        )


def best_of_starts(
    window: WindowCost,
    minimise: Minimiser,
    search: Search,
    first_guess: Float[Array, " n"] | None = None,
) -> Found:
    """Try one start after another until the cost is credible; keep the lowest cost.

    The first start is the background with a growing window, or else `first_guess` with
    the whole window at once; the others are drawn from the background.
    """
    mask = window.observations.mask
    last = last_row(mask)
    key = window_key(search.key, window.observations.values)
    zero = jnp.zeros(window.n_controls, mask.dtype)
    first = zero if first_guess is None else first_guess
    nothing = _nothing(first, window.cost(first, last), search)

    def another(carry):
        number, best, _ = carry
        drawn = jax.random.normal(jax.random.fold_in(key, number), zero.shape, zero.dtype)
        start = jnp.where(number == 0, first, drawn)
        at_once = jnp.asarray(not search.grow_window)
        if first_guess is not None:
            at_once = at_once | (number == 0)
        is_last_start = number == search.n_starts - 1
        found = _grown(window, minimise, search, start, at_once, is_last_start)
        chosen = jax.tree.map(
            lambda new, old: jnp.where(found.cost < best.cost, new, old), found, best
        )
        total = chosen._replace(
            iterations=best.iterations + found.iterations,
            model_runs=best.model_runs + found.model_runs,
        )
        done = 2 * total.cost <= credible(mask.sum())
        return number + 1, total, done

    start = (jnp.zeros((), jnp.int32), nothing, jnp.zeros((), bool))
    return jax.lax.while_loop(
        lambda carry: (carry[0] < search.n_starts) & ~carry[2], another, start
    )[1]


def _grown(window, minimise, search, chi, at_once, to_the_end) -> Found:
    """Minimise over windows that grow by one observed time at a time."""
    mask = window.observations.mask
    last, rows = last_row(mask), jnp.arange(len(mask))
    observed = mask.any(axis=1)
    seen_until = jnp.cumsum(mask.sum(axis=1))

    def next_row(row):
        later = observed & (rows > row) & (window.times > 0)
        return jnp.where(later.any(), jnp.argmax(later), len(mask))

    first = jnp.where(at_once, last, jnp.minimum(next_row(-1), last))

    def grow(carry):
        row, found, _ = carry
        whole = row == last
        # The minima on the way there need not be exact.
        lm, runs = minimise(
            found.chi,
            row,
            jnp.where(whole, search.max_steps, min(15, search.max_steps)),
            jnp.where(whole, search.rtol, max(1e-2, search.rtol)),
            jnp.where(row == first, 0.0, CAREFUL).astype(mask.dtype),
        )
        new = Found(
            lm.chi,
            lm.local.cost,
            lm.history,
            lm.converged,
            found.iterations + lm.iterations,
            found.model_runs + runs * share_of_window(window, row),
        )
        lost = 2 * new.cost > credible(seen_until[row])
        return next_row(row), new, lost & ~to_the_end

    start = (first, _nothing(chi, jnp.inf, search), jnp.zeros((), bool))
    _, found, _ = jax.lax.while_loop(lambda carry: (carry[0] <= last) & ~carry[2], grow, start)
    # A start given up early is still judged by its cost over the whole window.
    return found._replace(cost=window.cost(found.chi, last))


def _nothing(chi, cost, search) -> Found:
    """A control, before anything was done to it."""
    return Found(
        chi=chi,
        cost=jnp.asarray(cost, chi.dtype),
        history=jnp.full(search.max_steps + 1, jnp.nan, chi.dtype),
        converged=jnp.zeros((), bool),
        iterations=jnp.zeros((), jnp.int32),
        model_runs=jnp.zeros((), chi.dtype),
    )


def credible(n_obs: Float[Array, ""]) -> Float[Array, ""]:
    """The largest 2 J to believe: mean plus three standard deviations of chi-square."""
    return n_obs + 3 * jnp.sqrt(2 * n_obs)


def last_row(mask: Float[Array, "n N"]) -> Int[Array, ""]:
    """The last row that has an observation."""
    return jnp.max(jnp.where(mask.any(axis=1), jnp.arange(mask.shape[0]), 0))


def share_of_window(window: WindowCost, row: Int[Array, ""]) -> Float[Array, ""]:
    """How much of the window a run up to the observations of `row` takes."""
    return window.times[row] / max(window.observations.T_assim, 1)


def window_key(key: Array, values: Float[Array, "..."]) -> Array:
    """A key for one window, from a key for all: other observations, other draws."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    return jax.random.fold_in(key, jnp.sum(bits, dtype=jnp.uint32))
