"""Run methods on problems, time them, and set them side by side."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.experiments.devices import on_all_devices
from assimilation.experiments.scores import rmse, valid_time
from assimilation.experiments.twins import Twin
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import each
from assimilation.models.integrate import ForwardModel

VALID_FRACTION = 0.4


@dataclass(frozen=True)
class MethodResult:
    """One method on one problem.

    `mean` is the trajectory (T_total + 1, D); the RMSEs are over the window, the
    forecast after it, and both; `rmse_trace` is RMSE(t), shape (T_total + 1,).
    `valid_time` is the time after the window, in model time units, at which RMSE(t)
    first exceeds 0.4 climatological standard deviations. `runtime_ms` is the median of
    warm runs; `compile_fraction` the share of the first call that was compilation.
    """

    name: str
    mean: Float[Array, "T D"]
    rmse_assim: float
    rmse_forecast: float
    rmse_total: float
    rmse_trace: Float[Array, " T"]
    valid_time: float
    diverged: bool
    runtime_ms: float
    compile_fraction: float
    train_time_s: float | None = None

    def row(self) -> dict[str, Any]:
        """The result as a row of a table."""
        return {
            "method": self.name,
            "rmse_assim": self.rmse_assim,
            "rmse_forecast": self.rmse_forecast,
            "rmse_total": self.rmse_total,
            "valid_time": self.valid_time,
            "diverged": self.diverged,
            "runtime_ms": self.runtime_ms,
            "train_time_s": math.nan if self.train_time_s is None else self.train_time_s,
        }


@dataclass(frozen=True)
class SweepResult:
    """One method on many problems: a score per seed, and their means.

    `scores` maps rmse_assim, rmse_forecast, rmse_total and valid_time to arrays
    (n_seeds,); `rmse_trace` is (n_seeds, T_total + 1). A diverged run keeps its NaN or
    infinity, and so does any mean that it enters. `trajectories` (n_seeds, T_total + 1, D)
    and `analysis`, the method's records stacked, are what was scored.
    `seconds_per_problem` is the warm wall time of the whole sweep, divided by the number
    of problems.
    """

    name: str
    scores: dict[str, np.ndarray]
    rmse_trace: np.ndarray
    trajectories: Float[Array, "n_seeds T D"]
    analysis: Analysis
    n_diverged: int
    seconds_per_problem: float
    train_time_s: float | None = None

    def mean(self, score: str = "rmse_total") -> float:
        """Mean of a score over the seeds."""
        return float(np.mean(self.scores[score]))

    def interval(self, score: str = "rmse_total") -> tuple[float, float]:
        """95 % bootstrap interval of the mean of a score."""
        return mean_interval(self.scores[score])

    def row(self) -> dict[str, Any]:
        """The result as a row of a table: means, and the interval of the total."""
        low, high = self.interval()
        return {
            "method": self.name,
            **{score: self.mean(score) for score in self.scores},
            "total_low": low,
            "total_high": high,
            "diverged": self.n_diverged,
            "seconds_per_problem": self.seconds_per_problem,
            "train_time_s": math.nan if self.train_time_s is None else self.train_time_s,
        }


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron & Tibshirani 1993).

    Two NaNs if a value is not finite. Raises ValueError for fewer than two values.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"values has shape {values.shape}: pass two or more numbers.")
    if not np.all(np.isfinite(values)):
        return math.nan, math.nan
    # Half of the time that importing this package would take, so only where it is needed.
    from scipy.stats import bootstrap

    found = bootstrap((values,), np.mean, method="percentile", n_resamples=4000, random_state=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def scores_of(trajectory: Float[Array, "T D"], twin: Twin) -> dict[str, Array]:
    """RMSEs, RMSE(t) and valid time of one trajectory, as JAX values."""
    checks.shape(twin.truth.shape, trajectory=trajectory)
    split = twin.T_assim_plus_1
    trace = rmse(trajectory, twin.truth, axis=-1)
    return {
        "rmse_assim": rmse(trajectory[:split], twin.truth[:split]),
        "rmse_forecast": jnp.sqrt(jnp.mean(trace[split:] ** 2)),
        "rmse_total": rmse(trajectory, twin.truth),
        "valid_time": valid_time(
            trace, twin.T_assim, twin.dt, VALID_FRACTION * twin.climatology_std
        ),
        "rmse_trace": trace,
    }


def trajectory_of(answer: Analysis, twin: Twin) -> Float[Array, "T D"]:
    """The trajectory (T_total + 1, D) of an analysis; raises TypeError for anything else."""
    advice = (
        "back an Analysis, such as method.solve(problem.observations), or "
        "Analysis.of(states) for a trajectory (T_total + 1, D)"
    )
    checks.is_a(Analysis, advice, **{"what fn returned": answer})
    return answer.trajectory(twin.forward, twin.T_total)


def assemble_full_trajectory(
    analysis: Float[Array, " D"] | Float[Array, "T_assim_plus_1 D"],
    problem: Twin,
    forward: ForwardModel,
    etas: Float[Array, "T_assim D"] | None = None,
) -> Analysis:
    """The record of the trajectory (T_total + 1, D) that an answer to a batch stands for.

    An initial state (D,) is run through the window, with `etas` (T_assim, D) added if
    given; a trajectory (T_assim + 1, D) is kept. Either way the last state of the window
    starts a free forecast to T_total. Raises ValueError for any other shape.
    """
    checks.forward_model(forward)
    if jnp.ndim(analysis) == 1:
        checks.shape((problem.D,), analysis=analysis)
        if etas is not None:
            checks.shape((problem.T_assim, problem.D), etas=etas)
        record = Analysis(analysis, etas=etas)
    elif etas is not None:
        raise ValueError(
            "etas come with an initial state: pass analysis of shape (D,), or no etas."
        )
    else:
        checks.shape((problem.T_assim_plus_1, problem.D), analysis=analysis)
        record = Analysis.of(analysis)
    return Analysis.of(record.trajectory(forward, problem.T_total))


def run_method(
    name: str,
    fn: Callable[[], Analysis],
    problem: Twin,
    train_time_s: float | None = None,
    repeats: int = 5,
) -> MethodResult:
    """Compile `fn`, run it with the forecast, time it, and score the trajectory.

    `fn` takes nothing and returns an Analysis. Arrays that it closes over become
    arguments of the compiled function, so that nothing is computed ahead of the clock.
    """
    checks.count(repeats=repeats)
    if not callable(fn):
        raise TypeError(
            f"fn is {type(fn).__name__}: pass a function without arguments that returns "
            "an Analysis, such as lambda: method.solve(problem.observations)."
        )
    started = time.perf_counter()
    closed = eqx.filter_closure_convert(lambda: trajectory_of(fn(), problem))
    dynamic, static = eqx.partition(closed, eqx.is_array)
    compiled = jax.jit(lambda arrays: eqx.combine(arrays, static)()).lower(dynamic).compile()
    compile_s = time.perf_counter() - started
    runs = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        trajectory = jax.block_until_ready(compiled(dynamic))
        runs.append(time.perf_counter() - started)
    scores = scores_of(trajectory, problem)
    trace = scores.pop("rmse_trace")
    return MethodResult(
        name=name,
        mean=trajectory,
        rmse_trace=trace,
        diverged=not bool(jnp.all(jnp.isfinite(trajectory))),
        # The first run also pays for warming up caches.
        runtime_ms=1e3 * statistics.median(runs[1:]),
        compile_fraction=compile_s / (compile_s + runs[0]),
        train_time_s=train_time_s,
        **{score: float(value) for score, value in scores.items()},
    )


def sweep(
    name: str,
    fn: Callable[[Twin], Analysis],
    twins: Twin,
    train_time_s: float | None = None,
) -> SweepResult:
    """Run one method on many problems in one compiled call.

    `twins` is a twin whose arrays have a leading axis, as `jax.vmap` over the keys of a
    generator gives. `fn` takes one of them and returns an Analysis, such as
    `method.solve(problem.observations)`.

    The problems are dealt out to all devices, any number of either; see `on_all_devices`.
    """
    if not isinstance(twins, Twin) or jnp.ndim(twins.truth) != 3:
        raise TypeError(
            "twins is not a batch of problems: pass "
            "jax.vmap(lambda key: generate_problem(key=key))(keys)."
        )

    def one(problem):
        answer = fn(problem)
        trajectory = trajectory_of(answer, problem)
        return trajectory, answer, scores_of(trajectory, problem)

    arrays, static = eqx.partition(twins, eqx.is_array)
    (trajectories, analysis, scores), seconds = on_all_devices(
        lambda arrays: each(lambda a: one(eqx.combine(a, static)), arrays), arrays
    )
    scores = {key: np.asarray(value, dtype=float) for key, value in scores.items()}
    trace = scores.pop("rmse_trace")
    return SweepResult(
        name=name,
        scores=scores,
        rmse_trace=trace,
        trajectories=trajectories,
        analysis=analysis,
        n_diverged=int(np.sum(~np.all(np.isfinite(trace), axis=1))),
        seconds_per_problem=seconds / len(trace),
        train_time_s=train_time_s,
    )


def compare(*results: MethodResult | SweepResult) -> pd.DataFrame:
    """The results as a table, one row each, in the order given."""
    if not results:
        raise ValueError("results is empty: pass at least one result.")
    for result in results:
        if not isinstance(result, MethodResult | SweepResult):
            raise TypeError(
                f"results holds a {type(result).__name__}: pass what run_method or "
                "sweep returned, as compare(a, b) or compare(*list)."
            )
    return pd.DataFrame([result.row() for result in results]).set_index("method")
