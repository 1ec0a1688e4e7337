"""Incremental 4DVar: what it costs, and where it ends on models that are not linear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

from assimilation import (
    IncrementalFourDVar,
    StrongFourDVar,
    generate_l96_problem,
    generate_problem,
)
from assimilation.methods.conjugate_gradients import conjugate_gradient_step

TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-13, "n_inner": 200}

pytestmark = pytest.mark.usefixtures("float64")


def test_a_linear_problem_takes_one_outer_step_and_no_more_inner_steps_than_observations():
    linear = LinearProblem(0, size=12, n_obs=2, n_steps=3)
    n_obs = linear.mask.sum()
    assert n_obs < 12
    method = IncrementalFourDVar.of(linear.problem, **TIGHT, n_outer=1, grow_window=False)
    found = method.solve(linear.observations)
    np.testing.assert_allclose(found.x0, linear.smoother()[0][0], atol=1e-8)
    # I + A^T A has at most n_obs eigenvalues other than 1, each of which takes one inner step:
    # a tangent-linear and an adjoint run. The few others are the linearisation and the new cost.
    assert 2 * n_obs <= found.diagnostics.model_runs <= 2 * (n_obs + 1) + 6


def test_with_few_inner_steps_it_takes_more_outer_ones():
    linear = LinearProblem(0)
    method = IncrementalFourDVar.of(linear.problem, rtol=1e-14, n_inner=1, n_outer=400)
    found = method.solve(linear.observations)
    np.testing.assert_allclose(found.x0, linear.smoother()[0][0], atol=1e-5)
    assert bool(found.diagnostics.converged)


@pytest.mark.parametrize("generate", [generate_problem, generate_l96_problem])
def test_converged_incremental_is_strong(generate):
    problem = generate(key=jax.random.key(0), T_total=50)
    strong = StrongFourDVar.of(problem, rtol=1e-13).solve(problem.observations)
    method = IncrementalFourDVar.of(problem, **TIGHT)
    found = method.solve(problem.observations)
    np.testing.assert_allclose(found.x0, strong.x0, atol=1e-4)
    np.testing.assert_allclose(found.diagnostics.cost, strong.diagnostics.cost, rtol=1e-8)
    # From near that minimum the way is shorter.
    again = method.solve(problem.observations, first_guess=found.x0 + 0.01)
    np.testing.assert_allclose(again.x0, found.x0, atol=1e-4)
    assert again.diagnostics.model_runs < found.diagnostics.model_runs


def test_the_cost_never_rises_and_survives_an_overflowing_model():
    # From a zero background with variance 25 the first steps overflow.
    problem = generate_l96_problem(
        key=jax.random.key(1), background="isotropic", dt=0.04, T_total=50
    )
    method = IncrementalFourDVar.of(problem, grow_window=False, n_starts=1, n_outer=30)
    found = method.solve(problem.observations)
    assert bool(jnp.isfinite(found.x0).all())
    history = found.diagnostics.cost_history
    assert bool((jnp.diff(history) <= 0).all())
    np.testing.assert_allclose(history[-1], found.diagnostics.cost)
    assert history[0] > 2 * history[-1]


@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_conjugate_gradients_solve_the_damped_system(damping):
    rng = np.random.default_rng(0)
    A = jnp.asarray(rng.normal(size=(4, 9)))
    gradient = jnp.asarray(rng.normal(size=9))
    matrix = jnp.eye(9) + A.T @ A
    products = []

    def hessian(vector):
        jax.debug.callback(lambda: products.append(1))
        return matrix @ vector

    step = conjugate_gradient_step(gradient, hessian, damping, 30, 1e-12)
    expected = -jnp.linalg.solve(matrix + damping * jnp.eye(9), gradient)
    np.testing.assert_allclose(step.move, expected, atol=1e-10)
    decrease = -(gradient @ expected + 0.5 * expected @ matrix @ expected)
    np.testing.assert_allclose(step.predicted, decrease, rtol=1e-10)
    jax.effects_barrier()
    # Four eigenvalues differ from 1, so five steps are enough, of two runs each.
    assert len(products) <= 6
    assert step.runs == 2 * len(products)


def test_a_minimisation_that_runs_out_of_steps_says_so():
    problem = generate_problem(key=jax.random.key(3), T_total=50)
    method = IncrementalFourDVar.of(problem, n_outer=1, grow_window=False, n_starts=1)
    assert not bool(method.solve(problem.observations).diagnostics.converged)


@pytest.mark.parametrize("setting", ["n_outer", "n_inner", "n_starts"])
def test_counts_below_one_are_refused_by_name(setting):
    with pytest.raises(ValueError, match="pass a whole number"):
        IncrementalFourDVar.of(LinearProblem(0).problem, **{setting: 0})
