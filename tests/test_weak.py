"""Weak 4DVar: the full Kalman smoother where the model is linear, strong as Q goes to 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

from assimilation import (
    EachTime,
    IncrementalFourDVar,
    LowRank,
    StrongFourDVar,
    WeakFourDVar,
    dense,
    forced_trajectory,
    generate_problem,
    scaled_identity,
)

TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-13, "n_inner": 300}

pytestmark = pytest.mark.usefixtures("float64")


def test_one_Q_for_all_steps_is_that_Q_at_each_step():
    linear = LinearProblem(0, error_scale=0.3)
    Q = dense(linear.Q[0])
    found = [
        WeakFourDVar.of(linear.problem, model_err_cov_op=op, **TIGHT).solve(linear.observations)
        for op in (Q, EachTime(Q, len(linear.Q)))
    ]
    np.testing.assert_allclose(found[0].x0, found[1].x0, atol=1e-8)
    np.testing.assert_allclose(found[0].etas, found[1].etas, atol=1e-8)


def test_a_schedule_of_Q_over_the_window_gives_that_smoother():
    linear = LinearProblem(1, error_scale=0.3)
    n_steps, size, _ = linear.Q.shape
    # Q^{1/2} of the whole window: block t of the samples moves the error of step t only.
    factor = np.zeros((n_steps * size, n_steps, size))
    for t in range(n_steps):
        factor[t * size : (t + 1) * size, t] = np.linalg.cholesky(linear.Q[t]).T
    schedule = LowRank(jnp.asarray(factor))
    weak = WeakFourDVar.of(linear.problem, model_err_cov_op=schedule, **TIGHT)
    states = weak.solve(linear.observations).trajectory(weak.forward, n_steps)
    np.testing.assert_allclose(states, linear.smoother()[0], atol=1e-8)


def test_weak_goes_to_strong_in_proportion_to_Q():
    linear = LinearProblem(1, error_scale=0.3)
    strong = StrongFourDVar.of(linear.problem, rtol=1e-14).solve(linear.observations)
    gaps = []
    for scale in (1e-3, 1e-4, 1e-5):
        Q = scaled_identity(scale, 5)
        weak = WeakFourDVar.of(linear.problem, model_err_cov_op=Q, **TIGHT)
        gaps.append(float(jnp.linalg.norm(weak.solve(linear.observations).x0 - strong.x0)))
    np.testing.assert_allclose(np.diff(np.log10(gaps)), -1, atol=0.05)


def test_the_cost_of_the_smoother_is_that_of_all_departures_at_once():
    """2 J at the minimum is d^T S^{-1} d, with S the covariance of all departures d."""
    linear = LinearProblem(2, error_scale=0.3)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    predicted, _ = linear.filter()
    # The departures from the filter's predictions are independent of each other.
    twice = 0.0
    for (mean, cov), obs, mask in zip(predicted, linear.obs, linear.mask, strict=True):
        H, seen = linear.H[mask > 0], mask > 0
        departure = obs[seen] - H @ mean
        S = H @ cov @ H.T + linear.R[np.ix_(seen, seen)]
        twice += departure @ np.linalg.inv(S) @ departure
    Q = dense(linear.Q[0])
    weak = WeakFourDVar.of(linear.problem, model_err_cov_op=Q, **TIGHT)
    found = weak.solve(linear.observations).diagnostics
    np.testing.assert_allclose(found.cost, twice / 2, rtol=1e-8)
    np.testing.assert_allclose(found.normalised_cost, twice / linear.mask.sum(), rtol=1e-8)


def test_on_a_chaotic_model_weak_costs_less_than_strong_and_goes_to_it_with_Q():
    problem = generate_problem(key=jax.random.key(0), T_total=50)
    strong = StrongFourDVar.of(problem, rtol=1e-13).solve(problem.observations)
    tiny, plain = (
        WeakFourDVar.of(problem, model_err_cov_op=scaled_identity(q, 3), **TIGHT).solve(
            problem.observations
        )
        for q in (1e-10, 1e-2)
    )
    np.testing.assert_allclose(tiny.x0, strong.x0, atol=1e-4)
    assert tiny.etas.shape == (problem.T_assim, 3)
    assert float(jnp.abs(tiny.etas).max()) < 1e-6
    assert plain.diagnostics.cost < strong.diagnostics.cost
    x0, etas = WeakFourDVar.of(problem, model_err_cov_op=scaled_identity(1e-2, 3), **TIGHT)(
        problem.observations.batch()
    )
    np.testing.assert_allclose(x0[0], plain.x0, atol=1e-6)
    states = forced_trajectory(problem.forward, x0[0], etas[0])
    np.testing.assert_allclose(plain.trajectory(problem.forward, 50), states, atol=1e-5)


def test_the_work_of_the_strong_minimisation_before_it_is_counted():
    """With next to no model error, nearly all the work lies there."""
    linear = LinearProblem(0)
    strong = IncrementalFourDVar.of(linear.problem, **TIGHT).solve(linear.observations)
    Q = scaled_identity(1e-12, 5)
    weak = WeakFourDVar.of(linear.problem, model_err_cov_op=Q, **TIGHT).solve(linear.observations)
    for found in ("model_runs", "iterations"):
        first, both = (float(getattr(x.diagnostics, found)) for x in (strong, weak))
        assert first < both < 2 * first


def test_a_Q_that_does_not_fit_is_refused_by_name():
    linear = LinearProblem(0)
    for wrong, error in ((scaled_identity(0.1, 4), ValueError), (0.1, TypeError)):
        with pytest.raises(error, match="model_err_cov_op"):
            WeakFourDVar.of(linear.problem, model_err_cov_op=wrong)
    too_short = EachTime(scaled_identity(0.1, 5), 3)
    weak = WeakFourDVar.of(linear.problem, model_err_cov_op=too_short)
    with pytest.raises(ValueError, match="model_err_cov_op"):
        weak.solve(linear.observations)
