"""Scores of an uncertainty: closed forms, and what a reliable ensemble must give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from assimilation import (
    coverage,
    crps,
    energy_score,
    rank_histogram,
    ranks,
    rmse,
    spread_error_ratio,
    valid_time,
)


def reliable(key, n_members=19, n_cases=4000, width=1.0):
    """Members and truth about a common, unknown centre; `width` 1 is reliable."""
    k_centre, k_members, k_truth = jax.random.split(key, 3)
    centre = 3 * jax.random.normal(k_centre, (n_cases,))
    members = centre + width * jax.random.normal(k_members, (n_members, n_cases))
    return members, centre + jax.random.normal(k_truth, (n_cases,))


def test_crps_is_the_mean_over_pairs_of_members(key, float64):
    members, truth = reliable(key, 7, 5)
    pairs = jnp.abs(members[:, None] - members[None]).sum((0, 1)) / (7 * 6)
    expected = jnp.abs(members - truth).mean(0) - pairs / 2
    np.testing.assert_allclose(crps(members, truth), expected, atol=1e-12)


def test_crps_of_samples_has_the_closed_form_as_its_mean(key):
    members = 2 + 3 * jax.random.normal(key, (20_000, 3))
    truth = jnp.array([-1.0, 2.0, 7.0])
    # Gneiting & Raftery (2007, section 4.2), for N(2, 3^2).
    z = (truth - 2) / 3
    expected = 3 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    np.testing.assert_allclose(crps(members, truth), expected, atol=0.05)


def test_the_energy_score_is_the_mean_over_pairs_and_the_crps_of_one_number(key, float64):
    k_members, k_truth = jax.random.split(key)
    members = jax.random.normal(k_members, (7, 4, 3))
    truth = jax.random.normal(k_truth, (4, 3))
    norm = np.linalg.norm
    pairs = norm(members[:, None] - members[None], axis=-1).sum((0, 1)) / (7 * 6)
    expected = norm(members - truth, axis=-1).mean(0) - pairs / 2
    np.testing.assert_allclose(energy_score(members, truth), expected, atol=1e-12)
    one = energy_score(members[..., :1], truth[..., :1])
    np.testing.assert_allclose(one, crps(members, truth)[:, 0], atol=1e-12)


def test_the_energy_score_is_proper(key):
    """On average nothing beats the distribution that the truth is from."""
    k_truth, k_members = jax.random.split(key)
    truth = jax.random.normal(k_truth, (4000, 3))
    members = jax.random.normal(k_members, (30, 4000, 3))
    right = energy_score(members, truth)
    for wrong in (0.7 * members, 1.4 * members, members + 0.3):
        worse = np.asarray(energy_score(wrong, truth) - right)
        assert worse.mean() > 3 * worse.std() / np.sqrt(worse.size)


@pytest.mark.parametrize("n_members", [2, 5, 40])
def test_spread_matches_error_for_a_reliable_ensemble_of_any_size(key, n_members):
    members, truth = reliable(key, n_members, 20_000)
    assert spread_error_ratio(members, truth) == pytest.approx(1.0, abs=0.03)
    narrow, truth = reliable(key, n_members, 20_000, width=0.5)
    assert spread_error_ratio(narrow, truth) < 0.75


def test_coverage_of_a_normal_distribution(key):
    truth = jax.random.normal(key, (20_000,))
    zero, one = jnp.zeros(20_000), jnp.ones(20_000)
    assert coverage(zero, one, truth) == pytest.approx(0.683, abs=0.015)
    assert coverage(zero, one, truth, n_std=2.0) == pytest.approx(0.954, abs=0.01)


def test_ranks_of_a_reliable_ensemble_are_flat_and_of_a_narrow_one_are_not(key):
    members, truth = reliable(key)
    flat = rank_histogram(ranks(members, truth), 19, 10)
    assert flat.inside == 1.0
    assert flat.frequency.sum() == pytest.approx(1.0)
    narrow, truth = reliable(key, width=0.5)
    valley = rank_histogram(ranks(narrow, truth), 19, 10)
    assert valley.frequency[0] > valley.high
    assert valley.frequency[-1] > valley.high


def test_band_holds_all_bins_of_flat_histograms_as_often_as_stated():
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 20, size=(300, 200))
    inside = [rank_histogram(jnp.asarray(r), 19, 10, level=0.9).inside == 1 for r in flat]
    assert 0.87 < np.mean(inside) < 1


def test_ranks_count_the_members_below(key):
    members = jnp.array([[1.0], [2.0], [3.0]])
    assert int(ranks(members, jnp.array([2.5]))[0]) == 2
    assert int(ranks(members, jnp.array([2.0]))[0]) == 1


def test_band_widens_when_fewer_draws_are_independent(key):
    members, truth = reliable(key, 9, 1000)
    all_free = rank_histogram(ranks(members, truth), 9, 5)
    few_free = rank_histogram(ranks(members, truth), 9, 5, n_independent=50)
    assert few_free.low < all_free.low < 0.2 < all_free.high < few_free.high


def test_rmse_over_everything_and_over_an_axis():
    estimate, truth = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    assert float(rmse(estimate, truth)) == pytest.approx(2.5)
    np.testing.assert_allclose(rmse(estimate, truth, axis=-1), [12.5**0.5, 0])


@pytest.mark.parametrize(
    ("trace", "steps"),
    [
        ([9, 9, 0.1, 0.2, 0.6, 0.1], 2),
        ([0, 0, 0.7, 0, 0, 0], 0),
        ([9, 9, 0.1, 0.1, 0.1, 0.5], 3),
        ([0, 0, 0.1, np.nan, 0.1, 0.1], 1),
        ([0, 0, 0.1, 0.1, 0.1, np.inf], 3),
    ],
)
def test_valid_time_ends_where_the_error_first_exceeds_the_threshold(trace, steps):
    got = valid_time(jnp.array(trace), start=2, dt=0.1, threshold=0.5)
    assert float(got) == pytest.approx(0.1 * steps)


def test_bad_arguments_are_named():
    members, truth = jnp.zeros((4, 3)), jnp.zeros(3)
    with pytest.raises(ValueError, match="samples has shape"):
        crps(members, jnp.zeros(5))
    with pytest.raises(ValueError, match="samples has 1 members"):
        energy_score(members[:1], truth)
    with pytest.raises(ValueError, match="samples has 1 members"):
        spread_error_ratio(members[:1], truth)
    with pytest.raises(ValueError, match="n_bins=3 does not divide"):
        rank_histogram(ranks(members, truth), 4, 3)
    with pytest.raises(ValueError, match="ranks must lie in"):
        rank_histogram(jnp.array([7]), 4, 5)
