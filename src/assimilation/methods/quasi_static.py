"""Windows that grow and starts that are tried again: how 4DVar finds the right minimum."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from assimilation.methods.window_cost import WindowCost
from assimilation.solvers import Diagnostics, LMState


class Search(NamedTuple):
    """How to look for the minimum: see `StrongFourDVar` for each of these."""

    max_steps: int
    rtol: float
    grow_window: bool
    n_starts: int
    key: Array


# From a control, the window's last time, the largest number of steps, a tolerance and the
# first damping to the end of the minimisation, and its cost in runs of the model over
# that window.
Minimiser = Callable[[Array, Array, Array, Array, Array], tuple[LMState, Array]]

# Damping with which a minimisation begins when its window has just grown. The minimum of
# the shorter window is close by, and a full Gauss-Newton step can leap out of its valley.
CAREFUL = 10.0


class Found(NamedTuple):
    """The best control so far, or the one that a start has reached."""

    chi: Float[Array, " n"]
    cost: Float[Array, ""]
    history: Float[Array, " n_history"]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]
    model_runs: Float[Array, ""]

    def diagnostics(self, mask: Float[Array, "T N"]) -> Diagnostics:
        """What a method reports about its minimisation."""
        return Diagnostics(
            self.cost,
            self.history,
            self.iterations,
            self.converged,
            2 * self.cost / mask.sum(),
            self.model_runs,
        )


def best_of_starts(
    window: WindowCost,
    mask: Float[Array, "T N"],
    minimise: Minimiser,
    search: Search,
    first_guess: Float[Array, " n"] | None = None,
) -> Found:
    """Try one start after another until the misfit is credible; keep the lowest cost.

    The first start is the background with a growing window, or else `first_guess` with
    the whole window at once; the others are drawn from the background.
    """
    last = last_observed(mask)
    zero = jnp.zeros(window.n_controls, mask.dtype)
    first = zero if first_guess is None else first_guess
    nothing = Found(
        chi=first,
        cost=window.cost(first, last),
        history=jnp.full(search.max_steps + 1, jnp.nan, mask.dtype),
        converged=jnp.zeros((), bool),
        iterations=jnp.zeros((), jnp.int32),
        model_runs=jnp.zeros((), mask.dtype),
    )

    def another(carry):
        number, best, _ = carry
        drawn = jax.random.normal(jax.random.fold_in(search.key, number), zero.shape, zero.dtype)
        start = jnp.where(number == 0, first, drawn)
        at_once = jnp.asarray(not search.grow_window)
        if first_guess is not None:
            at_once = at_once | (number == 0)
        is_last_start = number == search.n_starts - 1
        found = _grown(window, mask, minimise, search, start, at_once, is_last_start)
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


def _grown(window, mask, minimise, search, chi, at_once, to_the_end) -> Found:
    """Minimise over windows that grow by one observed time at a time."""
    last = last_observed(mask)
    observed = mask.any(axis=1)
    times = jnp.arange(mask.shape[0])
    seen_until = jnp.cumsum(mask.sum(axis=1))

    def next_end(end):
        later = observed & (times > end)
        return jnp.where(later.any(), jnp.argmax(later), mask.shape[0])

    first = jnp.where(at_once, last, jnp.minimum(next_end(0), last))

    def grow(carry):
        end, found, _ = carry
        whole = end == last
        # On the way, a rough minimum is enough of a first guess.
        lm, runs = minimise(
            found.chi,
            end,
            jnp.where(whole, search.max_steps, min(15, search.max_steps)),
            jnp.where(whole, search.rtol, max(1e-2, search.rtol)),
            jnp.where(end == first, 0.0, CAREFUL).astype(mask.dtype),
        )
        new = Found(
            lm.chi,
            lm.local.cost,
            lm.history,
            lm.converged,
            found.iterations + lm.iterations,
            found.model_runs + runs * end / (mask.shape[0] - 1),
        )
        lost = 2 * new.cost > credible(seen_until[end])
        return next_end(end), new, lost & ~to_the_end

    start = Found(
        chi,
        jnp.full((), jnp.inf, mask.dtype),
        jnp.full(search.max_steps + 1, jnp.nan, mask.dtype),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), mask.dtype),
    )
    _, found, _ = jax.lax.while_loop(
        lambda carry: (carry[0] <= last) & ~carry[2],
        grow,
        (first, start, jnp.zeros((), bool)),
    )
    # A start given up early is still judged by its cost over the whole window.
    return found._replace(cost=window.cost(found.chi, last))


def credible(n_obs: Float[Array, ""]) -> Float[Array, ""]:
    """The largest 2 J to believe: mean plus three standard deviations of chi-square."""
    return n_obs + 3 * jnp.sqrt(2 * n_obs)


def last_observed(mask: Float[Array, "T N"]) -> Int[Array, ""]:
    """The last time that has an observation."""
    return jnp.max(jnp.where(mask.any(axis=1), jnp.arange(mask.shape[0]), 0))
