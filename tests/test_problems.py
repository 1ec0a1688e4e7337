"""The three generators: shapes, statistics, transformations, backgrounds, a wrong model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import (
    Lorenz63Forward,
    Lorenz96Forward,
    Lorenz96TwoLevelForward,
    assim_batch,
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    free_forecast,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)

GENERATORS = {
    "l63": (generate_problem, 3, 50, 1000, 11 * 3),
    "l96": (generate_l96_problem, 40, 50, 500, 11 * 20),
    "l96_2l": (generate_l96_2l_problem, 72, 80, 200, 9 * 4),
}
each_generator = pytest.mark.parametrize("name", GENERATORS)


@functools.cache
def plain(name, seed=11, **settings):
    generate = GENERATORS[name][0]
    return jax.jit(lambda key: generate(key=key, **settings))(jax.random.key(seed))


def problems_of(generate, n, **settings):
    keys = jax.random.split(jax.random.key(5), n)
    return jax.jit(jax.vmap(lambda key: generate(key=key, **settings)))(keys)


@each_generator
def test_a_problem_has_the_shapes_that_it_promises(name):
    _, size, T_assim, T_total, n_obs = GENERATORS[name]
    problem = plain(name)
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


def test_the_system_parameters_are_read_from_the_model():
    problem = plain("l96_2l")
    assert (problem.K, problem.J, problem.D) == (8, 8, 72)
    assert [float(problem.F), float(problem.h), float(problem.c)] == [20.0, 1.0, 10.0]
    with pytest.raises(AttributeError, match="sigma"):
        problem.sigma  # noqa: B018
    assert not hasattr(problem, "step")


def test_only_every_second_slow_site_is_observed():
    problem = plain("l96_2l")
    times, sites = np.nonzero(np.asarray(problem.mask))
    assert set(times) == set(range(0, 81, 10))
    assert set(sites) == {0, 2, 4, 6}
    np.testing.assert_array_equal(problem.obs[problem.mask == 0], 0)


def test_two_sites_of_eight_may_be_observed():
    assert set(np.nonzero(np.asarray(plain("l96_2l", site_every=5).mask))[1]) == {0, 5}


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
def test_truths_differ_between_keys_and_repeat_with_the_key(name):
    problem, other = plain(name), plain(name, seed=99)
    again = problems_of(GENERATORS[name][0], 2)
    assert np.abs(other.truth[0] - problem.truth[0]).max() > 0.5
    np.testing.assert_array_equal(again.truth, problems_of(GENERATORS[name][0], 2).truth)
    assert np.abs(again.truth[0, 0] - again.truth[1, 0]).max() > 0.5


def test_what_one_time_shows_does_not_depend_on_the_other_times():
    often, seldom = plain("l63"), plain("l63", obs_every=10)
    np.testing.assert_array_equal(seldom.obs[::10], often.obs[::10])
    assert not seldom.mask[5].any()
    assert often.mask[5].all()


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


@each_generator
def test_backgrounds(name):
    size = GENERATORS[name][1]
    isotropic = plain(name, background="isotropic")
    np.testing.assert_array_equal(isotropic.prior_mean_state, 0)
    np.testing.assert_allclose(isotropic.B_op_state.as_matrix(), 25 * np.eye(size))
    climatological = plain(name)
    matrix = np.asarray(climatological.B_op_state.as_matrix(), dtype=float)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    for problem in (isotropic, climatological):
        std = np.sqrt(np.trace(matrix) / size)
        np.testing.assert_allclose(problem.climatology_std, std, rtol=1e-5)
    np.testing.assert_array_equal(isotropic.truth, climatological.truth)


@each_generator
def test_jit_and_vmap_give_the_plain_answer(name, key):
    generate = GENERATORS[name][0]
    eager = generate(key=key, spin_up=20)
    jitted = plain(name, spin_up=20)
    batched = jax.vmap(lambda key: generate(key=key, spin_up=20))(key[None])
    # Over 20 + 5 steps rounding has no time to grow.
    for other in (jitted.truth, batched.truth[0]):
        np.testing.assert_allclose(other[:5], eager.truth[:5], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(jitted.mask, eager.mask)
    np.testing.assert_array_equal(batched.mask[0], eager.mask)
    for ours, theirs in zip(*map(jax.tree.leaves, (jitted.forward, eager.forward)), strict=True):
        assert float(ours) == pytest.approx(float(theirs))


def test_a_batch_of_problems_stays_small():
    problems = problems_of(generate_l96_2l_problem, 128)
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(problems))
    assert problems.truth.shape == (128, 201, 72)
    # Truth, one background each, and what nine times show with its errors and masks.
    assert n_bytes < 128 * 4 * (201 * 72 + 72 * 73 + 3 * 9 * 72 + 10)


def test_the_parameterised_model_sees_the_slow_ring_of_the_same_truth():
    whole, slow = plain("l96_2l"), plain("l96_2l", model="parameterised")
    assert slow.D == 8
    np.testing.assert_allclose(slow.truth, whole.truth[:, :8], rtol=1e-5)
    np.testing.assert_array_equal(slow.mask, whole.mask[:, :8])
    B = np.asarray(slow.B_op_state.as_matrix())
    np.testing.assert_allclose(B, whole.B_op_state.as_matrix()[:8, :8], rtol=1e-3, atol=1e-2)


def test_the_fitted_polynomial_stands_for_the_fast_variables():
    """It takes the mean of their effect, and most of its variance, at states not fitted to."""
    whole = problems_of(generate_l96_2l_problem, 64)
    model = plain("l96_2l", model="parameterised").forward
    two_level = plain("l96_2l").forward
    states = whole.truth[:, ::100].reshape(-1, 72)
    exact = np.asarray(jax.vmap(two_level.tendency)(states))[:, :8]
    bare = np.asarray(jax.vmap(Lorenz96Forward(K=8, F=20.0).tendency)(states[:, :8]))
    fitted = np.asarray(jax.vmap(model.tendency)(states[:, :8]))
    effect, left = exact - bare, exact - fitted
    assert abs(left.mean()) < 0.1 * abs(effect.mean())
    assert left.var() < 0.4 * effect.var()


def test_model_error_grows_between_observations_as_Q_says():
    """Drift over ten steps from the truth: mean square 10 trace(Q), at states not fitted to."""
    whole = problems_of(generate_l96_2l_problem, 64)
    problem = plain("l96_2l", model="parameterised")
    start, end = whole.truth[:, ::50][:, :4], whole.truth[:, 10::50][:, :4]
    ten = jax.vmap(jax.vmap(lambda x: free_forecast(problem.forward, x, 10)[-1]))
    drift = np.asarray(end[..., :8] - ten(start[..., :8]))
    mean_square = np.mean(np.sum(drift**2, axis=-1))
    Q = np.asarray(problem.Q_op_state.as_matrix())
    np.testing.assert_allclose(10 * np.trace(Q), mean_square, rtol=0.3)
    # The same at each site: Q is a covariance on the ring.
    np.testing.assert_allclose(Q, np.roll(Q, (3, 3), (0, 1)), rtol=1e-4, atol=1e-7)


def test_problems_of_different_noise_side_by_side(key):
    """A setting may be a traced value."""
    stds = jnp.array([0.1, 1.0])
    twins = jax.vmap(lambda std: generate_problem(key=key, obs_std=std))(stds)
    errors = (twins.obs - twins.truth[:, :51]) * twins.mask
    np.testing.assert_allclose(errors[1], 10 * errors[0], atol=1e-4)
    np.testing.assert_allclose(twins.observations.error[:, 0, 0], stds**2, rtol=1e-6)
