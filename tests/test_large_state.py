"""Rings of 100,000 sites: whatever would form a D x D array (40 GB) cannot pass."""

import resource

import jax
import jax.numpy as jnp
import numpy as np

from assimilation import (
    Lorenz96Forward,
    Ring,
    RingCovariance,
    forecast_differences,
    spun_up,
    square_root,
)

K = 100_000
LIMIT = 4 * 2**30


def test_a_background_from_few_samples_of_a_large_ring():
    forward = Lorenz96Forward(K=K, dt=0.05)
    starts = forward.F + jax.random.normal(jax.random.key(0), (4, K))
    samples = jax.jit(jax.vmap(lambda x: spun_up(forward, x, 200)))(starts)
    covariance = RingCovariance.from_samples(samples, Ring(K, (1,)), localisation=10.0)
    correlations = np.asarray(covariance.correlations()[:, 0, 0])
    # Known for F = 8: standard deviation 3.6, next sites almost uncorrelated, second
    # ones anticorrelated. 400,000 values make this exact to a per cent or so.
    variance = 1 / K * jnp.sum(covariance.spectrum.real[:, 0, 0] * 2)
    assert 12.5 < variance < 14
    assert abs(correlations[1]) < 0.1
    assert np.abs(correlations[20:-20]).max() < 1e-5

    root = square_root(covariance)
    chi = jax.random.normal(jax.random.key(1), (K,))
    other = jax.random.normal(jax.random.key(2), (K,))
    np.testing.assert_allclose(root.mv(root.T.mv(chi)), covariance.mv(chi), atol=1e-3)
    np.testing.assert_allclose(root.mv(chi) @ other, chi @ root.T.mv(other), rtol=1e-3)
    draw = covariance.samples(jax.random.key(3), 1)[0]
    assert abs(jnp.std(draw) / variance**0.5 - 1) < 0.02

    differences = forecast_differences(forward, samples[:3], n_steps=1)
    assert differences.shape == (2, K)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak < LIMIT
