"""Particle filters against the Kalman filter, and their parts against what they promise."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da
from assimilation.methods.particles import effective_size, systematic

pytestmark = pytest.mark.usefixtures("float64")


def problem_with_model_errors(seed, error_scale=0.3):
    linear = LinearProblem(seed, size=2, n_obs=2, n_steps=4, error_scale=error_scale)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    return linear, da.dense(linear.Q[0])


def test_many_particles_are_the_kalman_filter():
    linear, Q = problem_with_model_errors(1)
    n = 20000
    for kind in (da.BootstrapParticleFilter, da.OptimalProposalFilter):
        method = kind.of(linear.problem, model_err_cov_op=Q, n_members=n, jitter=0.0)
        if kind is da.OptimalProposalFilter:  # its prior has one error of the model more
            B = da.dense(linear.B - linear.Q[0])
            method = replace(method, prior_cov_op=B)
        found = method.solve(linear.observations)
        # What was lost at one time is missing at the next ones too.
        worth = np.minimum.accumulate(found.diagnostics.effective_members)
        for t, (mean, cov) in enumerate(linear.filter()[1]):
            error = np.sqrt(np.diag(cov) / worth[t])
            np.testing.assert_array_less(np.abs(found.states[t] - mean), 5 * error)
        sampled = np.cov(np.asarray(found.members).T, aweights=np.asarray(found.weights))
        assert np.abs(sampled - cov).max() < 6 * np.sqrt(2 / worth[-1]) * np.diag(cov).max()


def test_the_optimal_proposal_keeps_more_particles():
    """With precise observations: the bootstrap's particles miss them, the others look first."""
    linear, Q = problem_with_model_errors(2, error_scale=1.0)
    precise = da.Observations(
        linear.observations.times,
        linear.observations.values,
        da.LinearObs(linear.H),
        0.05,
        mask=linear.observations.mask,
    )
    settings = {"model_err_cov_op": Q, "n_members": 2000, "jitter": 0.0}
    one, two = (
        kind.of(linear.problem, **settings).solve(precise).diagnostics.effective_members
        for kind in (da.BootstrapParticleFilter, da.OptimalProposalFilter)
    )
    seen = linear.mask.any(axis=1)
    assert two[seen].mean() > 10 * one[seen].mean()


def test_one_optimal_step_is_drawn_from_the_conditional():
    """Mean and covariance of the draws, and the weight, written out."""
    linear, Q = problem_with_model_errors(3)
    seen = da.Observations((0,), jnp.asarray(linear.obs[:1]), da.LinearObs(linear.H), 0.4)
    n = 40000
    method = da.OptimalProposalFilter.of(
        linear.problem, model_err_cov_op=Q, n_members=n, jitter=0.0
    )
    # All particles come from one of two places.
    places = jnp.array([[0.3, -0.2], [1.0, 0.5]])
    prior = da.Members.alike(jnp.repeat(places, n // 2, axis=0))
    found = method.analyse(prior, seen, jax.random.key(0))
    S = linear.H @ linear.Q[0] @ linear.H.T + 0.16 * np.eye(2)
    K = linear.Q[0] @ linear.H.T @ np.linalg.inv(S)
    cov = linear.Q[0] - K @ linear.H @ linear.Q[0]
    d = linear.obs[0] - np.asarray(places) @ linear.H.T
    log_density = -0.5 * np.einsum("ki,ij,kj->k", d, np.linalg.inv(S), d)
    shares = np.exp(log_density) / np.exp(log_density).sum()
    for k in range(2):
        half = np.asarray(found.members)[k * n // 2 : (k + 1) * n // 2]
        error = 5 * np.sqrt(np.diag(cov) / (n / 2))
        np.testing.assert_array_less(np.abs(half.mean(axis=0) - places[k] - K @ d[k]), error)
        np.testing.assert_allclose(np.cov(half.T), cov, atol=7 * np.sqrt(4 / n) * cov.max())
        np.testing.assert_allclose(found.weights[k * n // 2] * n / 2, shares[k], rtol=1e-9)


def test_systematic_resampling_draws_each_particle_as_often_as_its_weight_says():
    log_weights = jnp.log(jnp.array([0.05, 0.4, 0.0, 0.25, 0.3]))
    keys = jax.random.split(jax.random.key(0), 3000)
    counts = np.asarray(
        jax.vmap(lambda key: jnp.bincount(systematic(log_weights, key), length=5))(keys)
    )
    expected = 5 * np.exp(np.asarray(log_weights))
    assert np.all((counts >= np.floor(expected)) & (counts <= np.ceil(expected)))
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=5 * 0.5 / np.sqrt(3000))


def test_effective_size_counts_equal_weights():
    assert effective_size(jnp.zeros(7)) == pytest.approx(7)
    assert effective_size(jnp.array([0.0, -jnp.inf, 0.0])) == pytest.approx(2)


def test_few_effective_particles_are_drawn_anew_and_spread_out():
    problem = LinearProblem(4, size=2).problem
    n = 4000
    method = da.BootstrapParticleFilter.of(problem, n_members=n, jitter=2.0, resample_below=0.9)
    rng = np.random.default_rng(0)
    states = jnp.asarray(rng.normal(size=(n, 2)) @ np.array([[1.0, 0.5], [0.0, 0.3]]))
    weighted = da.Members(states, -2 * (states[:, 0] - 1) ** 2)
    drawn = method.refreshed(weighted, jax.random.key(0))
    np.testing.assert_allclose(drawn.weights, 1 / n, rtol=1e-9)
    cov = np.cov(np.asarray(states).T, aweights=np.asarray(weighted.weights), ddof=0)
    worth = float(effective_size(weighted.log_weights))
    # The variance of the draws is that of the particles times 1 + bandwidth^2.
    bandwidth = 2.0 * n ** (-1 / 6)
    found = np.cov(np.asarray(drawn.states).T)
    np.testing.assert_allclose(
        found, (1 + bandwidth**2) * cov, atol=6 * np.sqrt(2 / worth) * cov.max()
    )
    np.testing.assert_allclose(drawn.mean, weighted.mean, atol=6 * np.sqrt(cov.max() / worth))
    many = replace(method, resample_below=0.01).refreshed(weighted, jax.random.key(0))
    np.testing.assert_array_equal(many.states, states)


def test_fewer_particles_than_entries_are_spread_within_their_span():
    problem = LinearProblem(4, size=5).problem
    method = da.BootstrapParticleFilter.of(problem, n_members=3, jitter=1.0, resample_below=1.0)
    states = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))
    drawn = method.refreshed(
        da.Members(states, jnp.log(jnp.array([0.7, 0.2, 0.1]))), jax.random.key(0)
    )
    both = np.concatenate([states, drawn.states]) - np.asarray(states[0])
    assert np.linalg.matrix_rank(both, tol=1e-9) == 2
    assert np.abs(drawn.states - drawn.states[0]).max() > 0


def test_a_single_effective_particle_stays_finite():
    problem = LinearProblem(4, size=2).problem
    method = da.BootstrapParticleFilter.of(problem, n_members=3)
    certain = da.Members(jnp.eye(3)[:, :2], jnp.array([0.0, -jnp.inf, -jnp.inf]))
    drawn = method.refreshed(certain, jax.random.key(0))
    np.testing.assert_allclose(drawn.states, np.tile([1.0, 0.0], (3, 1)), atol=1e-12)


def test_a_cycle_resamples_between_windows():
    linear, Q = problem_with_model_errors(5)
    method = da.BootstrapParticleFilter.of(linear.problem, model_err_cov_op=Q, n_members=3000)
    found = da.cycle(method, linear.problem)
    for t, (mean, cov) in enumerate(linear.filter()[1]):
        estimate = found.analyses.weights[t] @ found.analyses.members[t]
        np.testing.assert_allclose(found.analyses.x0[t], estimate, atol=1e-9)
        np.testing.assert_array_less(np.abs(estimate - mean), 0.2 * np.sqrt(np.diag(cov)))
    assert effective_size(found.backgrounds.log_weights[-1]) > 1500 - 1


def test_bad_settings_name_the_fix(untyped):
    linear, Q = problem_with_model_errors(1)
    with pytest.raises(ValueError, match="resample_below=2: pass a share between 0 and 1"):
        da.BootstrapParticleFilter.of(linear.problem, resample_below=2)
    with pytest.raises(ValueError, match=r"jitter=-1\.0: pass zero or a number above it"):
        da.BootstrapParticleFilter.of(linear.problem, jitter=-1.0)
    with pytest.raises(ValueError, match="model_err_cov_op is None: pass the covariance Q"):
        da.OptimalProposalFilter.of(linear.problem)
    curved = da.Observations((0,), jnp.zeros((1, 2)), da.NonlinearObs(jnp.square), 0.4)
    with pytest.raises(TypeError, match="or use BootstrapParticleFilter"):
        da.OptimalProposalFilter.of(linear.problem, model_err_cov_op=Q).solve(curved)
