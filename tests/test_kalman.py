"""The Kalman filter and smoother against linear theory, and the extended one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da

pytestmark = pytest.mark.usefixtures("float64")


def linear_problem(seed, **settings):
    linear = LinearProblem(seed, error_scale=0.2, **settings)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    return linear, da.KalmanFilter.of(linear.problem, model_err_cov_op=da.dense(linear.Q[0]))


@pytest.mark.parametrize("full_R", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_filter_and_smoother_of_a_linear_model_are_those_of_theory(seed, full_R):
    linear, method = linear_problem(seed, full_R=full_R)
    _, filtered = linear.filter()
    found = method.solve(linear.observations)
    np.testing.assert_allclose(found.states, [mean for mean, _ in filtered], atol=1e-10)
    np.testing.assert_allclose(found.covariance, filtered[-1][1], atol=1e-10)
    means, covariances = linear.smoother()
    smoothed = method.smooth(linear.observations)
    np.testing.assert_allclose(smoothed.mean, means, atol=1e-9)
    np.testing.assert_allclose(smoothed.covariance, covariances, atol=1e-9)


def test_a_cycle_is_the_filter():
    linear, method = linear_problem(3)
    found = da.cycle(method, linear.problem)
    whole = method.solve(linear.observations)
    np.testing.assert_allclose(found.analyses.x0, whole.states, atol=1e-10)
    np.testing.assert_allclose(found.analyses.covariance[-1], whole.covariance, atol=1e-10)
    by_three = da.cycle(method, linear.problem, n_steps=3)
    np.testing.assert_allclose(by_three.analyses.states.reshape(9, 5), whole.states, atol=1e-10)


@pytest.mark.parametrize("full_R", [False, True])
def test_the_likelihood_is_the_density_of_all_observations(full_R):
    linear, method = linear_problem(4, full_R=full_R)
    n_times, n_obs = linear.mask.shape
    # Mean and covariance of all observations, from the runs of unit changes.
    means, rows, cov = [], [], np.zeros((n_times * n_obs, n_times * n_obs))
    state_cov, x = linear.B, linear.x_b
    powers = [np.eye(5)]
    covs = []
    for t in range(n_times):
        means.append(linear.H @ x)
        covs.append(state_cov)
        x = linear.M @ x
        if t < len(linear.Q):
            state_cov = linear.M @ state_cov @ linear.M.T + linear.Q[t]
        powers.append(linear.M @ powers[-1])
    for s in range(n_times):
        for t in range(s, n_times):
            block = linear.H @ powers[t - s] @ covs[s] @ linear.H.T + (s == t) * linear.R
            cov[t * n_obs : (t + 1) * n_obs, s * n_obs : (s + 1) * n_obs] = block
            cov[s * n_obs : (s + 1) * n_obs, t * n_obs : (t + 1) * n_obs] = block.T
    rows = np.flatnonzero(linear.mask.ravel())
    from scipy.stats import multivariate_normal

    expected = multivariate_normal.logpdf(
        linear.obs.ravel()[rows], np.concatenate(means)[rows], cov[np.ix_(rows, rows)]
    )
    found = method.solve(linear.observations).diagnostics.log_likelihood
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_spread_does_not_depend_on_what_was_observed():
    linear, method = linear_problem(5)
    other = linear.observations.with_errors(10 * jnp.ones(linear.mask.shape))
    one, two = method.solve(linear.observations), method.solve(other)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-12)
    assert np.abs(one.states - two.states).max() > 1


def test_the_smoother_at_the_first_time_is_strong_4dvar():
    linear = LinearProblem(6)
    smoothed = da.KalmanFilter.of(linear.problem).smooth(linear.observations)
    found = da.StrongFourDVar.of(linear.problem, rtol=1e-12).solve(linear.observations)
    np.testing.assert_allclose(smoothed.mean[0], found.x0, atol=1e-8)


def test_inflation_multiplies_the_covariance_after_each_update():
    linear, _ = linear_problem(7, mask=np.ones((2, 3)), n_steps=1)
    inflated = da.KalmanFilter.of(
        linear.problem, model_err_cov_op=da.dense(linear.Q[0]), inflation=2.0
    ).solve(linear.observations)
    linear_by_hand = linear.update(linear.x_b, linear.B, 0)
    mean, cov = linear.M @ linear_by_hand[0], 2 * linear.M @ linear_by_hand[1] @ linear.M.T
    mean, cov = linear.update(mean, cov + linear.Q[0], 1)
    np.testing.assert_allclose(inflated.states[1], mean, atol=1e-10)
    np.testing.assert_allclose(inflated.covariance, 2 * cov, atol=1e-10)


def test_the_extended_filter_uses_the_tangent_linear_model_and_operator():
    """One step and one nonlinear value, written out."""
    problem = da.generate_problem(key=jax.random.key(0), T_assim=5, T_total=6)
    operator = da.NonlinearObs(lambda x: jnp.stack([x[0] * x[1]]))
    seen = da.Observations((1,), [[3.0]], operator, 0.5)
    model = problem.forward
    x, P = jnp.array([1.0, 2.0, 25.0]), da.dense(jnp.diag(jnp.array([1.0, 2.0, 3.0])))
    method = da.KalmanFilter(model, x, P)
    M = jax.jacfwd(lambda x: model.step(x, model.dt))(x)
    forecast = model.step(x, model.dt)
    cov = M @ P.as_matrix() @ M.T
    H = jnp.array([[forecast[1], forecast[0], 0.0]])
    K = cov @ H.T / (H @ cov @ H.T + 0.25)
    found = method.solve(seen)
    expected = forecast + K[:, 0] * (3.0 - forecast[0] * forecast[1])
    np.testing.assert_allclose(found.states, jnp.stack([x, expected]), rtol=1e-10)
    np.testing.assert_allclose(found.covariance, cov - K @ H @ cov, rtol=1e-9, atol=1e-10)


def test_parameters_can_be_learned_from_the_likelihood():
    """Its derivative with respect to the inflation is that of finite differences."""
    linear, method = linear_problem(8)

    def likelihood(inflation):
        from dataclasses import replace

        return (
            replace(method, inflation=inflation)
            .solve(linear.observations)
            .diagnostics.log_likelihood
        )

    slope = jax.grad(likelihood)(1.1)
    finite = (likelihood(1.1 + 1e-5) - likelihood(1.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, finite, rtol=1e-6)


def test_rounding_leaves_no_negative_variance():
    """Lorenz-63 without model errors: the covariance has one direction, and rounding has others."""
    jax.config.update("jax_enable_x64", False)
    problem = da.lorenz63_sakov2012(key=jax.random.key(0), n_cycles=150)
    found = da.cycle(da.KalmanFilter.of(problem), problem)
    assert not found.diverged
    smallest, _, largest = np.linalg.eigvalsh(np.asarray(found.analyses.covariance)).T
    assert np.all(smallest > -1e-4 * largest)
