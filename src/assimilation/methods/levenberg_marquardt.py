"""Least squares in control space: a damped Gauss-Newton method that never goes up.

Where chi itself is part of the residual r = [chi; R^{-1/2} (h(x) - y)], the Gauss-Newton
Hessian is I + (something semidefinite): damping is needed only far from linearity.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class NormalEquations(NamedTuple):
    """The cost and its Gauss-Newton model around one control vector."""

    cost: Float[Array, ""]
    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]


class Step(NamedTuple):
    """A step, how much it should lower the cost, and the runs of the model it took."""

    move: Float[Array, " n"]
    predicted: Float[Array, ""]
    runs: Int[Array, ""] | int = 0


class Minimum(NamedTuple):
    """How far a minimisation has got: its costs from the first on, its runs of the model."""

    chi: Float[Array, " n"]
    cost: Float[Array, ""]
    history: Float[Array, " n_history"]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]
    runs: Float[Array, ""]

    @classmethod
    def start(cls, chi: Float[Array, " n"], max_steps: int, cost: Any = jnp.inf) -> "Minimum":
        """A control before anything was done to it."""
        none, history = jnp.zeros((), chi.dtype), jnp.full(max_steps + 1, jnp.nan, chi.dtype)
        return cls(chi, none + cost, history, none > 0, none.astype(jnp.int32), none)


def finite_or_inf(cost: Float[Array, ""]) -> Float[Array, ""]:
    """The cost, or infinity where the model overflowed, so that it is never accepted."""
    return jnp.where(jnp.isfinite(cost), cost, jnp.inf)


def cholesky_step(local: NormalEquations, damping: Float[Array, ""]) -> Step:
    """Solve (hessian + damping I) d = -gradient with the dense matrix."""
    matrix = local.hessian + damping * jnp.eye(local.gradient.size, dtype=local.gradient.dtype)
    move = -jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), local.gradient)
    return Step(move, -(local.gradient @ move + 0.5 * move @ local.hessian @ move))


def levenberg_marquardt(
    cost: Callable[[Float[Array, " n"]], Float[Array, ""]],
    linearise: Callable[[Float[Array, " n"]], Any],
    chi: Float[Array, " n"],
    history_size: int,
    max_steps: Int[Array, ""] | int,
    rtol: Float[Array, ""] | float,
    damping: Float[Array, ""] | float = 0.0,
    solve: Callable[[Any, Float[Array, ""]], Step] = cholesky_step,
    linearisation_runs: int = 0,
) -> Minimum:
    """Minimise `cost` from `chi`; accept a step only if its cost is finite and lower.

    Each step solves (hessian + damping I) d = -gradient. With damping zero that is
    Gauss-Newton; a rejected step raises it, a good one lowers it (Marquardt 1963). Stops
    when a step lowers the cost by less than a fraction `rtol` of it and damping is not
    easing, or when no damped step helps any more. `max_steps`, at most `history_size`, and
    `rtol` may be traced. `linearise` returns a named tuple with a `cost` and what `solve`
    makes a step from; it takes `linearisation_runs` runs of the model.
    """

    def step(carry):
        at, local, moved, damping = carry
        # `local` belongs to `chi`, except for all but its cost where `chi` has moved.
        local = jax.lax.cond(moved, linearise, lambda _: local, at.chi)
        old = finite_or_inf(local.cost)
        move, predicted, runs = solve(local, damping)
        new = finite_or_inf(cost(at.chi + move))
        better = new < old
        agreement = (old - new) / predicted
        eased = jnp.where(agreement > 0.75, damping / 5, damping)
        eased = jnp.where(agreement < 0.25, 2 * damping + 0.1, eased)
        raised = jnp.maximum(4 * damping, 0.1)
        new_damping = jnp.where(better, jnp.where(eased < 0.1, 0.0, eased), raised)
        # While damping can still be eased, a small step says little about the distance left.
        small = better & (new_damping >= damping) & (old - new <= rtol * new)
        # The smallest change that this float type can tell from rounding.
        at_floor = predicted <= 4 * jnp.finfo(move.dtype).eps * old
        reached = jnp.where(better, new, old)
        at = Minimum(
            chi=jnp.where(better, at.chi + move, at.chi),
            cost=reached,
            history=at.history.at[at.iterations].set(old).at[at.iterations + 1].set(reached),
            converged=small | at_floor | (new_damping > 1e8),
            iterations=at.iterations + 1,
            runs=at.runs + 1 + runs + moved * linearisation_runs,
        )
        return at, local._replace(cost=reached), better, new_damping

    # The first pass of the loop linearises too: the model is then compiled only once.
    unknown = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(linearise, chi))
    damping = jnp.asarray(damping, chi.dtype)
    start = (Minimum.start(chi, history_size), unknown, jnp.ones((), bool), damping)
    end = jax.lax.while_loop(
        lambda carry: ~carry[0].converged & (carry[0].iterations < max_steps), step, start
    )[0]
    after = jnp.arange(history_size + 1) > end.iterations
    return end._replace(history=jnp.where(after, end.cost, end.history))
