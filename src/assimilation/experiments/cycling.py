"""Cycling: the forecast from one analysis is the background of the next."""

from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from assimilation import require
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import Method
from assimilation.models.integrate import ForwardModel, forced_trajectory, spun_up
from assimilation.observations.window import Observations
from assimilation.problems import Problem


@runtime_checkable
class Cyclable(Protocol):
    """What can be cycled: a prior, what observations make of it, and where that leads.

    A prior is what is carried from window to window: a mean, a set of members, or both.
    """

    def initialise(self, key: Array) -> PyTree[Array]:
        """The prior at the first time of the first window."""

    def analyse(self, prior: PyTree[Array], observations: Observations, key: Array) -> Analysis:
        """The analysis of one window."""

    def predict(
        self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array
    ) -> PyTree[Array]:
        """The prior of the window that begins `n_steps` steps later."""


class CycledMean(eqx.Module):
    """A method with a background state: its mean is carried, its covariance stays."""

    method: Method
    forward: ForwardModel

    def initialise(self, key: Array) -> Float[Array, " D"]:
        return self.method.prior_mean

    def analyse(self, prior: Float[Array, " D"], observations: Observations, key: Array):
        # The method was checked when it was built; only its background changes.
        return eqx.tree_at(lambda m: m.prior_mean, self.method, prior).solve(observations)

    def predict(
        self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array
    ) -> Float[Array, " D"]:
        if analysis.etas is None:
            return spun_up(self.forward, analysis.x0, n_steps)
        end = forced_trajectory(self.forward, analysis.x0, analysis.etas)[-1]
        return spun_up(self.forward, end, n_steps - len(analysis.etas))


class Cycle(NamedTuple):
    """A cycle of n_windows windows, the first of which begins at step `starts[0]`.

    `backgrounds` are the priors at the first time of each window, before its
    observations: (n_windows, D) for a method with a mean. `analyses` is the record with
    them, stacked: `analyses.x0` (n_windows, D). `forecasts` are the analyses run on to the
    start of the next window, so each is the next background.
    """

    starts: Int[Array, " n_windows"]
    backgrounds: PyTree[Array]
    analyses: Analysis
    forecasts: PyTree[Array]

    @property
    def diverged(self) -> Bool[Array, ""]:
        """True if an analysis holds a number that is not finite: the cycle has no scores then."""
        return ~jnp.isfinite(self.analyses.x0).all()


class _Windows(NamedTuple):
    """The observations, cut into windows (the leading axis), and their lengths in steps."""

    values: Float[Array, "n_windows n N"]
    mask: Float[Array, "n_windows n N"]
    error: Float[Array, "n_windows ..."]
    starts: Int[Array, " n_windows"]
    lengths: Int[Array, " n_windows"]


def cycle(
    method: Method | Cyclable,
    problem: Problem,
    n_steps: int | None = None,
    key: Array | None = None,
) -> Cycle:
    """Assimilate one window after another, in one compiled loop.

    The times of `problem` are cut into windows of `n_steps` steps, with observations
    anywhere in them. Left at None, a window goes from each observed time to the next,
    and its observations stand at its first time: for methods without a model in them
    (OI, 3DVar) there is no other way.

    A method with a `prior_mean` (D,) starts from it, and goes on from forecasts by its own
    model or the problem's. Its covariance stays what it is: to inflate or shrink it, build
    the method with a scaled `prior_cov_op`. Anything else needs the three functions of
    `Cyclable`. `key` (None: a fixed one) is split over the windows.

    Works under `jit` and `vmap`. Raises ValueError if the times do not divide into
    windows or an observation lies where the method cannot see it; TypeError if `method`
    can not be cycled.
    """
    require.is_a(Problem, "a Problem, or what a generator returns", problem=problem)
    has_model = not isinstance(method, Method) or hasattr(method, "forward")
    forward = getattr(method, "forward", problem.forward)
    if isinstance(method, Method):
        require.shape((problem.D,), **{"method.prior_mean": method.prior_mean})
        if not isinstance(method, Cyclable):
            method = CycledMean(method, forward)
    elif not isinstance(method, Cyclable):
        raise TypeError(
            f"method is {type(method).__name__}: pass a method with a background, such as "
            "ThreeDVar.of(problem), or one with initialise, analyse and predict."
        )
    seen = problem.observations
    if n_steps is None:
        times, windows = (0,), _one_for_each_time(seen)
        length = set(windows.lengths.tolist())
        T_assim = 0
    else:
        require.count(n_steps=n_steps)
        times, windows = _of_length(seen, n_steps)
        length, T_assim = {n_steps}, n_steps - 1
        if not has_model and times != (0,):
            raise ValueError(
                f"n_steps={n_steps} gives windows with observations after their first time, "
                "which a method without a model would not see: pass n_steps=None."
            )
        if not has_model:
            T_assim = 0
    key = jax.random.key(0) if key is None else key
    require.key(key=key)
    # Windows of one length share it as a constant.
    length = length.pop() if len(length) == 1 else None
    return _cycle(method, seen.operator, windows, key, times, T_assim, length)


@eqx.filter_jit
def _cycle(method, operator, windows, key, times, T_assim, length) -> Cycle:
    def next_window(prior, window):
        window, (k_analysis, k_forecast) = window[0], jax.random.split(window[1])
        observations = Observations(
            times, window.values, operator, window.error, window.mask, T_assim, window.starts
        )
        analysis = method.analyse(prior, observations, k_analysis)
        forecast = method.predict(
            analysis, window.lengths if length is None else length, k_forecast
        )
        return forecast, (prior, analysis, forecast)

    k_first, key = jax.random.split(key)
    keys = jax.random.split(key, len(windows.starts))
    _, found = jax.lax.scan(next_window, method.initialise(k_first), (windows, keys))
    return Cycle(windows.starts + 0, *found)


def _one_for_each_time(seen: Observations) -> _Windows:
    times = np.array(seen.times)
    lengths = np.diff(times, append=seen.T_assim + 1)
    rows = (seen.values[:, None], seen.mask[:, None], seen.error[:, None])
    return _Windows(*rows, seen.start + times, lengths)


def _of_length(seen: Observations, n_steps: int) -> tuple[tuple[int, ...], _Windows]:
    """The observed times within a window, and the windows, with gaps masked out."""
    if (seen.T_assim + 1) % n_steps:
        raise ValueError(
            f"n_steps={n_steps} does not divide the {seen.T_assim + 1} times of the problem: "
            "pass a divisor, or make the problem with T_assim = n_windows * n_steps - 1."
        )
    n_windows = (seen.T_assim + 1) // n_steps
    window, within = np.divmod(np.array(seen.times), n_steps)
    times = tuple(sorted(set(within.tolist())))
    at = (window, np.searchsorted(times, within))

    def cut(rows, empty):
        shape = (n_windows, len(times), *rows.shape[1:])
        return jnp.broadcast_to(empty, shape).astype(rows.dtype).at[at].set(rows)

    size = seen.values.shape[1]
    no_error = 1.0 if seen.error.ndim == 2 else jnp.eye(size)
    rows = (cut(seen.values, 0.0), cut(seen.mask, 0.0), cut(seen.error, no_error))
    starts = seen.start + np.arange(n_windows) * n_steps
    return times, _Windows(*rows, starts, np.full(n_windows, n_steps))
