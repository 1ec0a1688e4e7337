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
    Lorenz63Forward,
    Lorenz96Forward,
    Lorenz96TwoLevelForward,
    OptimalInterpolation,
    Ring,
    RingCovariance,
    ThreeDVar,
    scaled,
    square_root,
)
from assimilation.covariances.localisation import gaspari_cohn, ring_taper
from assimilation.covariances.ring import symmetrised

# Sites, and entries of each site in one block or two.
SIZES = st.tuples(st.integers(3, 7), st.lists(st.integers(1, 2), min_size=1, max_size=2).map(tuple))

pytestmark = pytest.mark.usefixtures("float64")


def sampled(ring, n=4, localisation=None):
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(n, ring.size)) @ rng.normal(size=(ring.size, ring.size))
    return samples, RingCovariance.from_samples(samples, ring, localisation)


def rotated(values, ring, shift):
    """States (..., D) with each block of entries turned by `shift` sites, in plain NumPy."""
    blocks, start = [], 0
    for size in ring.per_site:
        stop = start + ring.n_sites * size
        blocks.append(np.roll(values[..., start:stop], shift * size, axis=-1))
        start = stop
    return np.concatenate(blocks, axis=-1)


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES, seed=st.integers(0, 2**31 - 1))
def test_symmetrised_covariance_is_the_average_over_rotations(sizes, seed):
    ring = Ring(*sizes)
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(20, ring.size)) @ rng.normal(size=(ring.size, ring.size))
    all_of_them = np.concatenate([rotated(samples, ring, s) for s in range(ring.n_sites)])
    mean, covariance = symmetrised(samples, ring)
    np.testing.assert_allclose(mean, all_of_them.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(all_of_them.T, bias=True), atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES, seed=st.integers(0, 2**31 - 1))
def test_rotations_are_those_that_leave_the_mask_as_it_is(sizes, seed):
    ring = Ring(*sizes)
    rng = np.random.default_rng(seed)
    period = rng.integers(1, ring.n_sites + 1)
    site = np.arange(ring.n_sites) % period == 0
    mask = np.concatenate([np.repeat(site, size) for size in ring.per_site])[None] * 1.0
    state = rng.normal(size=ring.size)
    want = [
        rotated(state, ring, shift)
        for shift in range(ring.n_sites)
        if (rotated(mask, ring, shift) == mask).all()
    ]
    found = [state[order] for order in ring.rotations(mask)]
    np.testing.assert_array_equal(found[0], state)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(want, axis=0))


@settings(deadline=None, max_examples=4)
@given(sizes=SIZES, seed=st.integers(0, 2**31 - 1))
def test_a_window_goes_to_sites_and_back(sizes, seed):
    ring = Ring(*sizes)
    window = np.random.default_rng(seed).normal(size=(2, 3, ring.size))
    channels = ring.to_sites(jnp.asarray(window))
    assert channels.shape == (ring.n_sites, 2 * 3 * sum(ring.per_site))
    np.testing.assert_array_equal(ring.from_sites(channels, window.shape), window)
    turned = ring.to_sites(jnp.asarray(rotated(window, ring, 1)))
    np.testing.assert_array_equal(turned, np.roll(channels, 1, axis=0))


def test_the_ring_of_a_model():
    assert Ring.of(Lorenz96Forward(K=5)) == Ring(5, (1,))
    assert Ring.of(Lorenz96TwoLevelForward(K=5, J=3)) == Ring(5, (1, 3))
    assert Ring.of(Lorenz63Forward()) is None


def draws_of(covariance, key, n):
    """Draws (n, D) from N(0, B)."""
    white = jax.random.normal(key, (n, covariance.in_size()))
    return jax.vmap(covariance.square_root().mv)(white)


def test_estimate_is_unbiased():
    ring = Ring(6, (1, 1))
    index = ring.by_site()
    true = RingCovariance.from_samples(
        jax.random.normal(jax.random.key(0), (30, 12)) + jnp.arange(12), ring
    )
    draws = 5.0 + draws_of(true, jax.random.key(1), 3 * 8000).reshape(8000, 3, 12)
    spectra = jax.vmap(lambda x: RingCovariance.from_samples(x, ring).spectrum)(draws)
    error = 5 * jnp.std(jnp.abs(spectra), axis=0) / 8000**0.5
    assert index.shape == (6, 2)
    assert jnp.all(jnp.abs(spectra.mean(axis=0) - true.spectrum) < error + 1e-12)


@settings(deadline=None, max_examples=4)
@given(sizes=SIZES, localisation=st.none() | st.floats(0.5, 5.0))
def test_operator_agrees_with_its_matrix(sizes, localisation):
    ring = Ring(*sizes)
    samples, covariance = sampled(ring, 3 * ring.size, localisation)
    matrix = np.asarray(covariance.as_matrix())
    root = np.asarray(covariance.square_root().as_matrix())
    vector = jax.random.normal(jax.random.key(5), (len(matrix),))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(covariance.mv(vector), matrix @ vector, atol=1e-8)
    np.testing.assert_allclose(root @ root.T, matrix, atol=1e-8)
    np.testing.assert_allclose(lx.diagonal(covariance), np.diag(matrix), atol=1e-9)
    np.testing.assert_allclose(rotated(rotated(matrix, ring, 2).T, ring, 2).T, matrix, atol=1e-9)
    if localisation is None:
        # Without the mean, which alone tells dividing by n from dividing by n - 1.
        index = ring.by_site()
        centred = np.array(samples)
        centred[:, index] -= centred[:, index].mean(axis=1, keepdims=True)
        want = symmetrised(centred, ring)[1]
        np.testing.assert_allclose(
            RingCovariance.from_samples(centred, ring).as_matrix(), want, atol=1e-9
        )


def test_localisation_multiplies_the_matrix_by_the_taper():
    ring = Ring(9, (1,))
    samples, plain = sampled(ring)
    local = RingCovariance.from_samples(samples, ring, 1.5)
    distance = (np.arange(9)[:, None] - np.arange(9)) % 9
    np.testing.assert_allclose(
        local.as_matrix(), ring_taper(9, 1.5)[distance] * plain.as_matrix(), atol=1e-10
    )
    assert jnp.allclose(local.as_matrix()[0, 3:7], 0, atol=1e-12)


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


def test_draws_have_the_covariance():
    _, covariance = sampled(Ring(5, (1, 1)), 30)
    draws = draws_of(covariance, jax.random.key(6), 20000)
    error = jnp.abs(jnp.cov(draws, rowvar=False) - covariance.as_matrix())
    assert error.max() < 6 * jnp.abs(covariance.as_matrix()).max() / 20000**0.5


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
