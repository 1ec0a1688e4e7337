"""Least squares in control space: a damped Gauss-Newton method that never goes up.

The cost is J(chi) = 1/2 |r(chi)|^2 with r = [chi; R^{-1/2} (H(x) - y)]. Because chi
itself is part of r, the Gauss-Newton Hessian is I + (something semidefinite): it can
always be solved, and damping is needed only where the model is far from linear.
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
    """A step, how much it should lower the cost, and the products with A^T A it took."""

    move: Float[Array, " n"]
    predicted: Float[Array, ""]
    products: Int[Array, ""]


class Diagnostics(NamedTuple):
    """How a minimisation went.

    `cost_history` holds the cost before the first iteration and after each one of the
    minimisation that gave the analysis, constant once it ended; `iterations` counts all
    that were made. `misfit` is 2 J / n_obs: near 1 if B and R are right and the minimum
    is the global one. `model_runs` counts the work in integrations of the model over
    the whole window; a tangent-linear run counts as one. `converged` is False where the
    iterations ran out.
    """

    cost: Float[Array, ""]
    cost_history: Float[Array, " n_history"]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    misfit: Float[Array, ""]
    model_runs: Float[Array, ""]


class LMState(NamedTuple):
    """Where a Levenberg-Marquardt minimisation stands.

    `local` belongs to `chi`, except for all but its cost where `chi` has `moved`.
    """

    chi: Float[Array, " n"]
    local: Any
    moved: Bool[Array, ""]
    damping: Float[Array, ""]
    history: Float[Array, " n_history"]
    iterations: Int[Array, ""]
    linearisations: Int[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]


def each(function: Callable[..., Any], *arrays: Any) -> Any:
    """Apply `function` to each slice along the first axis of `arrays`.

    On an accelerator all slices go side by side (`vmap`). On a CPU they go one after
    the other: iterative methods then stop when their own slice is done, and one slice
    fits the processor's cache, which together is several times faster.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda slices: function(*slices), arrays)
    return jax.vmap(function)(*arrays)


def finite_or_inf(cost: Float[Array, ""]) -> Float[Array, ""]:
    """The cost, or infinity where the model overflowed, so that it is never accepted."""
    return jnp.where(jnp.isfinite(cost), cost, jnp.inf)


def normal_equations(
    residual: Callable[[Float[Array, " n"]], Float[Array, " m"]],
) -> Callable[[Float[Array, " n"]], NormalEquations]:
    """The normal equations of a residual function with a dense Jacobian."""

    def at(chi):
        def twice(chi):
            r = residual(chi)
            return r, r

        jacobian, r = jax.jacfwd(twice, has_aux=True)(chi)
        return NormalEquations(0.5 * r @ r, jacobian.T @ r, jacobian.T @ jacobian)

    return at


def cholesky_step(local: NormalEquations, damping: Float[Array, ""]) -> Step:
    """Solve (hessian + damping I) d = -gradient with the dense matrix."""
    matrix = local.hessian + damping * jnp.eye(local.gradient.size, dtype=local.gradient.dtype)
    factor = jax.scipy.linalg.cho_factor(matrix)
    move = -jax.scipy.linalg.cho_solve(factor, local.gradient)
    predicted = -(local.gradient @ move + 0.5 * move @ local.hessian @ move)
    return Step(move, predicted, jnp.zeros((), jnp.int32))


def conjugate_gradient_step(
    gradient: Float[Array, " n"],
    hessian: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    damping: Float[Array, ""] | float,
    max_steps: int,
    rtol: float,
) -> Step:
    """Solve (hessian + damping I) d = -gradient by at most `max_steps` products.

    Conjugate gradients (Nocedal & Wright 2006, algorithm 5.2) from zero: stopped at any
    step, d lowers the quadratic model. Ends when the residual is below a fraction
    `rtol` of the gradient. The Hessian is I + A^T A, so no curvature is below 1 and
    nothing is ever divided by a small number.
    """
    goal = rtol**2 * (gradient @ gradient)

    def improve(carry):
        move, rest, direction, number = carry
        product = hessian(direction) + damping * direction
        square = rest @ rest
        length = square / (direction @ product)
        move, rest = move + length * direction, rest - length * product
        return move, rest, rest + (rest @ rest) / square * direction, number + 1

    start = (jnp.zeros_like(gradient), -gradient, -gradient, jnp.zeros((), jnp.int32))
    move, rest, _, number = jax.lax.while_loop(
        lambda carry: (carry[3] < max_steps) & (carry[1] @ carry[1] > goal), improve, start
    )
    # hessian(move) = -gradient - rest - damping move, without one more product.
    predicted = 0.5 * (-gradient @ move + rest @ move + damping * (move @ move))
    return Step(move, predicted, number)


def levenberg_marquardt(
    cost: Callable[[Float[Array, " n"]], Float[Array, ""]],
    linearise: Callable[[Float[Array, " n"]], Any],
    chi: Float[Array, " n"],
    max_steps: Int[Array, ""] | int,
    rtol: Float[Array, ""] | float,
    history_size: int,
    damping: Float[Array, ""] | float = 0.0,
    solve: Callable[[Any, Float[Array, ""]], Step] = cholesky_step,
) -> LMState:
    """Minimise `cost` from `chi`; accept a step only if its cost is finite and lower.

    Each step solves (hessian + damping I) d = -gradient. With damping zero that is
    Gauss-Newton; a rejected step raises it, a good one lowers it (Marquardt 1963).
    Stops when a step lowers the cost by less than a fraction `rtol` of it and damping is
    not easing, or when no damped step helps any more. `max_steps` and `rtol` may be traced values.

    `linearise` returns a named tuple with a `cost` and what `solve` makes a step from.
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
    start = LMState(
        chi=chi,
        local=unknown,
        moved=jnp.ones((), bool),
        damping=jnp.asarray(damping, chi.dtype),
        history=jnp.zeros(history_size, chi.dtype),
        iterations=jnp.zeros((), jnp.int32),
        linearisations=jnp.zeros((), jnp.int32),
        products=jnp.zeros((), jnp.int32),
        converged=jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_steps), step, start
    )
    after = jnp.arange(history_size) > end.iterations
    return end._replace(history=jnp.where(after, end.local.cost, end.history))
