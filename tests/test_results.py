"""Trajectories, scores, timing, sweeps and tables."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from assimilation import (
    Analysis,
    Lorenz63Forward,
    OptimalInterpolation,
    StrongFourDVar,
    assemble_full_trajectory,
    compare,
    forced_trajectory,
    free_forecast,
    generate_l96_2l_problem,
    generate_problem,
    mean_interval,
    run_method,
    sweep,
)
from assimilation.methods.method import each

SMALL = {"T_assim": 10, "T_total": 30}


@pytest.fixture(scope="module")
def problem():
    return generate_problem(key=jax.random.key(3), **SMALL)


@pytest.fixture(scope="module")
def problems():
    keys = jax.random.split(jax.random.key(4), 6)
    return jax.jit(jax.vmap(lambda key: generate_problem(key=key, **SMALL)))(keys)


def oi(problem):
    return OptimalInterpolation.of(problem).solve(problem.observations)


def test_an_exact_analysis_scores_nothing(problem):
    truth = problem.truth
    from_start = Analysis(truth[0]).trajectory(problem.forward, 30)
    np.testing.assert_allclose(from_start, truth, rtol=1e-4, atol=1e-3)
    kept = Analysis.of(truth[:11]).trajectory(problem.forward, 30)
    np.testing.assert_array_equal(kept[:11], truth[:11])
    np.testing.assert_allclose(kept[11:], truth[11:], rtol=1e-4, atol=1e-3)
    # What a method says of the window stands as it is, up to its last state.
    still = jnp.ones((6, 3))
    for n_steps in (3, 5):
        found = Analysis.of(still).trajectory(problem.forward, n_steps)
        np.testing.assert_array_equal(found, still[: n_steps + 1])


def test_model_errors_push_the_trajectory_at_their_own_step(problem):
    x0, none = problem.truth[0], jnp.zeros((10, 3))
    plain = free_forecast(problem.forward, x0, 30)
    np.testing.assert_allclose(forced_trajectory(problem.forward, x0, none), plain[:11])
    push = none.at[4].set(1.0)
    pushed = Analysis(x0, etas=push).trajectory(problem.forward, 30)
    np.testing.assert_allclose(pushed[:5], plain[:5])
    np.testing.assert_allclose(pushed[5] - plain[5], 1.0, rtol=1e-5)
    assert pushed.shape == plain.shape
    # After the window the model runs on from the pushed state, without errors.
    after = free_forecast(problem.forward, pushed[10], 20)
    np.testing.assert_allclose(pushed[10:], after, rtol=1e-5)
    same = assemble_full_trajectory(x0, problem, problem.forward, etas=push)
    np.testing.assert_allclose(same.states, pushed, rtol=1e-5)


def test_answers_to_a_batch_become_whole_trajectories(problem):
    window, x0 = problem.truth[:11], problem.truth[0]
    for answer in (window, x0):
        found = assemble_full_trajectory(answer, problem, problem.forward)
        assert isinstance(found, Analysis)
        np.testing.assert_allclose(found.states, problem.truth, rtol=1e-4, atol=1e-3)
    for wrong in (window[:5], problem.truth[:, :2], jnp.zeros(4)):
        with pytest.raises(ValueError, match="analysis"):
            assemble_full_trajectory(wrong, problem, problem.forward)
    for answer, etas in ((window, jnp.zeros((10, 3))), (x0, jnp.zeros((9, 3)))):
        with pytest.raises(ValueError, match="etas"):
            assemble_full_trajectory(answer, problem, problem.forward, etas=etas)


def test_run_method_scores_what_it_ran(problem):
    result = run_method("oi", lambda: oi(problem), problem, train_time_s=2.0)
    error = np.asarray(result.mean - problem.truth)
    assert result.rmse_assim == pytest.approx(np.sqrt(np.mean(error[:11] ** 2)), rel=1e-5)
    assert result.rmse_forecast == pytest.approx(np.sqrt(np.mean(error[11:] ** 2)), rel=1e-5)
    assert result.rmse_total == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    np.testing.assert_allclose(result.rmse_trace, np.sqrt(np.mean(error**2, axis=1)), rtol=1e-5)
    assert 0 < result.compile_fraction < 1
    assert result.runtime_ms > 0
    assert not result.diverged
    assert result.row()["train_time_s"] == 2.0


def test_a_forecast_is_valid_up_to_0_4_of_the_climatological_spread(problem):
    """An error that grows by 0.1 standard deviations a step from the end of the window on."""
    steps = jnp.maximum(jnp.arange(31) - 10, 0)
    for first, want in ((0.0, 5), (0.15, 3)):
        size = problem.climatology_std * (first + 0.0999 * steps)
        states = problem.truth + size[:, None]
        found = run_method("late", lambda s=states: Analysis.of(s), problem, repeats=1)
        assert found.valid_time == pytest.approx(want * problem.dt, rel=1e-4)
    found = run_method("exact", lambda: Analysis.of(problem.truth), problem, repeats=1)
    assert found.valid_time == pytest.approx(20 * problem.dt, rel=1e-4)


def test_run_method_computes_nothing_ahead_of_the_clock(problem):
    """It is traced once, and what it closes over is an argument of the program."""
    seen = []

    def fn():
        seen.append(isinstance(problem.truth * 1.0, jax.core.Tracer))
        return Analysis.of(problem.truth * 1.0)

    run_method("truth", fn, problem)
    assert len(seen) == 1


def test_a_diverged_run_is_reported(problem):
    result = run_method("broken", lambda: Analysis.of(problem.truth * jnp.nan), problem)
    assert result.diverged
    assert np.isnan(result.rmse_total)
    assert result.valid_time == 0.0


def test_a_model_that_overflows_after_the_window_has_diverged(problem):
    far = lambda: Analysis(problem.truth[0] + 1e5)  # noqa: E731
    assert run_method("far", far, problem, repeats=1).diverged


@pytest.mark.parametrize("wrong", ["states", "x0", "tuple", "text"])
def test_what_is_not_an_analysis_is_refused(problem, problems, wrong):
    def answer(problem):
        return {
            "states": problem.truth,
            "x0": problem.truth[0],
            "tuple": (problem.truth[0], None),
            "text": "oi",
        }[wrong]

    with pytest.raises(TypeError, match="Analysis"):
        run_method("wrong", lambda: answer(problem), problem)
    with pytest.raises(TypeError, match="Analysis"):
        sweep("wrong", answer, problems)
    with pytest.raises(TypeError, match="twins"):
        sweep("one", oi, problem)


def test_a_sweep_is_the_same_as_one_problem_at_a_time(problems):
    swept = sweep("oi", oi, problems)
    for seed in (0, 5):
        one = jax.tree.map(lambda leaf, seed=seed: leaf[seed], problems)
        single = run_method("oi", lambda one=one: oi(one), one, repeats=1)
        for score in ("rmse_assim", "rmse_forecast", "rmse_total", "valid_time"):
            assert swept.scores[score][seed] == pytest.approx(getattr(single, score), rel=1e-3)
        np.testing.assert_allclose(swept.trajectories[seed], single.mean, rtol=1e-3, atol=1e-3)
    assert swept.rmse_trace.shape == (6, 31)
    assert swept.n_diverged == 0
    low, high = swept.interval()
    assert low <= swept.mean() <= high
    # What the method says of itself is kept, one entry a problem.
    np.testing.assert_array_equal(swept.analysis.states, swept.trajectories[:, :11])
    assert swept.analysis.diagnostics.normalised_cost.shape == (6,)


def test_seconds_per_problem_add_up_to_those_of_the_sweep(problems):
    """A method that takes a tenth of a second for each of six problems."""

    def wait(value):
        time.sleep(0.1)
        return value

    def slow(problem):
        shape = jax.ShapeDtypeStruct(problem.truth.shape, problem.truth.dtype)
        return Analysis.of(jax.pure_callback(wait, shape, problem.truth))

    found = sweep("slow", slow, problems).seconds_per_problem
    assert 0.1 < found < 0.3


def test_each_goes_over_the_first_axis_on_any_device(monkeypatch):
    """One slice after another on a CPU, side by side on an accelerator: the same answers."""
    first, second = jnp.arange(6.0).reshape(3, 2), jnp.array([10.0, 20.0, 30.0])

    def both(row, number):
        return {"sum": row.sum() + number, "row": row * number}

    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        found = each(both, first, second)
        np.testing.assert_array_equal(found["sum"], [11.0, 25.0, 39.0])
        np.testing.assert_array_equal(found["row"], first * second[:, None])


def test_a_sweep_never_averages_divergence_away(problems):
    broken = lambda p: Analysis.of(  # noqa: E731
        jnp.where(p.truth[0, 0] > 0, jnp.nan, 1.0) * p.truth
    )
    swept = sweep("broken", broken, problems)
    n_broken = int((problems.truth[:, 0, 0] > 0).sum())
    assert 0 < n_broken < 6
    assert swept.n_diverged == n_broken
    assert np.isnan(swept.mean())
    assert np.isnan(swept.interval()).all()
    assert swept.row()["diverged"] == n_broken


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Of 200 intervals of 64 normal draws, about 190 cover; 175 allows for chance."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(200, 64))
    covered = sum(low < 0 < high for low, high in map(mean_interval, draws))
    assert 175 <= covered <= 199


def test_compare_makes_one_table(problem, problems):
    single = run_method("oi", lambda: oi(problem), problem, repeats=1)
    table = compare(single, single)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == ["oi", "oi"]
    assert {"rmse_assim", "rmse_forecast", "rmse_total", "runtime_ms"} <= set(table.columns)
    swept = compare(sweep("oi", oi, problems))
    assert {"total_low", "total_high", "diverged"} <= set(swept.columns)


def test_parameters_of_a_model_may_differ_between_the_problems_of_a_sweep(problems):
    rho = jnp.linspace(20.0, 30.0, 6)
    changed = eqx.tree_at(lambda p: p.forward.rho, problems, rho)
    swept = sweep("free", lambda p: Analysis(p.truth[0]), changed)
    for seed in (0, 5):
        alone = free_forecast(Lorenz63Forward(rho=rho[seed]), problems.truth[seed, 0], 30)
        np.testing.assert_allclose(swept.trajectories[seed], alone, rtol=1e-3, atol=1e-3)


def test_strong_4dvar_finds_the_right_minimum_of_the_two_level_problem():
    """Four seeds; the chapters do sixty-four."""
    keys = jax.random.split(jax.random.key(7), 4)
    problems = jax.vmap(lambda key: generate_l96_2l_problem(key=key, T_total=120))(keys)
    swept = sweep("strong", lambda p: StrongFourDVar.of(p).solve(p.observations), problems)
    assert swept.n_diverged == 0
    assert (np.asarray(swept.analysis.diagnostics.normalised_cost) < 2).all()
    assert np.median(swept.scores["rmse_total"]) < 0.5 * problems.climatology_std


def test_nothing_returns_nan_with_the_isotropic_background():
    keys = jax.random.split(jax.random.key(8), 2)
    problems = jax.vmap(
        lambda key: generate_l96_2l_problem(key=key, background="isotropic", T_total=120)
    )(keys)
    strong = lambda p: StrongFourDVar.of(p, n_starts=2).solve(p.observations)  # noqa: E731
    assert sweep("strong", strong, problems).n_diverged == 0
    assert sweep("oi", oi, problems).n_diverged == 0
