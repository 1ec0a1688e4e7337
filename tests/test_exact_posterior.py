"""The exact posterior against closed forms: the Kalman smoother, and quadrature."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da

pytestmark = pytest.mark.usefixtures("float64")


class Still(eqx.Module):
    """A state that stays as it is."""

    dt: float = eqx.field(default=1.0, static=True)

    def step(self, state, dt):
        return state


def squares(x_b, values):
    """What a state is whose squares were observed once, with an error of 0.5."""
    values = np.atleast_2d(values)
    background = da.Background(jnp.asarray(x_b, float), da.dense(jnp.eye(len(x_b))))
    seen = da.Observations((1,), jnp.asarray(values, float), da.NonlinearObs(jnp.square), 0.5)
    return da.Problem(Still(), background, seen)


def by_quadrature(x_b, y):
    grid = np.linspace(-6, 6, 20001)
    cost = 0.5 * (grid - x_b) ** 2 + 0.5 * (grid**2 - y) ** 2 / 0.5**2
    p = np.exp(cost.min() - cost)
    p /= p.sum()
    mean = p @ grid
    return mean, p @ (grid - mean) ** 2, p[grid < 0].sum()


def test_weighted_particles_are_the_kalman_smoother(key):
    linear = LinearProblem(3, size=3, n_obs=2, n_steps=4)
    expected = da.KalmanFilter.of(linear.problem).smooth(linear.observations)
    found = da.exact_posterior(linear.problem, 40_000, key=key)
    worth = float(found.effective_size)
    assert worth > 20_000
    cov = np.asarray(expected.covariance[0])
    error = np.abs(found.mean - expected.mean[0])
    np.testing.assert_array_less(error, 5 * np.sqrt(np.diag(cov) / worth))
    np.testing.assert_allclose(found.covariance, cov, atol=6 * np.sqrt(2 / worth) * cov.max())
    # All starts end at the one minimum there is.
    np.testing.assert_allclose(found.modes, np.tile(expected.mean[0], (16, 1)), atol=1e-2)


@pytest.mark.parametrize("x_b", [0.0, 0.3])
def test_two_modes_have_their_right_shares(x_b):
    """Over 20 keys the mean, the variance and the share on the left are unbiased."""
    problem = squares([x_b], [2.0])
    keys = jax.random.split(jax.random.key(5), 20)

    def moments(key):
        found = da.exact_posterior(problem, 4000, key=key, batch=2000, n_centres=8)
        weights, x = found.members.weights, found.members.states[:, 0]
        return jnp.stack([weights @ x, found.covariance[0, 0], weights @ (x < 0)])

    each = np.asarray(jax.lax.map(moments, keys))
    error = each.mean(axis=0) - np.asarray(by_quadrature(x_b, 2.0))
    np.testing.assert_array_less(np.abs(error), 4 * each.std(axis=0, ddof=1) / np.sqrt(20))
    assert each.std(axis=0).max() < 0.05


def test_four_modes_in_two_dimensions(key):
    found = da.exact_posterior(squares([0.3, 0.0], [2.0, 1.0]), 20_000, key=key)
    assert found.effective_size > 5000
    for i, (x_b, y) in enumerate([(0.3, 2.0), (0.0, 1.0)]):
        mean, variance, _ = by_quadrature(x_b, y)
        assert float(found.mean[i]) == pytest.approx(mean, abs=0.06)
        assert float(found.covariance[i, i]) == pytest.approx(variance, abs=0.06)


def test_draws_from_the_background_alone_are_worth_little(key):
    problem = da.generate_problem(key=key)
    found = da.exact_posterior(problem, 20_000, key=key)
    blind = da.exact_posterior(problem, 20_000, key=key, prior_share=1.0)
    assert blind.effective_size < 20
    assert found.effective_size > 10_000
    # And those draws are of the background.
    spread = np.std(blind.members.states, axis=0)
    clim = np.sqrt(np.diag(problem.B_op_state.as_matrix()))
    np.testing.assert_allclose(spread, clim, rtol=0.05)


def test_draws_that_count_alike_have_the_weighted_moments(key):
    linear = LinearProblem(3, size=3, n_obs=2, n_steps=4)
    found = da.exact_posterior(linear.problem, 20_000, key=key)
    drawn = np.asarray(found.draws(key, 5000))
    assert drawn.shape == (5000, 3)
    std = np.sqrt(np.diag(found.covariance))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - found.mean), 5 * std / np.sqrt(5000))
    np.testing.assert_allclose(np.cov(drawn.T), found.covariance, atol=0.15 * std.max() ** 2)
    # In random order: the halves differ by chance alone.
    halves = drawn[:2500].mean(axis=0) - drawn[2500:].mean(axis=0)
    np.testing.assert_array_less(np.abs(halves), 5 * std * np.sqrt(2 / 2500))


def test_long_chains_are_the_kalman_smoother(key):
    linear = LinearProblem(7, size=6, n_obs=2, n_steps=4)
    expected = da.KalmanFilter.of(linear.problem).smooth(linear.observations)
    found = da.long_chains(linear.problem, 800, key=key)
    assert found.states.shape == (400, 16, 6)
    assert float(found.r_hat.max()) < 1.02
    assert float(found.acceptance) == pytest.approx(0.8, abs=0.1)
    cov = np.asarray(expected.covariance[0])
    worth = float(found.effective_size.min())
    assert worth > 400
    error = np.abs(found.mean - expected.mean[0])
    np.testing.assert_array_less(error, 5 * np.sqrt(np.diag(cov) / worth))
    sampled = np.cov(np.asarray(found.states).reshape(-1, 6).T)
    np.testing.assert_allclose(sampled, cov, atol=6 * np.sqrt(2 / worth) * cov.max())


def test_chains_that_have_not_met_say_so(key):
    """Two humps with a wall between them: each chain knows one."""
    found = da.long_chains(squares([0.3], [9.0]), 100, key=key, n_chains=32)
    sides = np.asarray(found.states[..., 0] > 0)
    assert np.all(sides == sides[0])
    assert 0 < sides[0].sum() < 32
    assert float(found.r_hat[0]) > 2
    assert float(found.effective_size[0]) < 70


def test_bad_arguments_name_the_fix(untyped, key):
    problem = squares([0.3], [2.0])
    with pytest.raises(TypeError, match="problem is str: pass a Problem"):
        da.exact_posterior("window", key=key)
    with pytest.raises(ValueError, match="n_particles=15: pass a multiple of batch=10"):
        da.exact_posterior(problem, 15, key=key, batch=10)
    with pytest.raises(ValueError, match="prior_share=0: pass a share above 0, at most 1"):
        da.exact_posterior(problem, key=key, prior_share=0)
    with pytest.raises(ValueError, match="n_chains"):
        da.long_chains(problem, key=key, n_chains=1)
    with pytest.raises(ValueError, match="n_steps"):
        da.long_chains(problem, 6, key=key)
    erring = replace(problem, Q_op_state=da.scaled_identity(0.1, 1))
    for sample in (da.exact_posterior, da.long_chains):
        with pytest.raises(TypeError, match="key is 3: pass one JAX random key"):
            sample(problem, key=3)
        with pytest.raises(ValueError, match="pass a problem with a perfect model"):
            sample(erring, key=key)
