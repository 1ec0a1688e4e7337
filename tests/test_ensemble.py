"""Posterior covariances: the Kalman smoother's, exactly and by sampling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearModel, LinearProblem
from scipy.stats import chi2

from assimilation import (
    EnsembleOfFourDVars,
    IncrementalFourDVar,
    LinearObs,
    Observations,
    OptimalInterpolation,
    StrongFourDVar,
    WeakFourDVar,
    laplace_covariance,
    scaled_identity,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("full_R", [False, True])
def test_laplace_covariance_is_the_kalman_smoothers(full_R):
    linear = LinearProblem(0, full_R=full_R)
    method = StrongFourDVar.of(linear.problem)
    # On a linear model the curvature is the same everywhere.
    found = laplace_covariance(method, linear.observations, method.prior_mean)
    np.testing.assert_allclose(found, linear.smoother()[1][0], atol=1e-8)


def test_laplace_covariance_keeps_its_digits_where_observations_say_much():
    # The square of 1e9 leaves nothing of the 1 in I + A^T A.
    operator = LinearObs(jnp.array([[1e9, 1e9]]))
    seen = Observations((0,), jnp.zeros((1, 1)), operator, 1.0)
    method = StrongFourDVar(LinearModel(jnp.eye(2)), jnp.zeros(2), scaled_identity(1.0, 2))
    found = laplace_covariance(method, seen, jnp.zeros(2))
    np.testing.assert_allclose(found, [[0.5, -0.5], [-0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize("method", [StrongFourDVar, IncrementalFourDVar])
def test_ensemble_is_a_sample_of_the_kalman_posterior(method):
    # About as many values as unknowns: errors of both backgrounds and observations matter.
    linear = LinearProblem(3, n_obs=2, n_steps=3, full_R=method is IncrementalFourDVar)
    n, size = 400, 5
    built = method.of(linear.problem, rtol=1e-12)
    ensemble = EnsembleOfFourDVars(built, n_members=n, key=jax.random.key(1))
    found = ensemble.solve(linear.observations)
    means, covariances = linear.smoother()
    np.testing.assert_allclose(found.x0, found.members.mean(axis=0), atol=1e-12)
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariances[0]))
    white = (np.asarray(found.members) - means[0]) @ inverse_root.T
    # n |mean|^2 is chi-square with D degrees of freedom, and (n - 1) times the trace of
    # the covariance with (n - 1) D; each may be out once in 10,000 draws of the key.
    assert n * np.sum(white.mean(axis=0) ** 2) < chi2.ppf(0.9999, size)
    trace = (n - 1) * np.trace(np.cov(white, rowvar=False))
    low, high = chi2.ppf([5e-5, 1 - 5e-5], (n - 1) * size)
    assert low < trace < high
    # The eigenvalues of a Wishart matrix lie within (1 -+ sqrt(D / n) -+ 4 / sqrt(n))^2 but for
    # exp(-8) of the draws (Davidson & Szarek 2001).
    eigenvalues = np.linalg.eigvalsh(np.cov(white, rowvar=False))
    margin = np.sqrt(size / n) + 4 / np.sqrt(n)
    assert eigenvalues[0] > (1 - margin) ** 2
    assert eigenvalues[-1] < (1 + margin) ** 2


def test_the_trajectory_of_members_is_the_mean_of_their_runs():
    linear = LinearProblem(0)
    found = EnsembleOfFourDVars(StrongFourDVar.of(linear.problem), n_members=3).solve(
        linear.observations
    )
    forward = linear.problem.forward
    runs = found.ensemble(forward, 4)
    powers = [np.linalg.matrix_power(linear.M, t) for t in range(5)]
    want = np.stack([[M @ member for M in powers] for member in np.asarray(found.members)])
    np.testing.assert_allclose(runs, want, atol=1e-10)
    np.testing.assert_allclose(found.trajectory(forward, 4), want.mean(axis=0), atol=1e-10)


def test_the_work_of_all_members_is_counted():
    """One minimisation of each member, from the unperturbed analysis, by the whole window."""
    linear = LinearProblem(1, n_obs=6)
    built, n = StrongFourDVar.of(linear.problem), 40
    mode = built.solve(linear.observations)
    near = built.solve(linear.observations, first_guess=mode.x0 + 0.1).diagnostics
    found = EnsembleOfFourDVars(built, n_members=n).solve(linear.observations).diagnostics
    np.testing.assert_allclose(found.cost, mode.diagnostics.cost, rtol=1e-9)
    per_member = (found.model_runs - mode.diagnostics.model_runs) / n
    # A perturbed minimum is not credible, twice the cost, and is not searched for again.
    assert near.model_runs / 2 < per_member < 2 * near.model_runs
    per_member = (found.iterations - mode.diagnostics.iterations) / n
    assert near.iterations / 2 < per_member < 2 * near.iterations


def test_windows_draw_their_own_members_and_draw_them_again():
    """Of two windows the errors are independent: no draw may serve both."""
    linear = LinearProblem(2)
    ensemble = EnsembleOfFourDVars(StrongFourDVar.of(linear.problem, rtol=1e-12), n_members=30)
    seen = linear.observations
    other = eqx.tree_at(lambda o: o.values, seen, seen.values + seen.mask * 0.5)
    solve = jax.jit(lambda window: ensemble.solve(window).members)
    first, again, second = (np.asarray(solve(window)) for window in (seen, seen, other))
    np.testing.assert_array_equal(first, again)
    # On a linear model members are mean plus a linear function of the draws alone.
    anomalies = [members - members.mean(axis=0) for members in (first, second)]
    correlation = np.corrcoef(anomalies[0].ravel(), anomalies[1].ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(30)
    both = jax.vmap(ensemble.solve)(jax.tree.map(lambda a, b: jnp.stack([a, b]), seen, other))
    np.testing.assert_allclose(both.members, np.stack([first, second]), atol=1e-8)
    differently = EnsembleOfFourDVars(ensemble.method, n_members=30, key=jax.random.key(5))
    assert np.abs(differently.solve(seen).members - first).max() > 0.01


def test_methods_that_cannot_be_perturbed_are_refused():
    problem = LinearProblem(0).problem
    weak = WeakFourDVar.of(problem, model_err_cov_op=scaled_identity(0.1, 5))
    for method in (OptimalInterpolation.of(problem), weak):
        with pytest.raises(TypeError, match="method"):
            EnsembleOfFourDVars(method)
    with pytest.raises(ValueError, match="n_members"):
        EnsembleOfFourDVars(StrongFourDVar.of(problem), n_members=1)
    with pytest.raises(ValueError, match="members"):
        StrongFourDVar.of(problem).solve(LinearProblem(0).observations).ensemble(problem.forward, 3)
