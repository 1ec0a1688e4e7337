"""The iterative ensemble smoother against linear theory and 4DVar."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da
from assimilation.methods.inverse_square_root import inverse_square_root

pytestmark = pytest.mark.usefixtures("float64")


def moments(members):
    members = np.asarray(members)
    return members.mean(axis=0), np.cov(members.T)


@pytest.mark.parametrize("quasi_static", [False, True])
@pytest.mark.parametrize("full_R", [False, True])
@pytest.mark.parametrize("rotate", [False, True])
def test_on_a_linear_model_it_is_the_kalman_smoother(rotate, full_R, quasi_static):
    linear = LinearProblem(1, full_R=full_R)
    method = da.IEnKS.of(linear.problem, n_members=9, rotate=rotate, quasi_static=quasi_static)
    prior = method.initialise(jax.random.key(3))
    linear.x_b, linear.B = moments(prior.states)
    means, covariances = linear.smoother()
    found = method.analyse(prior, linear.observations, jax.random.key(4))
    mean, cov = moments(found.members)
    np.testing.assert_allclose(found.x0, means[0], atol=1e-8)
    np.testing.assert_allclose(mean, means[0], atol=1e-8)
    np.testing.assert_allclose(cov, covariances[0], atol=1e-8)
    # The second one finds nothing to change.
    assert found.diagnostics.iterations == (18 if quasi_static else 2)
    np.testing.assert_allclose(found.trajectory(linear.problem.forward, 8), means, atol=1e-8)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_on_a_linear_model_its_filter_is_the_kalman_filter_for_any_lag(lag):
    """Each observation is used once, whatever the lag, and the last state is what it was."""
    linear = LinearProblem(2)
    method = da.IEnKS.of(linear.problem, n_members=9, lag=lag, rotate=False)
    prior = method.initialise(jax.random.split(jax.random.key(0))[0])
    # The prior stands `lag` steps earlier.
    power = np.linalg.matrix_power(linear.M, lag)
    mean, cov = moments(prior.states)
    linear.x_b, linear.B = power @ mean, power @ cov @ power.T
    _, filtered = linear.filter()
    found = da.cycle(method, linear.problem)
    np.testing.assert_allclose(found.analyses.x0, [mean for mean, _ in filtered], atol=1e-8)
    last = moments(found.analyses.members[-1])[1]
    np.testing.assert_allclose(last, filtered[-1][1], atol=1e-8)


def test_irregular_times_are_stepped_over():
    linear = LinearProblem(3)
    rows = np.array([0, 2, 3, 7])
    whole = linear.observations
    few = da.Observations(
        rows, whole.values[rows], whole.operator, whole.error[rows], whole.mask[rows], T_assim=8
    )
    problem = da.Problem(linear.problem.forward, linear.problem.background, few)
    linear.mask[[1, 4, 5, 6, 8]] = 0
    etkf = da.cycle(da.ETKF.of(problem, n_members=9, rotate=False), problem)
    found = da.cycle(da.IEnKS.of(problem, n_members=9, rotate=False), problem)
    np.testing.assert_allclose(found.analyses.x0, etkf.analyses.x0, atol=1e-8)


def test_its_minimum_is_that_of_4dvar_with_the_covariance_of_its_members():
    """Gauss-Newton both, on Lorenz-63, where the departures are not linear."""
    twin = da.generate_problem(key=jax.random.key(1), T_assim=20, T_total=30)
    near = da.Background(twin.truth[0] + 0.3, da.scaled_identity(0.2, 3))
    problem = da.Problem(twin.forward, near, twin.observations)
    method = da.IEnKS.of(problem, n_members=12, tol=1e-9, n_iterations=30)
    prior = method.initialise(jax.random.key(3))
    found = method.analyse(prior, problem.observations, jax.random.key(4))
    mean, cov = moments(prior.states)
    var = da.StrongFourDVar.of(
        problem,
        prior_mean=jnp.asarray(mean),
        prior_cov_op=da.dense(cov),
        grow_window=False,
        n_starts=1,
        rtol=1e-14,
    )
    expected = var.solve(problem.observations)
    assert found.diagnostics.converged
    # The members show a finite difference and not a derivative: they are small, not tiny.
    np.testing.assert_allclose(found.x0, expected.x0, atol=0.02)
    np.testing.assert_allclose(found.diagnostics.cost, expected.diagnostics.cost, rtol=0.02)
    wrong = replace(method, n_iterations=1).analyse(prior, problem.observations, jax.random.key(4))
    assert np.abs(wrong.x0 - expected.x0).max() > 3 * np.abs(found.x0 - expected.x0).max()


def test_inflation_multiplies_the_anomalies_and_work_is_counted():
    linear = LinearProblem(4, mask=np.ones((9, 3)))
    method = da.IEnKS.of(linear.problem, n_members=9, rotate=False)
    prior = method.initialise(jax.random.key(3))

    def analysed(method):
        return method.analyse(prior, linear.observations, jax.random.key(4))

    plain, wide = analysed(method), analysed(replace(method, inflation=1.5))
    np.testing.assert_allclose(wide.x0, plain.x0, atol=1e-9)
    np.testing.assert_allclose(wide.members - wide.x0, 1.5 * (plain.members - plain.x0), atol=1e-9)
    assert plain.diagnostics.model_runs == 9 * 3
    # Twice to each of the times 0 to 8, of which the last is a whole run.
    in_turn = analysed(replace(method, quasi_static=True))
    np.testing.assert_allclose(in_turn.diagnostics.model_runs, 9 * (2 * sum(range(9)) / 8 + 1))
    np.testing.assert_allclose(
        plain.diagnostics.normalised_cost,
        2 * plain.diagnostics.cost / linear.mask.sum(),
    )


@pytest.mark.parametrize("quasi_static", [False, True])
def test_2j_is_that_of_the_smoother(quasi_static):
    """J at the minimum is half of d^T S^{-1} d, whose expectation is half the observations."""
    linear = LinearProblem(5)
    method = da.IEnKS.of(linear.problem, n_members=9, quasi_static=quasi_static)
    prior = method.initialise(jax.random.key(3))
    linear.x_b, linear.B = moments(prior.states)
    found = method.analyse(prior, linear.observations, jax.random.key(4))
    problem = da.Problem(
        linear.problem.forward,
        da.Background(jnp.asarray(linear.x_b), da.dense(linear.B)),
        linear.observations,
    )
    expected = da.StrongFourDVar.of(problem, rtol=1e-12).solve(linear.observations)
    np.testing.assert_allclose(found.diagnostics.cost, expected.diagnostics.cost, rtol=1e-7)


def one_observation(h, value):
    """One number at one time, seen through `h`; its background is N(0, 1)."""
    seen = da.Observations((0,), jnp.array([[value]]), da.NonlinearObs(h), 0.1)
    background = da.Background(jnp.zeros(1), da.scaled_identity(1.0, 1))
    return da.Problem(LinearProblem(1, size=1).problem.forward, background, seen)


def test_a_step_that_goes_too_far_is_halved():
    """Seen through a step that is steep between flat parts, Gauss-Newton runs away."""
    problem = one_observation(lambda x: jnp.arctan(6 * x), 1.2)
    method = da.IEnKS.of(problem, n_iterations=40, tol=1e-9)
    prior = da.Members.alike(0.05 * jnp.array([[-1.5], [-0.5], [0.5], [1.5]]) - 1.0)
    found = method.analyse(prior, problem.observations, jax.random.key(0))
    states = jnp.linspace(-2, 2, 4001)
    spread = prior.states.var(ddof=1)
    J = (states + 1.0) ** 2 / (2 * spread) + (jnp.arctan(6 * states) - 1.2) ** 2 / (2 * 0.1**2)
    assert found.diagnostics.converged
    np.testing.assert_allclose(found.x0[0], states[J.argmin()], atol=0.02)
    np.testing.assert_allclose(found.diagnostics.cost, J.min(), rtol=0.02)


def test_members_that_overflow_stay_where_they_are_and_are_reported():
    problem = one_observation(lambda x: jnp.exp(jnp.exp(9 * x + 9)), 1.0)
    method = da.IEnKS.of(problem, rotate=False)
    prior = method.initialise(jax.random.key(3))
    found = method.analyse(prior, problem.observations, jax.random.key(4))
    np.testing.assert_allclose(found.members, prior.states, atol=1e-12)
    assert jnp.isinf(found.diagnostics.cost)
    assert not found.diagnostics.converged


def test_the_root_of_a_matrix_far_from_round_is_finite():
    """With 24 bits an eigenvalue of one beside one of 1e9 may come out as negative."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        vector = rng.normal(size=(12, 1))
        matrix = np.eye(12) + 1e9 * vector @ vector.T
        root = inverse_square_root(jnp.asarray(matrix, jnp.float32))
        assert np.all(np.isfinite(root))
        # No direction is inflated, to rounding.
        assert np.linalg.norm(root, 2) < 1.1


def test_bad_settings_name_the_fix(untyped):
    problem = LinearProblem(1).problem
    with pytest.raises(ValueError, match="lag=-1: pass a whole number, 0 or larger"):
        da.IEnKS.of(problem, lag=-1)
    with pytest.raises(ValueError, match="tol=0"):
        da.IEnKS.of(problem, tol=0)
