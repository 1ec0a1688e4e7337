"""Run a method on one problem, with a clock, or on many at once."""

import statistics
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.experiments.devices import on_all_devices
from assimilation.experiments.results import MethodResult, SweepResult
from assimilation.experiments.scores import rmse, valid_time
from assimilation.experiments.twins import Twin
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import each
from assimilation.models.integrate import ForwardModel

VALID_FRACTION = 0.4


def scores_of(trajectory: Float[Array, "T D"], twin: Twin) -> dict[str, Array]:
    """RMSEs, RMSE(t) and valid time of one trajectory, as JAX values."""
    require.shape(twin.truth.shape, trajectory=trajectory)
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
    require.is_a(Analysis, advice, **{"what fn returned": answer})
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
    require.forward_model(forward)
    _check_twin(problem)
    if isinstance(analysis, Analysis):
        raise TypeError("analysis is an Analysis: use analysis.trajectory(forward, n_steps).")
    analysis = require.array("analysis", analysis)
    if analysis.ndim == 1:
        require.shape((problem.D,), analysis=analysis)
        if etas is not None:
            require.shape((problem.T_assim, problem.D), etas=etas)
        record = Analysis(analysis, etas=etas)
    elif etas is not None:
        raise ValueError(
            "etas come with an initial state: pass analysis of shape (D,), or no etas."
        )
    else:
        require.shape((problem.T_assim_plus_1, problem.D), analysis=analysis)
        record = Analysis.of(analysis)
    return Analysis.of(record.trajectory(forward, problem.T_total))


def _check_twin(problem: Twin) -> None:
    """Raise TypeError unless `problem` is one twin: scores need its truth."""
    require.is_a(Twin, "a Twin, as generators and twin(...) return", problem=problem)
    require.shape(("T", "D"), **{"problem.truth": problem.truth})


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
    require.count(repeats=repeats)
    advice = "a function without arguments that returns an Analysis"
    require.is_a(Callable, f"{advice}, such as lambda: method.solve(problem.observations)", fn=fn)
    _check_twin(problem)
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
    advice = "a function of a problem, such as lambda p: method.solve(p.observations)"
    require.is_a(Callable, advice, fn=fn)
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
