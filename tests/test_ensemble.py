"""Posterior covariances: the Kalman smoother's, exactly and by sampling."""

import jax
import numpy as np
import pytest
from linear_problem import LinearProblem
from scipy.stats import chi2

from assimilation import (
    EnsembleOfFourDVars,
    IncrementalFourDVar,
    OptimalInterpolation,
    StrongFourDVar,
    laplace_covariance,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("seed", range(4))
def test_laplace_covariance_is_the_kalman_smoothers(seed):
    problem = LinearProblem(seed)
    method = StrongFourDVar(**problem.ingredients, rtol=1e-14)
    found = laplace_covariance(method, problem.batch, method(problem.batch))[0]
    np.testing.assert_allclose(found, problem.smoother()[1][0], atol=1e-8)


@pytest.mark.parametrize("method", [StrongFourDVar, IncrementalFourDVar])
def test_ensemble_is_a_sample_of_the_kalman_posterior(method):
    problem = LinearProblem(3)
    n, size = 400, 5
    ensemble = EnsembleOfFourDVars(
        method(**problem.ingredients, rtol=1e-12), n_members=n, key=jax.random.key(1)
    )
    found = ensemble.solve(problem.batch)
    means, covariances = problem.smoother()
    np.testing.assert_allclose(found.mode[0], means[0], atol=1e-6)
    np.testing.assert_allclose(ensemble(problem.batch), found.mean)
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariances[0]))
    white = (np.asarray(found.members[0]) - means[0]) @ inverse_root.T
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
    np.testing.assert_allclose(found.spread[0], found.members[0].std(axis=0, ddof=1))


def test_other_methods_are_refused_by_name():
    problem = LinearProblem(0)
    settings = problem.ingredients
    del settings["forward"]
    with pytest.raises(TypeError, match="method"):
        EnsembleOfFourDVars(OptimalInterpolation(**settings))
    with pytest.raises(ValueError, match="n_members"):
        EnsembleOfFourDVars(StrongFourDVar(**problem.ingredients), n_members=1)
