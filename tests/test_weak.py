"""Weak 4DVar: the full Kalman smoother where the model is linear, strong as Q goes to 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem, tagged

from assimilation import (
    EachTime,
    LowRank,
    StrongFourDVar,
    WeakFourDVar,
    assim_batch,
    forced_trajectory,
    generate_problem,
    scaled_identity,
)

TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-13, "n_inner": 300}

pytestmark = pytest.mark.usefixtures("float64")


def trajectory(problem, Q):
    method = WeakFourDVar(**problem.ingredients, model_err_cov_op=Q, **TIGHT)
    x0, etas = method(problem.batch)
    return forced_trajectory(method.forward, x0[0], etas[0])


@pytest.mark.parametrize("seed", range(4))
def test_linear_model_gives_the_full_kalman_smoother(seed):
    problem = LinearProblem(seed, error_scale=0.3)
    problem.Q = np.broadcast_to(problem.Q[0], problem.Q.shape)
    expected = problem.smoother()[0]
    np.testing.assert_allclose(trajectory(problem, tagged(problem.Q[0])), expected, atol=1e-8)
    each_step = EachTime(tagged(problem.Q[0]), len(problem.Q))
    np.testing.assert_allclose(trajectory(problem, each_step), expected, atol=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_a_schedule_of_Q_over_the_window_gives_that_smoother(seed):
    problem = LinearProblem(seed, error_scale=0.3)
    n_steps, size, _ = problem.Q.shape
    # Q^{1/2} of the whole window: block t of the samples moves the error of step t only.
    factor = np.zeros((n_steps * size, n_steps, size))
    for t in range(n_steps):
        factor[t * size : (t + 1) * size, t] = np.linalg.cholesky(problem.Q[t]).T
    schedule = LowRank(jnp.asarray(factor))
    np.testing.assert_allclose(trajectory(problem, schedule), problem.smoother()[0], atol=1e-8)


def test_weak_goes_to_strong_in_proportion_to_Q():
    problem = LinearProblem(1, error_scale=0.3)
    strong = StrongFourDVar(**problem.ingredients, rtol=1e-14)(problem.batch)[0]
    gaps = []
    for scale in (1e-3, 1e-4, 1e-5):
        weak = trajectory(problem, scaled_identity(scale, 5))
        gaps.append(float(jnp.linalg.norm(weak[0] - strong)))
    np.testing.assert_allclose(np.diff(np.log10(gaps)), -1, atol=0.05)


def test_on_a_chaotic_model_a_tiny_Q_gives_the_strong_analysis():
    problem = generate_problem(key=jax.random.key(0))
    settings = {"forward": problem.forward, **problem.ingredients}
    strong = StrongFourDVar(**settings, rtol=1e-13)(assim_batch(problem))
    weak = WeakFourDVar(**settings, model_err_cov_op=scaled_identity(1e-10, 3), **TIGHT)
    x0, etas = weak(assim_batch(problem))
    np.testing.assert_allclose(x0, strong, atol=1e-4)
    assert etas.shape == (1, problem.T_assim, 3)
    assert float(jnp.abs(etas).max()) < 1e-6


def test_the_weak_cost_is_no_higher_than_the_strong_one():
    problem = generate_problem(key=jax.random.key(1))
    settings = {"forward": problem.forward, **problem.ingredients}
    strong = StrongFourDVar(**settings).solve(assim_batch(problem))[1]
    weak = WeakFourDVar(**settings, model_err_cov_op=scaled_identity(0.01, 3))
    assert weak.solve(assim_batch(problem))[1].cost[0] < strong.cost[0]


def test_a_Q_that_does_not_fit_is_refused_by_name():
    problem = LinearProblem(0, error_scale=0.3)
    with pytest.raises(ValueError, match="model_err_cov_op"):
        WeakFourDVar(**problem.ingredients, model_err_cov_op=scaled_identity(0.1, 4))
    with pytest.raises(TypeError, match="model_err_cov_op"):
        WeakFourDVar(**problem.ingredients, model_err_cov_op=0.1)
    too_short = EachTime(scaled_identity(0.1, 5), 3)
    with pytest.raises(ValueError, match="8 steps"):
        WeakFourDVar(**problem.ingredients, model_err_cov_op=too_short)(problem.batch)
