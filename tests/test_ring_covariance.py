"""Circulant covariances by FFT against the same covariances as matrices."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assimilation import (
    Batch1D,
    LinearObs,
    OptimalInterpolation,
    Ring,
    RingCovariance,
    ThreeDVar,
    ring_taper,
    scaled,
    square_root,
)
from assimilation.covariances.ring import symmetrised
from assimilation.covariances.ring_covariance import gaspari_cohn

RINGS = [Ring(6, (1,)), Ring(7, (1,)), Ring(6, (1, 2)), Ring(5, (1, 3))]

pytestmark = pytest.mark.usefixtures("float64")


def sampled(ring, n=4, localisation=None):
    size = ring.n_sites * sum(ring.per_site)
    samples = jax.random.normal(jax.random.key(3), (n, size)) @ jax.random.normal(
        jax.random.key(4), (size, size)
    )
    return samples, RingCovariance.from_samples(samples, ring, localisation)


@pytest.mark.parametrize("ring", RINGS)
def test_large_sample_estimate_is_the_rotation_average(ring):
    samples, covariance = sampled(ring, 50)
    index = ring.by_site()
    # Without the mean, which alone tells dividing by n from dividing by n - 1.
    centred = np.array(samples)
    centred[:, index] -= centred[:, index].mean(axis=1, keepdims=True)
    covariance = RingCovariance.from_samples(centred, ring)
    np.testing.assert_allclose(covariance.as_matrix(), symmetrised(centred, ring)[1], atol=1e-10)


def test_estimate_is_unbiased():
    ring = Ring(6, (1, 1))
    index = ring.by_site()
    true = RingCovariance.from_samples(
        jax.random.normal(jax.random.key(0), (30, 12)) + jnp.arange(12), ring
    )
    draws = 5.0 + true.samples(jax.random.key(1), 3 * 20000).reshape(20000, 3, 12)
    spectra = jax.vmap(lambda x: RingCovariance.from_samples(x, ring).spectrum)(draws)
    error = 5 * jnp.std(jnp.abs(spectra), axis=0) / 20000**0.5
    assert index.shape == (6, 2)
    assert jnp.all(jnp.abs(spectra.mean(axis=0) - true.spectrum) < error + 1e-12)


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("localisation", [None, 1.0, 4.0])
def test_operator_agrees_with_its_matrix(ring, localisation):
    _, covariance = sampled(ring, 20, localisation)
    matrix = covariance.as_matrix()
    root = covariance.square_root()
    vector = jax.random.normal(jax.random.key(5), (len(matrix),))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
    np.testing.assert_allclose(covariance.mv(vector), matrix @ vector, atol=1e-9)
    np.testing.assert_allclose(root.as_matrix() @ root.as_matrix().T, matrix, atol=1e-9)
    np.testing.assert_allclose(root.T.mv(vector), root.as_matrix().T @ vector, atol=1e-9)
    np.testing.assert_allclose(
        covariance.inverse().mv(vector), jnp.linalg.solve(matrix, vector), rtol=1e-6
    )
    np.testing.assert_allclose(lx.diagonal(covariance), jnp.diag(matrix), atol=1e-10)


@pytest.mark.parametrize("ring", RINGS)
def test_rotating_the_ring_changes_nothing(ring):
    _, covariance = sampled(ring)
    index = ring.by_site()
    order, rotated = index.ravel(), np.roll(index, 2, axis=0).ravel()
    matrix = np.asarray(covariance.as_matrix())
    np.testing.assert_allclose(
        matrix[np.ix_(order, order)], matrix[np.ix_(rotated, rotated)], atol=1e-10
    )


def test_localisation_multiplies_the_matrix_by_the_taper():
    ring = Ring(9, (1,))
    samples, plain = sampled(ring)
    local = RingCovariance.from_samples(samples, ring, 1.5)
    distance = (np.arange(9)[:, None] - np.arange(9)) % 9
    np.testing.assert_allclose(
        local.as_matrix(), ring_taper(9, 1.5)[distance] * plain.as_matrix(), atol=1e-10
    )
    assert jnp.allclose(local.correlations()[3:7], 0, atol=1e-12)
    assert local.correlations()[0, 0, 0] == pytest.approx(1.0)


@settings(deadline=None, max_examples=60)
@given(n_sites=st.integers(3, 64), length=st.floats(0.3, 100.0))
def test_taper_is_a_covariance_for_every_length(n_sites, length):
    taper = ring_taper(n_sites, length)
    assert taper[0] == 1
    assert np.fft.rfft(taper).real.min() > -1e-12 * n_sites
    np.testing.assert_allclose(taper[1:], taper[1:][::-1], atol=1e-12)


def test_gaspari_cohn_is_smooth_where_its_pieces_meet():
    for r in (1.0, 2.0):
        near = gaspari_cohn(np.array([r - 2e-4, r - 1e-4, r, r + 1e-4, r + 2e-4]))
        slope = np.diff(near) / 1e-4
        assert np.ptp(slope) < 5e-3
    # Half-way to zero the published function stands at 5/24.
    found = gaspari_cohn(np.array([0.0, 1.0, 2.5]))
    np.testing.assert_allclose(found, [1, 5 / 24, 0], atol=1e-15)


def test_samples_have_the_covariance():
    _, covariance = sampled(Ring(5, (1, 1)), 30)
    draws = covariance.samples(jax.random.key(6), 40000)
    error = jnp.abs(jnp.cov(draws, rowvar=False) - covariance.as_matrix())
    assert error.max() < 6 * jnp.abs(covariance.as_matrix()).max() / 40000**0.5


def test_methods_take_it_for_the_matrix_that_it_is():
    ring = Ring(6, (1, 2))
    _, covariance = sampled(ring, 30)
    matrix = lx.MatrixLinearOperator(covariance.as_matrix(), lx.positive_semidefinite_tag)
    H = LinearObs(jnp.eye(18)[::3])
    R = lx.DiagonalLinearOperator(jnp.full(6, 0.5))
    obs = jax.random.normal(jax.random.key(8), (1, 2, 6))
    batch = Batch1D(input=obs, mask=jnp.ones_like(obs))
    exact = OptimalInterpolation(jnp.zeros(18), scaled(matrix, 0.3), H, R)(batch)
    for method in (OptimalInterpolation, ThreeDVar):
        analysis = jax.jit(lambda s, m=method: m(jnp.zeros(18), scaled(covariance, s), H, R)(batch))
        np.testing.assert_allclose(analysis(0.3), exact, atol=1e-6)
    root = square_root(scaled(covariance, 4.0))
    np.testing.assert_allclose(root.as_matrix(), 2 * covariance.square_root().as_matrix())


def test_bad_input_is_named():
    ring = Ring(6, (1,))
    with pytest.raises(ValueError, match=r"samples has shape \(3, 5\)"):
        RingCovariance.from_samples(jnp.ones((3, 5)), ring)
    with pytest.raises(ValueError, match="samples has 1 member: pass two or more"):
        RingCovariance.from_samples(jnp.ones((1, 6)), ring)
    with pytest.raises(ValueError, match="length=-1"):
        RingCovariance.from_samples(jnp.ones((3, 6)), ring, -1.0)
    with pytest.raises(ValueError, match=r"spectrum has shape \(3, 1, 1\)"):
        RingCovariance(jnp.ones((3, 1, 1), complex), ring)
    with pytest.raises(ValueError, match="not Hermitian"):
        RingCovariance(1j * jnp.ones((4, 1, 1)), ring)
    with pytest.raises(ValueError, match="factor=-1"):
        scaled(sampled(ring)[1], -1.0)
