"""Least squares in control space: a damped Gauss-Newton method that never goes up.

The cost is J(chi) = 1/2 |r(chi)|^2 with r = [chi; R^{-1/2} (h(x) - y)]. Because chi
itself is part of r, the Gauss-Newton Hessian is I + (something semidefinite): it can
always be solved, and damping is needed only where the model is far from linear.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Local(Protocol):
    """What is known around a control: the cost, and what a step is made from."""

    cost: Float[Array, ""]


class NormalEquations(NamedTuple):
    """The cost and its Gauss-Newton model around one control vector."""

    cost: Float[Array, ""]
    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]


class Step(NamedTuple):
    """A step, how much it should lower the cost, and the products with A^T A it took."""

    move: Float[Array, " n"]
    predicted: Float[Array, ""]
    products: Int[Array, ""]


class LMState(NamedTuple):
    """Where a minimisation stands.

    `local` belongs to `chi`, except for all but its cost where `chi` has `moved`.
    """

    chi: Float[Array, " n"]
    local: tuple
    moved: Bool[Array, ""]
    damping: Float[Array, ""]
    history: Float[Array, " n_history"]
    iterations: Int[Array, ""]
    linearisations: Int[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]


def finite_or_inf(cost: Float[Array, ""]) -> Float[Array, ""]:
    """The cost, or infinity where the model overflowed, so that it is never accepted."""
    return jnp.where(jnp.isfinite(cost), cost, jnp.inf)


def cholesky_step(local: NormalEquations, damping: Float[Array, ""]) -> Step:
    """Solve (hessian + damping I) d = -gradient with the dense matrix."""
    matrix = local.hessian + damping * jnp.eye(local.gradient.size, dtype=local.gradient.dtype)
    factor = jax.scipy.linalg.cho_factor(matrix)
    move = -jax.scipy.linalg.cho_solve(factor, local.gradient)
    predicted = -(local.gradient @ move + 0.5 * move @ local.hessian @ move)
    return Step(move, predicted, jnp.zeros((), jnp.int32))


def levenberg_marquardt(
    cost: Callable[[Float[Array, " n"]], Float[Array, ""]],
    linearise: Callable[[Float[Array, " n"]], Local],
    chi: Float[Array, " n"],
    max_steps: Int[Array, ""] | int,
    rtol: Float[Array, ""] | float,
    history_size: int,
    damping: Float[Array, ""] | float = 0.0,
    solve: Callable[[Local, Float[Array, ""]], Step] = cholesky_step,
) -> LMState:
    """Minimise `cost` from `chi`; accept a step only if its cost is finite and lower.

    Each step solves (hessian + damping I) d = -gradient. With damping zero that is
    Gauss-Newton; a rejected step raises it, a good one lowers it (Marquardt 1963).
    Stops when a step lowers the cost by less than a fraction `rtol` of it and damping is
    not easing, or when no damped step helps any more. `max_steps` and `rtol` may be
    traced values. `linearise` returns a named tuple with a `cost` and what `solve` makes
    a step from.
    """

    def step(state: LMState) -> LMState:
        chi, damping = state.chi, state.damping
        local = jax.lax.cond(state.moved, linearise, lambda _: state.local, chi)
        local = local._replace(cost=finite_or_inf(local.cost))
        move, predicted, products = solve(local, damping)
        new_cost = finite_or_inf(cost(chi + move))
        better = new_cost < local.cost
        agreement = (local.cost - new_cost) / predicted
        eased = jnp.where(agreement > 0.75, damping / 5, damping)
        eased = jnp.where(agreement < 0.25, 2 * damping + 0.1, eased)
        raised = jnp.maximum(4 * damping, 0.1)
        new_damping = jnp.where(better, jnp.where(eased < 0.1, 0.0, eased), raised)
        # The smallest change that this float type can tell from rounding.
        floor = 4 * jnp.finfo(chi.dtype).eps
        # While damping can still be eased, a small step says little about the distance left.
        eased_further = new_damping < damping
        small = better & ~eased_further & (local.cost - new_cost <= rtol * new_cost)
        at_floor = predicted <= floor * local.cost
        reached = jnp.where(better, new_cost, local.cost)
        history = state.history.at[state.iterations].set(local.cost)
        return LMState(
            chi=jnp.where(better, chi + move, chi),
            local=local._replace(cost=reached),
            moved=better,
            damping=new_damping,
            history=history.at[state.iterations + 1].set(reached),
            iterations=state.iterations + 1,
            linearisations=state.linearisations + state.moved,
            products=state.products + products,
            converged=small | at_floor | (new_damping > 1e8),
        )

    # The first pass of the loop linearises too: the model is then compiled only once.
    unknown = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(linearise, chi)
    )
    none = jnp.zeros((), jnp.int32)
    start = LMState(
        chi=chi,
        local=unknown,
        moved=jnp.ones((), bool),
        damping=jnp.asarray(damping, chi.dtype),
        history=jnp.zeros(history_size, chi.dtype),
        iterations=none,
        linearisations=none,
        products=none,
        converged=jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_steps), step, start
    )
    after = jnp.arange(history_size) > end.iterations
    return end._replace(history=jnp.where(after, end.local.cost, end.history))
