"""The model that is wrong on purpose: its fitted effect, and the error that it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import Climatology, Lorenz96TwoLevelForward, climatology_l96_2l, spun_up
from assimilation.experiments.wrong_model import parameterise


@pytest.fixture(scope="module")
def model():
    return Lorenz96TwoLevelForward(K=6, J=4)


@pytest.fixture(scope="module")
def statistics(model):
    return climatology_l96_2l(model)


def test_the_polynomial_stands_for_what_the_fast_ring_does_to_the_slow_one(model, statistics):
    """On the attractor, most of the difference between the two tendencies is explained."""
    fitted = parameterise(model, statistics, n_steps=1).forward
    states = jnp.asarray(statistics.samples[::20])
    slow = states[:, :6]
    exact = jax.vmap(model.tendency)(states)[:, :6]
    bare = exact - jax.vmap(fitted.tendency)(slow)
    without = exact - jax.vmap(lambda x: jnp.roll(x, 1) * (jnp.roll(x, -1) - jnp.roll(x, 2)))(slow)
    effect = without + slow - model.F
    explained = 1 - np.var(bare) / np.var(effect)
    assert explained > 0.5
    # Least squares leaves no mean and nothing along X.
    assert abs(np.mean(bare)) < 0.05 * np.std(effect)
    assert abs(np.corrcoef(np.ravel(bare), np.ravel(slow))[0, 1]) < 0.05


def test_q_times_the_steps_is_the_covariance_of_the_drift(model, statistics):
    """Independent errors of each step, added up over ten, spread as the drift does."""
    n_steps = 10
    few = Climatology(statistics.mean, statistics.covariance, statistics.samples[::8])
    fitted = parameterise(model, few, n_steps=n_steps)

    @jax.jit
    @jax.vmap
    def drift(state):
        return spun_up(model, state, n_steps)[:6] - spun_up(fitted.forward, state[:6], n_steps)

    drifts = np.asarray(drift(jnp.asarray(few.samples)))
    Q = fitted.error_covariance
    np.testing.assert_allclose(Q, Q.T, rtol=1e-6)
    np.testing.assert_allclose(n_steps * np.trace(Q), drifts.var(axis=0).sum(), rtol=0.02)
    # Two sites next to each other, averaged over the ring.
    beside = np.mean([np.cov(drifts[:, k], drifts[:, (k + 1) % 6])[0, 1] for k in range(6)])
    np.testing.assert_allclose(n_steps * Q[0, 1], beside, atol=0.05 * n_steps * Q[0, 0])


def test_its_climatology_is_the_slow_part_of_the_truth(model, statistics):
    fitted = parameterise(model, statistics)
    np.testing.assert_allclose(fitted.slow.mean, statistics.mean[:6], rtol=1e-5)
    np.testing.assert_allclose(fitted.slow.covariance, statistics.covariance[:6, :6], rtol=1e-4)
    np.testing.assert_array_equal(fitted.slow.samples, statistics.samples[:, :6])
    assert fitted.forward.F == model.F
