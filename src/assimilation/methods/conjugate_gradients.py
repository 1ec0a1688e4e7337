"""Steps by products alone: the inner loop of incremental 4DVar."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.methods.levenberg_marquardt import Step


def conjugate_gradient_step(
    gradient: Float[Array, " n"],
    hessian: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    damping: Float[Array, ""] | float,
    max_steps: int,
    rtol: float,
) -> Step:
    """Solve (hessian + damping I) d = -gradient by at most `max_steps` products.

    Conjugate gradients (Nocedal & Wright 2006, algorithm 5.2) from zero: stopped at any
    step, d lowers the quadratic model. Ends when the residual is below a fraction `rtol`
    of the gradient. The Hessian is I + A^T A, so no curvature is below 1 and nothing is
    ever divided by a small number. A product counts as a tangent-linear and an adjoint run.
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
    return Step(move, predicted, runs=2 * number)
