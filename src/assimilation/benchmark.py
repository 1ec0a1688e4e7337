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
from assimilation.devices import on_all_devices
from assimilation.metrics import rmse, valid_time
from assimilation.problems import Problem
from assimilation.solvers import each

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
    infinity, and so does any mean that it enters. `seconds_per_problem` is the warm
    wall time of the whole sweep, divided by the number of problems.
    """

    name: str
    scores: dict[str, np.ndarray]
    rmse_trace: np.ndarray
    trajectories: Float[Array, "n_seeds T D"]
    extra: Any
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


def scores_of(trajectory: Float[Array, "T D"], problem: Problem) -> dict[str, Array]:
    """RMSEs, RMSE(t) and valid time of one trajectory, as JAX values."""
    checks.shape(problem.truth.shape, trajectory=trajectory)
    split = problem.T_assim_plus_1
    trace = rmse(trajectory, problem.truth, axis=-1)
    return {
        "rmse_assim": rmse(trajectory[:split], problem.truth[:split]),
        "rmse_forecast": jnp.sqrt(jnp.mean(trace[split:] ** 2)),
        "rmse_total": rmse(trajectory, problem.truth),
        "valid_time": valid_time(
            trace,
            problem.T_assim,
            problem.dt,
            VALID_FRACTION * problem.climatology_std,
        ),
        "rmse_trace": trace,
    }


def run_method(
    name: str,
    fn: Callable[[], Float[Array, "T D"]],
    problem: Problem,
    train_time_s: float | None = None,
    repeats: int = 5,
) -> MethodResult:
    """Compile `fn`, run it, time it, and score the trajectory that it returns.

    `fn` takes nothing and returns (T_total + 1, D). Arrays that it closes over become
    arguments of the compiled function, so that nothing is computed ahead of the clock.
    """
    checks.count(repeats=repeats)
    if not callable(fn):
        raise TypeError(
            f"fn is {type(fn).__name__}: pass a function without arguments that returns "
            "the trajectory, such as lambda: assemble_full_trajectory(...)."
        )
    started = time.perf_counter()
    closed = eqx.filter_closure_convert(fn)
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
    fn: Callable[[Problem], Any],
    problems: Problem,
    train_time_s: float | None = None,
) -> SweepResult:
    """Run one method on many problems in one compiled call.

    `problems` is a problem whose arrays have a leading axis, as `jax.vmap` over the
    keys of a generator gives. `fn` takes one problem and returns its trajectory
    (T_total + 1, D), or a pair of the trajectory and anything else worth keeping for
    each seed (diagnostics, say), which comes back stacked as `extra`.

    The problems are dealt out to all devices, any number of either; see `on_all_devices`.
    """
    if not isinstance(problems, Problem) or jnp.ndim(problems.truth) != 3:
        raise TypeError(
            "problems is not a batch of problems: pass "
            "jax.vmap(lambda key: generate_problem(key=key))(keys)."
        )

    def one(problem):
        answer = fn(problem)
        trajectory, extra = answer if isinstance(answer, tuple) else (answer, None)
        return trajectory, extra, scores_of(trajectory, problem)

    arrays, static = eqx.partition(problems, eqx.is_array)
    (trajectories, extra, scores), seconds = on_all_devices(
        lambda arrays: each(lambda a: one(eqx.combine(a, static)), arrays), arrays
    )
    scores = {key: np.asarray(value, dtype=float) for key, value in scores.items()}
    trace = scores.pop("rmse_trace")
    return SweepResult(
        name=name,
        scores=scores,
        rmse_trace=trace,
        trajectories=trajectories,
        extra=extra,
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
