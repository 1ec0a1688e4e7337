"""The results of methods, on one problem or on many, and tables of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from assimilation.methods.analysis import Analysis


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
