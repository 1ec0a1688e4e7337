"""Hybrid covariances and 4DVar with them, against dense algebra and linear theory."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da
from assimilation.covariances.ring_covariance import RingCovariance

pytestmark = pytest.mark.usefixtures("float64")


def hybrid(weight=0.3, correlated=True, m=4, size=6, seed=0):
    rng = np.random.default_rng(seed)
    members = jnp.asarray(rng.normal(size=(m, size)))
    factor = rng.normal(size=(size, size))
    static = da.dense(factor @ factor.T + np.eye(size))
    apart = np.abs(np.arange(size)[:, None] - np.arange(size)) / 2
    C = da.dense(np.exp(-(apart**2))) if correlated else None
    B = da.HybridCovariance.from_members(static, members, weight, C)
    P = np.cov(np.asarray(members).T)
    localised = P * C.as_matrix() if correlated else P
    return B, (1 - weight) * static.as_matrix() + weight * localised


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_operator_is_the_mixture_and_its_root_its_root(weight, correlated):
    B, expected = hybrid(weight, correlated)
    np.testing.assert_allclose(B.as_matrix(), expected, atol=1e-12)
    L = da.square_root(B).as_matrix()
    np.testing.assert_allclose(L @ L.T, expected, atol=1e-10)
    assert lx.is_positive_semidefinite(B)


def test_a_ring_covariance_serves_as_correlation_without_a_matrix():
    ring = da.Ring(6, (1,))
    from assimilation.covariances.localisation import ring_taper

    taper = ring_taper(6, 1.5)
    spectrum = jnp.fft.rfft(jnp.asarray(taper)).real[:, None, None] + 0j
    C = RingCovariance(spectrum, ring)
    apart = (np.arange(6)[:, None] - np.arange(6)) % 6
    np.testing.assert_allclose(C.as_matrix(), taper[apart], atol=1e-12)
    plain, _ = hybrid(1.0, correlated=False)
    B = replace(plain, correlation=C)
    np.testing.assert_allclose(B.as_matrix(), plain.as_matrix() * taper[apart], atol=1e-12)
    L = da.square_root(B).as_matrix()
    np.testing.assert_allclose(L @ L.T, B.as_matrix(), atol=1e-10)


@pytest.mark.parametrize("method", [da.IncrementalFourDVar, da.StrongFourDVar])
def test_4dvar_takes_it_for_the_matrix_that_it_is(method):
    linear = LinearProblem(1, size=6)
    B, matrix = hybrid()
    settings = {"rtol": 1e-12} | ({"inner_rtol": 1e-10} if method is da.IncrementalFourDVar else {})
    found, expected = (
        method.of(linear.problem, prior_cov_op=cov, **settings).solve(linear.observations)
        for cov in (B, da.dense(matrix))
    )
    np.testing.assert_allclose(found.x0, expected.x0, atol=1e-7)


@pytest.mark.parametrize("method", [da.IncrementalFourDVar, da.StrongFourDVar])
def test_4dvar_takes_one_that_is_localised_on_a_ring(method):
    """Its gradient is a product with the transposed root, and so with that of a ring covariance."""
    from assimilation.covariances.localisation import ring_taper

    linear = LinearProblem(2, size=6)
    taper = ring_taper(6, 1.5)
    C = RingCovariance(jnp.fft.rfft(jnp.asarray(taper)).real[:, None, None] + 0j, da.Ring(6, (1,)))
    B, _ = hybrid(0.6, correlated=False)
    apart = (np.arange(6)[:, None] - np.arange(6)) % 6
    members = np.asarray(B.anomalies.T @ B.anomalies / 3) * taper[apart]
    matrix = 0.4 * B.static.as_matrix() + 0.6 * members
    settings = {"rtol": 1e-12} | ({"inner_rtol": 1e-10} if method is da.IncrementalFourDVar else {})
    found, expected = (
        method.of(linear.problem, prior_cov_op=cov, **settings).solve(linear.observations)
        for cov in (replace(B, correlation=C), da.dense(matrix))
    )
    np.testing.assert_allclose(found.x0, expected.x0, atol=1e-7)


def hybrid_method(linear, weight, **settings):
    return da.HybridFourDVar(
        da.StrongFourDVar.of(linear.problem, rtol=1e-12),
        da.ETKF.of(linear.problem, n_members=9, rotate=False),
        weight,
        **settings,
    )


def test_without_weight_it_is_4dvar_and_with_all_of_it_the_ensemble():
    """All weight on a well sampled ensemble: 4DVar's mean and the filter's are one."""
    linear = LinearProblem(2)
    prior = hybrid_method(linear, 0.0).initialise(jax.random.key(0))
    static = hybrid_method(linear, 0.0).analyse(prior, linear.observations, jax.random.key(1))
    expected = da.StrongFourDVar.of(linear.problem, rtol=1e-12).solve(linear.observations)
    np.testing.assert_allclose(static.x0, expected.x0, atol=1e-8)
    prior = prior._replace(mean=prior.members.mean(axis=0))
    found = hybrid_method(linear, 1.0).analyse(prior, linear.observations, jax.random.key(1))
    etkf = da.ETKF.of(linear.problem, n_members=9, rotate=False)
    alone = etkf.analyse(da.Members.alike(prior.members), linear.observations, jax.random.key(1))
    np.testing.assert_allclose(found.states[-1], alone.states[-1], atol=1e-8)
    np.testing.assert_allclose(found.members, alone.members, atol=1e-8)


def test_members_are_centred_on_the_run_from_the_analysis():
    linear = LinearProblem(3)
    method = hybrid_method(linear, 0.4)
    cycled = da.cycle(method, linear.problem, n_steps=3)
    states = cycled.analyses.states[:, -1]
    np.testing.assert_allclose(cycled.analyses.members.mean(axis=1), states, atol=1e-9)
    ahead = states @ linear.M.T
    np.testing.assert_allclose(cycled.forecasts.mean, ahead, atol=1e-9)
    np.testing.assert_allclose(cycled.forecasts.members.mean(axis=1), ahead, atol=1e-9)
    assert cycled.analyses.diagnostics.model_runs[0] > 9


def test_bad_settings_name_the_fix(untyped):
    linear = LinearProblem(1)
    B = linear.problem.B_op_state
    with pytest.raises(ValueError, match=r"weight=1\.2: pass a share between 0 and 1"):
        da.HybridCovariance(B, jnp.zeros((3, 5)), 1.2)
    with pytest.raises(ValueError, match="anomalies has 1 member: pass two or more"):
        da.HybridCovariance(B, jnp.zeros((1, 5)))
    with pytest.raises(ValueError, match="static maps shape"):
        da.HybridCovariance(B, jnp.zeros((3, 4)))
    with pytest.raises(TypeError, match="method is int: pass a StrongFourDVar"):
        da.HybridFourDVar(3, da.ETKF.of(linear.problem))
    with pytest.raises(TypeError, match="ensemble is int: pass an ensemble Kalman filter"):
        da.HybridFourDVar(da.StrongFourDVar.of(linear.problem), 3)
    with pytest.raises(ValueError, match="weight=-1: pass a share"):
        hybrid_method(linear, -1)
