"""Methods against closed forms on linear problems, in double precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem
from oracle import kalman_update

from assimilation import (
    EachTime,
    LowRank,
    NonlinearObs,
    Observations,
    OptimalInterpolation,
    StrongFourDVar,
    ThreeDVar,
)

pytestmark = pytest.mark.usefixtures("float64")
seeds = pytest.mark.parametrize("seed", range(3))


@seeds
def test_oi_is_the_kalman_update_at_each_time(seed):
    linear = LinearProblem(seed)
    oi, seen = OptimalInterpolation.of(linear.problem), linear.observations
    updates = linear.updates()
    np.testing.assert_allclose(oi.solve(seen).states, [mean for mean, _ in updates], atol=1e-10)
    at = eqx.filter_jit(oi.analysis_covariance)
    for t, (_, covariance) in enumerate(updates):
        one = Observations(
            (0,), seen.values[t][None], seen.operator, seen.error[t][None], seen.mask[t][None]
        )
        np.testing.assert_allclose(at(one), covariance, atol=1e-10)


def test_twice_the_cost_of_oi_is_the_norm_of_the_departures():
    """2 J = d^T (H B H^T + R)^{-1} d, chi-square with as many degrees of freedom as values."""
    linear = LinearProblem(1)
    twice = 0.0
    for obs, mask in zip(linear.obs, linear.mask, strict=True):
        seen = mask > 0
        H, departure = linear.H[seen], (obs - linear.H @ linear.x_b)[seen]
        S = H @ linear.B @ H.T + linear.R[np.ix_(seen, seen)]
        twice += departure @ np.linalg.inv(S) @ departure
    for method in (OptimalInterpolation, ThreeDVar):
        found = method.of(linear.problem).solve(linear.observations).diagnostics
        np.testing.assert_allclose(found.cost, twice / 2, rtol=1e-9)
        np.testing.assert_allclose(found.normalised_cost, twice / linear.mask.sum(), rtol=1e-9)
        assert bool(found.converged)
        assert float(found.model_runs) == 0


def test_a_covariance_over_the_window_that_links_no_times_changes_nothing():
    linear = LinearProblem(0)
    problem, n_time = linear.problem, len(linear.obs)
    over_window = {
        "prior_mean": jnp.broadcast_to(linear.x_b, (n_time, 5)),
        "prior_cov_op": EachTime(problem.B_op_state, n_time),
        "obs_cov_op": EachTime(problem.R_op_state, n_time),
    }
    for method in (OptimalInterpolation, ThreeDVar):
        want = method.of(problem).solve(linear.observations).states
        found = method.of(problem, **over_window)(linear.observations.batch())
        np.testing.assert_allclose(found[0], want, atol=1e-9)


@seeds
def test_oi_in_space_time_is_one_kalman_update_of_the_window(seed):
    linear = LinearProblem(seed, n_steps=4)
    n_time = len(linear.obs)
    samples = np.random.default_rng(1).normal(size=(40, n_time, 5))
    prior, mean = LowRank.from_samples(jnp.asarray(samples)), samples.mean(axis=0)
    B = np.cov(samples.reshape(len(samples), -1).T)
    seen = linear.mask.ravel() > 0
    H = np.kron(np.eye(n_time), linear.H)[seen]
    R = np.kron(np.eye(n_time), linear.R)[np.ix_(seen, seen)]
    want, covariance = kalman_update(mean.ravel(), B, H, R, linear.obs.ravel()[seen])
    parts = {"prior_mean": jnp.asarray(mean), "prior_cov_op": prior}
    oi = OptimalInterpolation(**parts)
    np.testing.assert_allclose(oi.solve(linear.observations).states.ravel(), want, atol=1e-9)
    found = eqx.filter_jit(oi.analysis_covariance)(linear.observations)
    np.testing.assert_allclose(found, covariance, atol=1e-9)
    # The square root of a sampled covariance is singular; 3DVar does not mind.
    var = ThreeDVar(**parts).solve(linear.observations)
    np.testing.assert_allclose(var.states.ravel(), want, atol=1e-8)
    np.testing.assert_allclose(var.x0, var.states[0])


@pytest.mark.parametrize("grow_window", [True, False])
def test_strong_4dvar_is_the_kalman_smoother_at_the_first_time(grow_window):
    linear = LinearProblem(0)
    strong = StrongFourDVar.of(linear.problem, grow_window=grow_window, n_starts=1)
    found = strong.solve(linear.observations)
    np.testing.assert_allclose(found.x0, linear.smoother()[0][0], atol=1e-8)
    assert bool(found.diagnostics.converged)


def test_2j_is_chi_square_when_the_statistics_are_right():
    """Over 400 draws 2 J at the minimum has mean n_obs and variance 2 n_obs."""
    linear = LinearProblem(0, n_steps=4)
    n_draws, n_obs = 400, int(linear.mask.sum())
    rng = np.random.default_rng(2)
    draws = np.stack([linear.draw(rng) for _ in range(n_draws)])
    strong = StrongFourDVar.of(linear.problem, n_starts=1)
    seen = linear.observations

    def diagnostics(values):
        return strong.solve(eqx.tree_at(lambda o: o.values, seen, values)).diagnostics

    found = jax.jit(jax.vmap(diagnostics))(jnp.asarray(draws))
    twice = 2 * np.asarray(found.cost)
    assert abs(twice.mean() - n_obs) < 4 * np.sqrt(2 * n_obs / n_draws)
    # The variance of a sample variance of chi-square: mu_4 - sigma^4 = 12 n (n + 4) - 4 n^2.
    error = np.sqrt((8 * n_obs**2 + 48 * n_obs) / n_draws)
    assert abs(twice.var() - 2 * n_obs) < 4 * error
    np.testing.assert_allclose(found.normalised_cost, twice / n_obs)


def test_nonlinear_3dvar_finds_a_stationary_point_of_its_cost():
    linear = LinearProblem(2)
    H = jnp.asarray(linear.H)
    operator = NonlinearObs(lambda x: jnp.tanh(H @ x))
    seen = linear.observations
    seen = Observations(seen.times, seen.values, operator, seen.error, seen.mask)
    analysis = ThreeDVar.of(linear.problem, rtol=1e-14).solve(seen).states
    B_inverse, variance = np.linalg.inv(linear.B), np.diag(linear.R)

    @jax.jit
    @jax.grad
    def gradient(x, obs, mask):
        background = 0.5 * (x - linear.x_b) @ B_inverse @ (x - linear.x_b)
        return background + 0.5 * jnp.sum(mask * (jnp.tanh(H @ x) - obs) ** 2 / variance)

    for x, obs, mask in zip(analysis, linear.obs, linear.mask, strict=True):
        at_background = jnp.linalg.norm(gradient(jnp.asarray(linear.x_b), obs, mask))
        assert jnp.linalg.norm(gradient(x, obs, mask)) <= 1e-5 * (1 + at_background)


@pytest.mark.parametrize("method", [OptimalInterpolation, ThreeDVar, StrongFourDVar])
def test_a_background_moved_on_a_method_is_that_of_a_method_built_with_it(method):
    linear = LinearProblem(0)
    moved = jnp.asarray(linear.x_b) + 1.0
    built = method.of(linear.problem)
    replaced = eqx.tree_at(lambda m: m.prior_mean, built, moved).solve(linear.observations)
    fresh = method.of(linear.problem, prior_mean=moved).solve(linear.observations)
    np.testing.assert_allclose(replaced.x0, fresh.x0, atol=1e-12)
    linear.x_b = np.asarray(moved)
    want = linear.smoother()[0][0] if method is StrongFourDVar else linear.updates()[0][0]
    np.testing.assert_allclose(replaced.x0, want, atol=1e-8)


@pytest.mark.parametrize("method", [OptimalInterpolation, ThreeDVar, StrongFourDVar])
def test_methods_run_under_jit_and_vmap_and_on_batches(method):
    first, second = LinearProblem(0).observations, LinearProblem(1).observations
    # One model, two windows.
    second = eqx.tree_at(lambda o: o.operator, second, first.operator)
    built = method.of(LinearProblem(0).problem)
    plain = [built.solve(window).x0 for window in (first, second)]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, second)
    found = jax.jit(jax.vmap(lambda window: built.solve(window).x0))(both)
    np.testing.assert_allclose(found, jnp.stack(plain), atol=1e-9)
    batch = first.batch()
    answer = built(batch)
    assert answer.shape == ((1, 5) if method is StrongFourDVar else (1, 9, 5))
    x0 = answer[0] if method is StrongFourDVar else answer[0, 0]
    np.testing.assert_allclose(x0, plain[0], atol=1e-9)
    np.testing.assert_allclose(eqx.filter_jit(built)(batch), answer, atol=1e-9)
