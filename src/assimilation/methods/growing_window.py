"""Windows that grow, and what a cost says: how 4DVar finds the right minimum."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation.methods.levenberg_marquardt import Minimum
from assimilation.methods.window_cost import WindowCost

# From a control, the last row of observations, the largest number of steps, a tolerance and
# the first damping to the end of the minimisation.
Minimiser = Callable[[Array, Array, Array, Array, Array], Minimum]

# Damping with which a minimisation begins when its window has just grown. The minimum of
# the shorter window is close by, and a full Gauss-Newton step can leap out of its valley.
CAREFUL = 10.0


def grown(
    window: WindowCost, minimise: Minimiser, chi, at_once, to_the_end, max_steps: int, rtol: float
) -> Minimum:
    """Minimise from `chi` over windows that grow by one observed time, or over all `at_once`.

    Unless it is to go on `to_the_end`, the start is given up as soon as its cost is not
    credible. The cost that is returned is that of the whole window all the same.
    """
    mask = window.observations.mask
    last, rows = last_row(mask), jnp.arange(len(mask))

    def next_row(row):
        later = mask.any(axis=1) & (rows > row) & (window.times > 0)
        return jnp.where(later.any(), jnp.argmax(later), len(mask))

    first = jnp.where(at_once, last, jnp.minimum(next_row(-1), last))

    def grow(carry):
        row, before, _ = carry
        whole = row == last
        # The minima on the way there need not be exact.
        new = minimise(
            before.chi,
            row,
            jnp.where(whole, max_steps, min(15, max_steps)),
            jnp.where(whole, rtol, max(1e-2, rtol)),
            jnp.where(row == first, 0.0, CAREFUL).astype(mask.dtype),
        )
        lost = 2 * new.cost > credible(jnp.cumsum(mask.sum(axis=1))[row])
        new = new._replace(
            iterations=before.iterations + new.iterations,
            runs=before.runs + new.runs * share_of_window(window, row),
        )
        return next_row(row), new, lost & ~to_the_end

    start = (first, Minimum.start(chi, max_steps), jnp.zeros((), bool))
    _, found, _ = jax.lax.while_loop(lambda carry: (carry[0] <= last) & ~carry[2], grow, start)
    return found._replace(cost=window.cost(found.chi, last))


def credible(n_obs: Float[Array, ""]) -> Float[Array, ""]:
    """The largest 2 J to believe: mean plus three standard deviations of chi-square."""
    return n_obs + 3 * jnp.sqrt(2 * n_obs)


def last_row(mask: Float[Array, "n N"]) -> Int[Array, ""]:
    """The last row that has an observation."""
    return jnp.max(jnp.where(mask.any(axis=1), jnp.arange(len(mask)), 0))


def share_of_window(window: WindowCost, row: Int[Array, ""]) -> Float[Array, ""]:
    """How much of the window a run up to the observations of `row` takes."""
    return window.times[row] / max(window.observations.T_assim, 1)
