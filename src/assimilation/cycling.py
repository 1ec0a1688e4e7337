"""Cycling: the forecast from one analysis is the background of the next."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.climatology import spun_up
from assimilation.observations import Batch1D
from assimilation.problems import Problem
from assimilation.trajectories import forced_trajectory


class Cycle(NamedTuple):
    """What a cycled method believed at the first time of each window.

    `backgrounds` (n_windows, D) before the window's observations, `analyses`
    (n_windows, D) after them; `forecasts` (n_windows, D) are the analyses run on to the
    start of the next window, so each is the next background.
    """

    backgrounds: Float[Array, "n_windows D"]
    analyses: Float[Array, "n_windows D"]
    forecasts: Float[Array, "n_windows D"]


def cycle(method: Any, problem: Problem, n_windows: int, forward: Any = None) -> Cycle:
    """Assimilate `n_windows` windows one after another, in one compiled loop.

    The T_assim + 1 times of `problem` are cut into windows of equal length, none of
    them twice. A method that has a `forward` model (4DVar) sees its whole window; one
    without (OI, 3DVar) sees the first time of its window, where all observations must
    then lie. The first background is `method.prior_mean`; the next ones are forecasts
    by `forward` (left at None, the problem's own model). The covariance stays what it
    is: to inflate or shrink it, build the method with a scaled `prior_cov_op`.

    Works under `jit` and `vmap`. Raises ValueError if the times do not divide into the
    windows, or an observation lies where the method cannot see it; TypeError if
    `method` has no background state (D,) to replace.
    """
    forward = problem.forward if forward is None else forward
    checks.forward_model(forward)
    checks.count(n_windows=n_windows)
    n_times, size = problem.obs.shape
    if n_times % n_windows:
        raise ValueError(
            f"n_windows={n_windows} does not divide the {n_times} times of the problem: pass "
            "a divisor, or generate the problem with T_assim = n_windows * n_steps - 1."
        )
    if jnp.shape(getattr(method, "prior_mean", 0.0)) != (size,):
        raise TypeError(
            f"method is {type(method).__name__} without a prior_mean of shape ({size},): pass "
            "a method built with a background state, such as ThreeDVar(**problem.ingredients)."
        )
    n_steps = n_times // n_windows
    cut = [array.reshape(n_windows, n_steps, size) for array in (problem.obs, problem.mask)]
    if not hasattr(method, "forward"):
        unseen = cut[1][:, 1:]
        if checks.is_concrete(unseen) and np.any(unseen):
            raise ValueError(
                f"n_windows={n_windows} gives windows of {n_steps} times with observations "
                f"after the first, which {type(method).__name__} would not see: pass one "
                "window for each observed time, or a method with a forward model."
            )
        cut = [array[:, :1] for array in cut]
    return _cycle(method, forward, *cut, n_steps)


@eqx.filter_jit
def _cycle(method, forward, obs, mask, n_steps: int) -> Cycle:
    def next_window(background, window):
        obs, mask = window
        # The method was checked when it was built; only its background changes.
        current = eqx.tree_at(lambda method: method.prior_mean, method, background)
        answer = current(Batch1D(input=obs[None], mask=mask[None]))
        analysis, forecast = _state_and_forecast(answer, forward, n_steps)
        return forecast, Cycle(background, analysis, forecast)

    return jax.lax.scan(next_window, method.prior_mean, (obs, mask))[1]


def _state_and_forecast(answer, forward, n_steps: int):
    """The state at the first time that a method's answer stands for, and its forecast."""
    if isinstance(answer, tuple):
        x0, etas = answer
        states = forced_trajectory(forward, x0[0], etas[0])
        return states[0], spun_up(forward, states[-1], n_steps - etas.shape[1])
    analysis = answer[0, 0] if answer.ndim == 3 else answer[0]
    return analysis, spun_up(forward, analysis, n_steps)
