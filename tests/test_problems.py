"""The three generators: shapes, statistics, transformations, backgrounds."""

import jax
import numpy as np
import pytest

from assimilation import (
    Lorenz63Forward,
    Lorenz96Forward,
    Lorenz96TwoLevelForward,
    Ring,
    assim_batch,
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)
from assimilation.climatology import symmetrised

GENERATORS = {
    "l63": (generate_problem, 3, 50, 1000, 11 * 3),
    "l96": (generate_l96_problem, 40, 50, 500, 11 * 20),
    "l96_2l": (generate_l96_2l_problem, 72, 80, 200, 9 * 4),
}
each_generator = pytest.mark.parametrize("name", GENERATORS)


def problems_of(generate, n, **settings):
    keys = jax.random.split(jax.random.key(5), n)
    return jax.jit(jax.vmap(lambda key: generate(key=key, **settings)))(keys)


@each_generator
def test_a_problem_has_the_shapes_that_it_promises(name, key):
    generate, size, T_assim, T_total, n_obs = GENERATORS[name]
    problem = generate(key=key)
    assert problem.truth.shape == (T_total + 1, size)
    assert problem.obs.shape == problem.mask.shape == (T_assim + 1, size)
    assert problem.prior_mean.shape == (T_assim + 1, size)
    assert problem.prior_mean_state.shape == (size,)
    assert (problem.T_assim, problem.T_total) == (T_assim, T_total)
    assert problem.T_forecast == T_total - T_assim
    assert problem.B_op.in_structure().shape == (T_assim + 1, size)
    assert problem.R_op.in_structure().shape == (T_assim + 1, size)
    assert problem.B_op_state.as_matrix().shape == (size, size)
    assert int(problem.mask.sum()) == n_obs
    assert problem.dt == problem.forward.dt
    batch = assim_batch(problem)
    assert batch.input.shape == (1, T_assim + 1, size)
    assert batch.target is None


def test_the_system_parameters_are_read_from_the_model(key):
    problem = generate_l96_2l_problem(key=key, F=18.0)
    assert (problem.K, problem.J, problem.F) == (8, 8, 18.0)
    assert (problem.h, problem.c, problem.b, problem.D) == (1.0, 10.0, 10.0, 72)
    with pytest.raises(AttributeError, match="neither the problem nor its forward model"):
        problem.sigma  # noqa: B018


def test_only_every_second_slow_site_is_observed(key):
    problem = generate_l96_2l_problem(key=key)
    times, sites = np.nonzero(np.asarray(problem.mask))
    assert set(times) == set(range(0, 81, 10))
    assert set(sites) == {0, 2, 4, 6}
    np.testing.assert_array_equal(problem.obs[problem.mask == 0], 0)


@each_generator
def test_observation_noise_has_the_stated_variance(name):
    problems = problems_of(GENERATORS[name][0], 32, obs_std=0.7)
    truth = problems.truth[:, : problems.obs.shape[1]]
    errors = np.asarray((problems.obs - truth)[problems.mask == 1]) / 0.7
    n = errors.size
    # Five standard deviations of the mean and of the variance of n normal draws.
    assert abs(errors.mean()) < 5 / np.sqrt(n)
    assert abs(errors.var() - 1) < 5 * np.sqrt(2 / n)


@each_generator
def test_truths_differ_between_keys_and_repeat_with_the_key(name, key):
    generate = GENERATORS[name][0]
    again = generate(key=key)
    np.testing.assert_array_equal(generate(key=key).truth, again.truth)
    other = generate(key=jax.random.key(99))
    assert np.abs(other.truth[0] - again.truth[0]).max() > 0.5


def test_lorenz63_truths_are_on_the_attractor():
    """First states over 256 keys have the climatological mean and spread.

    Started beside a fixed point, they would have a tenth of that spread.
    """
    starts = np.asarray(problems_of(generate_problem, 256).truth[:, 0])
    climate = climatology_l63(Lorenz63Forward())
    std = np.sqrt(np.diag(climate.covariance))
    assert np.all(np.abs(starts.mean(axis=0) - climate.mean) < 5 * std / np.sqrt(256))
    np.testing.assert_allclose(starts.std(axis=0), std, rtol=0.2)
    on_each_wing = np.sum(starts[:, 0] > 0)
    assert 64 < on_each_wing < 192


def test_two_level_climatology_is_the_known_one():
    climate = climatology_l96_2l(Lorenz96TwoLevelForward())
    std = np.sqrt(np.diag(climate.covariance))
    np.testing.assert_allclose(climate.mean[:8], 3.5, atol=0.15)
    np.testing.assert_allclose(std[:8], 6.8, atol=0.2)
    np.testing.assert_allclose(climate.mean[8:].mean(), 0.10, atol=0.01)
    np.testing.assert_allclose(std[8:].mean(), 0.36, atol=0.02)
    sums = climate.samples[:, 8:].reshape(-1, 8, 8).sum(axis=2)
    correlation = np.corrcoef(climate.samples[:, 0], sums[:, 0])[0, 1]
    np.testing.assert_allclose(correlation, 0.83, atol=0.03)


def test_lorenz96_climatology_is_the_known_one():
    climate = climatology_l96(Lorenz96Forward())
    np.testing.assert_allclose(climate.mean, 2.3, atol=0.1)
    np.testing.assert_allclose(climate.std, 3.6, atol=0.1)


def test_symmetrised_covariance_is_the_average_over_rotations():
    rng = np.random.default_rng(0)
    ring = Ring(4, (1, 2))
    samples = rng.normal(size=(50, 12)) @ rng.normal(size=(12, 12))
    rotated = []
    for shift in range(4):
        slow, fast = np.roll(samples[:, :4], shift, 1), np.roll(samples[:, 4:], 2 * shift, 1)
        rotated.append(np.concatenate([slow, fast], axis=1))
    rotated = np.concatenate(rotated)
    mean, covariance = symmetrised(samples, ring)
    np.testing.assert_allclose(mean, rotated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(rotated.T, bias=True), atol=1e-10)


@each_generator
def test_backgrounds(name, key):
    generate, size, *_ = GENERATORS[name]
    isotropic = generate(key=key, background="isotropic")
    np.testing.assert_array_equal(isotropic.prior_mean_state, 0)
    np.testing.assert_allclose(isotropic.B_op_state.as_matrix(), 25 * np.eye(size))
    climatological = generate(key=key)
    matrix = np.asarray(climatological.B_op_state.as_matrix(), dtype=float)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    np.testing.assert_allclose(
        climatological.climatology_std, np.sqrt(np.trace(matrix) / size), rtol=1e-5
    )
    np.testing.assert_array_equal(isotropic.truth, climatological.truth)


@each_generator
def test_jit_and_vmap_give_the_plain_answer(name, key):
    generate = GENERATORS[name][0]
    plain = generate(key=key, spin_up=20)
    jitted = jax.jit(lambda key: generate(key=key, spin_up=20))(key)
    batched = jax.vmap(lambda key: generate(key=key, spin_up=20))(key[None])
    # Over 20 + 5 steps rounding has no time to grow.
    for other in (jitted.truth, batched.truth[0]):
        np.testing.assert_allclose(other[:5], plain.truth[:5], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(jitted.mask, plain.mask)
    assert jitted.forward == plain.forward


def test_a_batch_of_problems_stays_small(key):
    problems = problems_of(generate_l96_2l_problem, 128)
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(problems))
    assert problems.truth.shape == (128, 201, 72)
    # Truth, observations, masks, and one state covariance each: no (81 * 72)^2 arrays.
    assert n_bytes < 128 * 4 * (201 * 72 + 2 * 81 * 72 + 72 * 72 + 10 * 72)
