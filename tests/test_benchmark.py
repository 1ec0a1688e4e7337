"""Scores, timing, sweeps and tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from assimilation import (
    OptimalInterpolation,
    StrongFourDVar,
    assemble_full_trajectory,
    assim_batch,
    compare,
    forced_trajectory,
    free_forecast,
    generate_l96_2l_problem,
    generate_problem,
    mean_interval,
    rmse,
    run_method,
    sweep,
    valid_time,
)


@pytest.fixture(scope="module")
def problem():
    return generate_problem(key=jax.random.key(3), T_total=100)


@pytest.fixture(scope="module")
def problems():
    keys = jax.random.split(jax.random.key(4), 6)
    return jax.vmap(lambda key: generate_problem(key=key, T_total=100))(keys)


def oi_trajectory(problem):
    analysis = OptimalInterpolation(**problem.ingredients)(assim_batch(problem))[0]
    return assemble_full_trajectory(analysis, problem, problem.forward)


def test_rmse_by_hand():
    assert float(rmse(jnp.array([3.0, 4.0]), jnp.zeros(2))) == pytest.approx(np.sqrt(12.5))
    per_row = rmse(jnp.array([[1.0, 1.0], [2.0, 2.0]]), jnp.zeros((2, 2)), axis=1)
    np.testing.assert_allclose(per_row, [1, 2])


def test_valid_time_by_hand():
    trace = jnp.array([9.0, 9.0, 0.1, 0.2, 0.5, 0.3, 0.9])
    assert float(valid_time(trace, 2, 0.5, 0.4)) == pytest.approx(1.0)
    assert float(valid_time(trace, 2, 0.5, 2.0)) == pytest.approx(2.0)  # never: all of it
    assert float(valid_time(trace, 1, 0.5, 0.4)) == 0.0  # lost before it began
    assert float(valid_time(trace.at[3].set(jnp.nan), 2, 0.5, 0.4)) == pytest.approx(0.5)


def test_an_exact_analysis_scores_nothing(problem):
    truth = problem.truth
    from_start = assemble_full_trajectory(truth[0], problem, problem.forward)
    np.testing.assert_allclose(from_start[:20], truth[:20], rtol=1e-4, atol=1e-3)
    window = truth[: problem.T_assim_plus_1]
    kept = assemble_full_trajectory(window, problem, problem.forward)
    np.testing.assert_array_equal(kept[: problem.T_assim_plus_1], window)
    np.testing.assert_allclose(kept[51:60], truth[51:60], rtol=1e-3, atol=1e-2)


def test_etas_push_the_trajectory(problem):
    x0 = problem.truth[0]
    none = jnp.zeros((problem.T_assim, 3))
    np.testing.assert_allclose(
        forced_trajectory(problem.forward, x0, none),
        free_forecast(problem.forward, x0, problem.T_assim),
    )
    push = none.at[4].set(1.0)
    pushed = assemble_full_trajectory(x0, problem, problem.forward, etas=push)
    plain = assemble_full_trajectory(x0, problem, problem.forward)
    np.testing.assert_allclose(pushed[:5], plain[:5])
    np.testing.assert_allclose(pushed[5] - plain[5], 1.0, rtol=1e-5)


def test_run_method_scores_what_it_ran(problem):
    result = run_method("oi", lambda: oi_trajectory(problem), problem, train_time_s=2.0)
    error = np.asarray(result.mean - problem.truth)
    split = problem.T_assim_plus_1
    assert result.rmse_assim == pytest.approx(np.sqrt(np.mean(error[:split] ** 2)), rel=1e-5)
    assert result.rmse_forecast == pytest.approx(np.sqrt(np.mean(error[split:] ** 2)), rel=1e-5)
    assert result.rmse_total == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert result.rmse_trace.shape == (problem.T_total_plus_1,)
    assert 0 < result.compile_fraction < 1
    assert result.runtime_ms > 0
    assert not result.diverged
    assert result.row()["train_time_s"] == 2.0


def test_run_method_computes_nothing_ahead_of_the_clock(problem):
    """Closed-over arrays are arguments: a new value needs no new compilation."""
    seen = []

    def fn():
        seen.append(1)
        return problem.truth * 1.0

    run_method("truth", fn, problem)
    assert len(seen) == 1


def test_a_diverged_run_is_reported(problem):
    result = run_method("broken", lambda: problem.truth * jnp.nan, problem)
    assert result.diverged
    assert np.isnan(result.rmse_total)
    assert result.valid_time == 0.0


def test_a_sweep_is_the_same_as_one_problem_at_a_time(problems):
    swept = sweep("oi", oi_trajectory, problems)
    for seed in range(2):
        one = jax.tree.map(lambda leaf, seed=seed: leaf[seed], problems)
        single = run_method("oi", lambda one=one: oi_trajectory(one), one, repeats=1)
        got = swept.scores["rmse_assim"][seed]
        assert got == pytest.approx(single.rmse_assim, rel=1e-4)
    assert swept.rmse_trace.shape == (6, 101)
    assert swept.n_diverged == 0
    low, high = swept.interval()
    assert low <= swept.mean() <= high


def test_a_sweep_keeps_what_a_method_says_of_itself(problems):
    def strong(problem):
        method = StrongFourDVar(forward=problem.forward, **problem.ingredients)
        x0, info = method.solve(assim_batch(problem))
        return assemble_full_trajectory(x0[0], problem, problem.forward), info

    swept = sweep("strong_4dvar", strong, problems)
    assert swept.extra.misfit.shape == (6, 1)
    assert (np.asarray(swept.extra.misfit) < 2).all()


def test_a_sweep_never_averages_divergence_away(problems):
    swept = sweep(
        "broken", lambda p: jnp.where(p.truth[0, 0] > 0, jnp.nan, 1.0) * p.truth, problems
    )
    n_broken = int((problems.truth[:, 0, 0] > 0).sum())
    assert 0 < n_broken < 6
    assert swept.n_diverged == n_broken
    assert np.isnan(swept.mean())
    assert np.isnan(swept.interval()).all()


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Of 200 intervals of 64 normal draws, about 190 cover; 175 allows for chance."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(200, 64))
    covered = sum(low < 0 < high for low, high in map(mean_interval, draws))
    assert 175 <= covered <= 199


def test_compare_makes_one_table(problem, problems):
    single = run_method("oi", lambda: oi_trajectory(problem), problem, repeats=1)
    table = compare(single, single)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == ["oi", "oi"]
    assert {"rmse_assim", "rmse_forecast", "rmse_total", "runtime_ms"} <= set(table.columns)
    swept = compare(sweep("oi", oi_trajectory, problems))
    assert {"total_low", "total_high", "diverged"} <= set(swept.columns)


def test_strong_4dvar_finds_the_right_minimum_of_the_two_level_problem():
    """Eight seeds; the chapters do sixty-four."""
    keys = jax.random.split(jax.random.key(7), 8)
    problems = jax.vmap(lambda key: generate_l96_2l_problem(key=key))(keys)

    def strong(problem):
        method = StrongFourDVar(forward=problem.forward, **problem.ingredients)
        x0, info = method.solve(assim_batch(problem))
        return assemble_full_trajectory(x0[0], problem, problem.forward), info

    swept = sweep("strong_4dvar", strong, problems)
    assert swept.n_diverged == 0
    assert (np.asarray(swept.extra.misfit) < 2).sum() >= 7
    climate = problems.climatology_std
    assert np.median(swept.scores["rmse_total"]) < 0.5 * climate


def test_nothing_returns_nan_with_the_isotropic_background():
    keys = jax.random.split(jax.random.key(8), 4)
    make = jax.vmap(lambda key: generate_l96_2l_problem(key=key, background="isotropic"))
    problems = make(keys)

    def strong(problem):
        method = StrongFourDVar(forward=problem.forward, n_starts=2, **problem.ingredients)
        x0 = method(assim_batch(problem))[0]
        return assemble_full_trajectory(x0, problem, problem.forward)

    assert sweep("strong_4dvar", strong, problems).n_diverged == 0
    assert sweep("oi", oi_trajectory, problems).n_diverged == 0
