"""From an analysis to a trajectory over the window and the forecast after it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.models.integrate import free_forecast
from assimilation.problems import Problem


def forced_trajectory(
    forward: Any, x0: Float[Array, " D"], etas: Float[Array, "T D"]
) -> Float[Array, "T_plus_1 D"]:
    """States with model error added: x_{t+1} = M(x_t) + eta_t. Shape (T + 1, D)."""

    def advance(state, eta):
        new = forward.step(state, forward.dt) + eta
        return new, new

    return jnp.concatenate([x0[None], jax.lax.scan(advance, x0, etas)[1]])


def assemble_full_trajectory(
    analysis: Float[Array, " D"] | Float[Array, "T_assim_plus_1 D"],
    problem: Problem,
    forward: Any,
    etas: Float[Array, "T_assim D"] | None = None,
) -> Float[Array, "T_total_plus_1 D"]:
    """The trajectory (T_total + 1, D) that an analysis stands for.

    An initial state (D,) is run through the window, with `etas` (T_assim, D) added if
    given; a trajectory (T_assim + 1, D) is kept. Either way the last state of the window
    starts a free forecast to T_total. Raises ValueError for any other shape.
    """
    checks.forward_model(forward)
    size = problem.D
    if jnp.ndim(analysis) == 1:
        checks.shape((size,), analysis=analysis)
        if etas is None:
            return free_forecast(forward, analysis, problem.T_total)
        checks.shape((problem.T_assim, size), etas=etas)
        analysis = forced_trajectory(forward, analysis, etas)
    elif etas is not None:
        raise ValueError(
            "etas come with an initial state: pass analysis of shape (D,), or no etas."
        )
    checks.shape((problem.T_assim_plus_1, size), analysis=analysis)
    forecast = free_forecast(forward, analysis[-1], problem.T_forecast)
    return jnp.concatenate([analysis, forecast[1:]])
