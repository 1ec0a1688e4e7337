"""Rings of 100,000 sites: whatever would form a D x D array (40 GB) cannot pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import (
    IncrementalFourDVar,
    LinearObs,
    Lorenz96Forward,
    Observations,
    Ring,
    RingCovariance,
    forecast_differences,
    spun_up,
    square_root,
)

K = 100_000
STATE = 4 * K


@pytest.fixture(scope="module")
def forward():
    return Lorenz96Forward(K=K, dt=0.05)


@pytest.fixture(scope="module")
def samples(forward):
    starts = forward.F + jax.random.normal(jax.random.key(0), (4, K))
    return jax.jit(jax.vmap(lambda x: spun_up(forward, x, 100)))(starts)


@pytest.fixture(scope="module")
def covariance(samples):
    return RingCovariance.from_samples(samples, Ring(K, (1,)), localisation=10.0)


def states_needed(function, *arguments):
    """What the compiled program needs at its fullest, in states."""
    memory = jax.jit(function).lower(*arguments).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / STATE


def test_a_background_from_few_samples_of_a_large_ring(samples, covariance):
    column = np.asarray(covariance.mv(jnp.zeros(K).at[0].set(1.0)))
    correlations = column / column[0]
    # Known for F = 8: standard deviation 3.6, next sites almost uncorrelated, second
    # ones anticorrelated. 400,000 values make this exact to a per cent or so.
    variance = 1 / K * jnp.sum(covariance.spectrum.real[:, 0, 0] * 2)
    assert 12.5 < variance < 14
    assert abs(correlations[1]) < 0.1
    assert np.abs(correlations[20:-20]).max() < 1e-5
    root = square_root(covariance)
    chi, other = (jax.random.normal(jax.random.key(seed), (K,)) for seed in (1, 2))
    np.testing.assert_allclose(root.mv(root.T.mv(chi)), covariance.mv(chi), atol=1e-3)
    np.testing.assert_allclose(root.mv(chi) @ other, chi @ root.T.mv(other), rtol=1e-3)
    draw = root.mv(jax.random.normal(jax.random.key(3), (K,)))
    assert abs(jnp.std(draw) / variance**0.5 - 1) < 0.02
    assert states_needed(lambda v: square_root(covariance).mv(v), chi) < 50


def test_forecast_differences_of_large_states(forward, samples):
    differences = forecast_differences(forward, samples[:3], n_steps=1)
    assert differences.shape == (2, K)
    needed = states_needed(lambda x: forecast_differences(forward, x, n_steps=1), samples[:3])
    assert needed < 100


def test_incremental_4dvar_keeps_the_states_of_a_window_and_no_matrix(forward, samples, covariance):
    """Memory goes as the states of the window; so a window twice as long takes twice as much."""
    method = IncrementalFourDVar(
        forward, samples[0], covariance, n_outer=1, n_inner=2, grow_window=False, n_starts=1
    )
    needed = []
    for n_steps in (4, 8, 16):
        values = jnp.zeros((2, 1))
        H = LinearObs(lambda time: jnp.zeros((1, K)).at[0, 0].set(1.0))
        seen = Observations((0, n_steps), values, H, 1.0)
        needed.append(states_needed(lambda seen: method.solve(seen).x0, seen))
    assert needed[-1] < 200
    growth = np.diff(needed) / [4, 8]
    assert (growth < 4).all()
    found = method.solve(seen)
    assert np.isfinite(found.diagnostics.cost)
    assert found.diagnostics.cost < found.diagnostics.cost_history[0]
