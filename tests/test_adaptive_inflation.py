"""Inflation that follows the departures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearModel

import assimilation as da

pytestmark = pytest.mark.usefixtures("float64")


def steady(true_error, n_times=600, size=8):
    """A random walk whose steps err by more than the filter's model knows, all of it seen."""
    model = LinearModel(0.9 * jnp.eye(size))
    key = jax.random.key(0)
    noise, errors = jax.random.normal(key, (2, n_times, size))
    truth = jax.lax.scan(lambda x, e: (0.9 * x + true_error * e,) * 2, jnp.zeros(size), errors)[1]
    seen = da.Observations(range(n_times), truth + 0.5 * noise, da.LinearObs(jnp.eye(size)), 0.5)
    background = da.Background(jnp.zeros(size), da.scaled_identity(1.0, size))
    return da.Problem(model, background, seen), truth


def test_it_finds_the_spread_that_the_model_lacks():
    """The factor makes up for an error four times as likely as the filter thinks."""
    problem, truth = steady(true_error=0.4)
    Q = da.scaled_identity(0.2**2, 8)
    etkf = da.ETKF.of(problem, n_members=40, model_err_cov_op=Q)
    plain = da.cycle(etkf, problem)
    found = da.cycle(da.AdaptiveInflation(etkf, variance=0.05), problem)
    right = da.cycle(
        da.ETKF.of(problem, n_members=40, model_err_cov_op=da.scaled_identity(0.4**2, 8)), problem
    )
    late = slice(200, None)
    errors = [float(da.rmse(c.analyses.x0[late], truth[late])) for c in (plain, found, right)]
    assert errors[0] > 1.1 * errors[2]
    assert errors[1] < 1.03 * errors[2]
    factor = np.asarray(found.analyses.carry[late])
    spread = np.asarray(found.backgrounds.members.states[late].var(axis=1, ddof=1).mean())
    wanted = np.asarray(right.backgrounds.states[late].var(axis=1, ddof=1).mean())
    np.testing.assert_allclose(factor.mean() * spread, wanted, rtol=0.15)


def test_where_the_model_is_right_the_factor_stays_near_one():
    problem, _ = steady(true_error=0.4)
    etkf = da.ETKF.of(problem, n_members=40, model_err_cov_op=da.scaled_identity(0.4**2, 8))
    factor = np.asarray(da.cycle(da.AdaptiveInflation(etkf), problem).analyses.carry)
    np.testing.assert_allclose(factor[200:].mean(), 1.0, atol=0.08)


def test_one_step_is_the_formula():
    problem, _ = steady(true_error=0.4, n_times=2)
    etkf = da.ETKF.of(problem, n_members=6, rotate=False)
    method = da.AdaptiveInflation(etkf, variance=0.1)
    prior = method.initialise(jax.random.key(3))
    seen = da.Observations((0,), problem.observations.values[:1], problem.obs_op, 0.5)
    found = method.analyse(prior, seen, jax.random.key(4))
    states = np.asarray(prior.members.states)
    d = (states.mean(axis=0) - np.asarray(seen.values[0])) / 0.5
    b = np.var(states / 0.5, axis=0, ddof=1).mean()
    error = 2 / 8 * ((1 + b) / b) ** 2
    factor = 1 + 0.1 / (0.1 + error) * ((d @ d / 8 - 1) / b - 1)
    np.testing.assert_allclose(found.carry, factor, rtol=1e-9)
    mean = states.mean(axis=0)
    wide = da.Members.alike(jnp.asarray(mean + np.sqrt(factor) * (states - mean)))
    expected = etkf.analyse(wide, seen, jax.random.key(4))
    np.testing.assert_allclose(found.members, expected.members, atol=1e-9)
    unseen = eqx.tree_at(lambda o: o.mask, seen, jnp.zeros((1, 8)))
    kept = method.analyse(prior, unseen, jax.random.key(4))
    np.testing.assert_allclose(kept.members, states, atol=1e-12)
    assert kept.carry == 1


def test_bad_settings_name_the_fix(untyped):
    problem, _ = steady(true_error=0.4, n_times=4)
    etkf = da.ETKF.of(problem, n_members=6)
    with pytest.raises(TypeError, match="method is int: pass an ensemble Kalman filter"):
        da.AdaptiveInflation(3)
    with pytest.raises(ValueError, match="variance=0: pass a finite number above zero"):
        da.AdaptiveInflation(etkf, variance=0)
    with pytest.raises(ValueError, match="pass windows with one observed time"):
        da.cycle(da.AdaptiveInflation(etkf), problem, n_steps=2)
