"""Incremental 4DVar: the Kalman smoother where the model is linear, strong 4DVar elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

from assimilation import (
    IncrementalFourDVar,
    NonlinearObs,
    StrongFourDVar,
    assim_batch,
    generate_l96_problem,
    generate_problem,
)
from assimilation.solvers import conjugate_gradient_step, levenberg_marquardt

TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-13, "n_inner": 200}

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grow_window", [True, False])
def test_linear_model_gives_the_kalman_smoother(seed, grow_window):
    problem = LinearProblem(seed)
    method = IncrementalFourDVar(**problem.ingredients, **TIGHT, grow_window=grow_window)
    x0, diagnostics = method.solve(problem.batch)
    np.testing.assert_allclose(x0[0], problem.smoother()[0][0], atol=1e-8)
    assert bool(diagnostics.converged[0])


def test_a_linear_problem_takes_one_outer_step_and_no_more_inner_steps_than_observations():
    problem = LinearProblem(0, size=12, n_obs=2, n_steps=3)
    method = IncrementalFourDVar(**problem.ingredients, **TIGHT, n_outer=1, grow_window=False)
    x0, diagnostics = method.solve(problem.batch)
    np.testing.assert_allclose(x0[0], problem.smoother()[0][0], atol=1e-8)
    n_obs = problem.mask.sum()
    assert n_obs < 12
    # One cost, one linearisation with its adjoint (made again after the step) and two runs
    # for each inner step: I + A^T A has at most n_obs eigenvalues other than 1.
    assert diagnostics.model_runs[0] <= 1 + 2 * 2 + 2 * (n_obs + 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("generate", [generate_problem, generate_l96_problem])
def test_converged_incremental_is_strong(generate, seed):
    problem = generate(key=jax.random.key(seed))
    strong = StrongFourDVar(forward=problem.forward, **problem.ingredients, rtol=1e-13)
    incremental = IncrementalFourDVar(forward=problem.forward, **problem.ingredients, **TIGHT)
    x_strong, d_strong = strong.solve(assim_batch(problem))
    x_incremental, d_incremental = incremental.solve(assim_batch(problem))
    np.testing.assert_allclose(x_incremental, x_strong, atol=1e-4)
    np.testing.assert_allclose(d_incremental.cost, d_strong.cost, rtol=1e-8)


def test_the_same_minimum_is_found_from_a_first_guess_near_it():
    problem = generate_problem(key=jax.random.key(5))
    method = IncrementalFourDVar(forward=problem.forward, **problem.ingredients, **TIGHT)
    x0, diagnostics = method.solve(assim_batch(problem))
    again, d_again = method.solve(assim_batch(problem), first_guess=x0 + 0.01)
    np.testing.assert_allclose(again, x0, atol=1e-4)
    assert d_again.model_runs[0] < diagnostics.model_runs[0]


def test_the_cost_never_rises_and_survives_an_overflowing_model():
    # From a zero background with variance 25 the first steps overflow (design of the page).
    problem = generate_l96_problem(key=jax.random.key(1), background="isotropic", dt=0.04)
    method = IncrementalFourDVar(
        forward=problem.forward, **problem.ingredients, grow_window=False, n_starts=1
    )
    x0, diagnostics = method.solve(assim_batch(problem))
    assert bool(jnp.isfinite(x0).all())
    assert bool((jnp.diff(diagnostics.cost_history[0]) <= 0).all())


def test_nonlinear_observations():
    problem = generate_problem(key=jax.random.key(2))
    settings = problem.ingredients | {"obs_op": NonlinearObs(lambda x: x + 0.01 * x**2)}
    batch = assim_batch(problem)
    strong = StrongFourDVar(forward=problem.forward, **settings, rtol=1e-13)
    incremental = IncrementalFourDVar(forward=problem.forward, **settings, **TIGHT)
    np.testing.assert_allclose(incremental(batch), strong(batch), atol=1e-4)


@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_conjugate_gradients_solve_the_damped_system(damping):
    rng = np.random.default_rng(0)
    A = jnp.asarray(rng.normal(size=(4, 9)))
    gradient = jnp.asarray(rng.normal(size=9))
    matrix = jnp.eye(9) + A.T @ A
    step = conjugate_gradient_step(gradient, lambda v: matrix @ v, damping, 30, 1e-12)
    expected = -jnp.linalg.solve(matrix + damping * jnp.eye(9), gradient)
    np.testing.assert_allclose(step.move, expected, atol=1e-10)
    decrease = -(gradient @ expected + 0.5 * expected @ matrix @ expected)
    np.testing.assert_allclose(step.predicted, decrease, rtol=1e-10)
    # Four eigenvalues differ from 1, so five steps are enough.
    assert step.products <= 6


def test_a_minimisation_that_runs_out_of_steps_says_so():
    problem = generate_problem(key=jax.random.key(3))
    method = IncrementalFourDVar(
        forward=problem.forward, **problem.ingredients, n_outer=1, grow_window=False, n_starts=1
    )
    assert not bool(method.solve(assim_batch(problem))[1].converged[0])


def test_levenberg_marquardt_keeps_its_default_solver():
    from assimilation.solvers import normal_equations

    residual = lambda chi: jnp.concatenate([chi, 10 * (chi[1:] - chi[:-1] ** 2)])  # noqa: E731
    cost = lambda chi: 0.5 * jnp.sum(residual(chi) ** 2)  # noqa: E731
    found = levenberg_marquardt(cost, normal_equations(residual), jnp.ones(3), 50, 1e-12, 51)
    np.testing.assert_allclose(jax.grad(cost)(found.chi), 0, atol=1e-5)


@pytest.mark.parametrize("setting", ["n_outer", "n_inner", "n_starts"])
def test_counts_below_one_are_refused_by_name(setting):
    problem = LinearProblem(0)
    with pytest.raises(ValueError, match=setting):
        IncrementalFourDVar(**problem.ingredients, **{setting: 0})
