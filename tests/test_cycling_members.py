"""Cycles that carry members: ensemble Kalman filters, written in three functions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem

from assimilation import (
    Analysis,
    Cyclable,
    Observations,
    OptimalInterpolation,
    Problem,
    cycle,
    spun_up,
)

pytestmark = pytest.mark.usefixtures("float64")


class Filter(eqx.Module):
    """Members of a model with errors, analysed by a Kalman gain of their own covariance."""

    problem: Problem
    Q_root: jax.Array
    n: int = eqx.field(static=True)

    def initialise(self, key):
        background = self.problem.background
        root = jnp.linalg.cholesky(background.covariance.as_matrix())
        white = jax.random.normal(key, (self.n, len(root)))
        return background.mean + (white - white.mean(axis=0)) @ root.T

    def gain(self, members, seen):
        """Kalman's gain (D, N), with what is missing left out, and R of one time."""
        H = seen.mask[0][:, None] * seen.operator.H_mat.as_matrix()
        P = jnp.cov(members, rowvar=False)
        R = jnp.diag(seen.filled_error()[0])
        return P @ H.T @ jnp.linalg.inv(H @ P @ H.T + R), H


class Stochastic(Filter):
    """Each member sees observations of its own (Burgers, van Leeuwen & Evensen 1998).

    Carries the members, and the root of the covariance of what the model has erred by since
    the last analysis: none before the first one.
    """

    def initialise(self, key):
        return super().initialise(key), jnp.zeros_like(self.Q_root)

    def analyse(self, prior, observations, key):
        members, error_root = prior
        k_model, k_noise = jax.random.split(key)
        members = members + jax.random.normal(k_model, members.shape) @ error_root.T
        gain, H = self.gain(members, observations)
        noise = jax.random.normal(k_noise, (self.n, *observations.values.shape))
        seen = jax.vmap(lambda white: observations.with_errors(white).values[0])(noise)
        members = members + (seen - members @ H.T) @ gain.T
        return Analysis(members.mean(axis=0), members=members)

    def predict(self, analysis, n_steps, key):
        run = jax.vmap(lambda x: spun_up(self.problem.forward, x, n_steps))
        return run(analysis.members), self.Q_root


class Transformed(Filter):
    """Deterministic: anomalies times a square root (Hunt et al. 2007), without model errors."""

    def analyse(self, prior, observations, key):
        mean, H = prior.mean(axis=0), observations.operator.H_mat.as_matrix()
        X = (prior - mean).T
        W = observations.inverse_root()[0]
        Y = W[:, None] * (H @ X)
        departure = W * (observations.values[0] - H @ mean)
        values, vectors = jnp.linalg.eigh((self.n - 1) * jnp.eye(self.n) + Y.T @ Y)
        weights = vectors @ (vectors.T @ (Y.T @ departure) / values)
        root = vectors * jnp.sqrt((self.n - 1) / values) @ vectors.T
        members = (mean[:, None] + X @ (weights[:, None] + root)).T
        return Analysis(members.mean(axis=0), members=members)

    def predict(self, analysis, n_steps, key):
        return jax.vmap(lambda x: spun_up(self.problem.forward, x, n_steps))(analysis.members)


def linear_problem(error_scale):
    linear = LinearProblem(5, n_obs=3, n_steps=7, error_scale=error_scale)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    return linear


def test_a_stochastic_filter_of_many_members_is_close_to_the_kalman_filter():
    linear, n = linear_problem(0.2), 4000
    method = Stochastic(linear.problem, jnp.linalg.cholesky(linear.Q[0]), n)
    assert isinstance(method, Cyclable)
    found = jax.jit(lambda: cycle(method, linear.problem))()
    assert found.backgrounds[0].shape == (8, n, 5)
    for t, (mean, cov) in enumerate(linear.filter()[1]):
        # Errors of the gain add to those of the members: twice the sampling error of a mean.
        error = 2 * np.sqrt(np.diag(cov) / n)
        np.testing.assert_array_less(np.abs(found.analyses.x0[t] - mean), 4 * error)
        sampled = np.cov(np.asarray(found.analyses.members[t]), rowvar=False)
        scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
        assert np.abs(sampled - cov).max() < 8 * np.sqrt(2 / n) * scale.max()


def test_a_transformed_ensemble_is_the_kalman_filter_of_its_own_covariance():
    """Without model errors an exact square root keeps mean and covariance exact."""
    linear = linear_problem(0.0)
    method = Transformed(linear.problem, jnp.zeros((5, 5)), 12)
    first = method.initialise(jax.random.split(jax.random.key(0))[0])
    linear.x_b, linear.B = np.asarray(first.mean(axis=0)), np.cov(np.asarray(first).T)
    found = cycle(method, linear.problem)
    np.testing.assert_allclose(found.backgrounds[0], first, atol=1e-12)
    for t, (mean, cov) in enumerate(linear.filter()[1]):
        np.testing.assert_allclose(found.analyses.x0[t], mean, atol=1e-8)
        sampled = np.cov(np.asarray(found.analyses.members[t]), rowvar=False)
        np.testing.assert_allclose(sampled, cov, atol=1e-8)


@pytest.mark.parametrize("kind", [Stochastic, Transformed])
def test_a_cycle_is_the_loop_by_hand_under_jit_and_vmap(kind):
    linear = linear_problem(0.2)
    times = (0, 2, 3, 7)
    seen, rows = linear.observations, np.array(times)
    few = Observations(
        times, seen.values[rows], seen.operator, seen.error[rows], seen.mask[rows], T_assim=8
    )
    problem = Problem(linear.problem.forward, linear.problem.background, few)
    method = kind(problem, jnp.linalg.cholesky(linear.Q[0]), 12)
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(jax.vmap(lambda key: cycle(method, problem, key=key)))(keys)
    by_hand = []
    for number, key in enumerate(keys):
        k_first, key = jax.random.split(key)
        prior = method.initialise(k_first)
        for row, k_window in enumerate(jax.random.split(key, len(times))):
            length = (*times[1:], 9)[row] - times[row]
            one = Observations(
                (0,),
                few.values[row][None],
                few.operator,
                few.error[row][None],
                few.mask[row][None],
                start=times[row],
            )
            k_analysis, k_forecast = jax.random.split(k_window)
            analysis = method.analyse(prior, one, k_analysis)
            prior = method.predict(analysis, length, k_forecast)
            found = together.analyses.members[number, row]
            np.testing.assert_allclose(found, analysis.members, atol=1e-8)
        by_hand.append(analysis.members)
    if kind is Stochastic:
        assert np.abs(by_hand[0] - by_hand[1]).max() > 0.1


def test_each_window_has_draws_of_its_own_and_has_them_again():
    linear = linear_problem(0.2)

    class Keys(eqx.Module):
        """Carries nothing, and shows the draws that it was given."""

        def initialise(self, key):
            return jax.random.normal(key, (2,))

        def analyse(self, prior, observations, key):
            return Analysis(jax.random.normal(key, (2,)))

        def predict(self, analysis, n_steps, key):
            return analysis.x0

    found, again = (cycle(Keys(), linear.problem).analyses.x0 for _ in range(2))
    other = cycle(Keys(), linear.problem, key=jax.random.key(9)).analyses.x0
    np.testing.assert_array_equal(found, again)
    assert len(np.unique(np.concatenate([found, other]))) == 4 * len(found)
    oi = OptimalInterpolation.of(linear.problem)
    assert not isinstance(oi, Cyclable)
