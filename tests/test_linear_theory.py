"""Methods against closed forms on linear problems, in double precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from oracle import kalman_smoother, kalman_update

from assimilation import (
    Batch1D,
    EachTime,
    LinearObs,
    LowRank,
    NonlinearObs,
    OptimalInterpolation,
    StrongFourDVar,
    ThreeDVar,
    dense,
)

pytestmark = pytest.mark.usefixtures("float64")
D, N, T = 6, 4, 5


class LinearModel(eqx.Module):
    """x_{t+1} = M x_t."""

    matrix: jax.Array
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, state, dt):
        return self.matrix @ state


class LinearProblem:
    """A random linear-Gaussian problem; half of the observations are missing."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.M = rng.normal(size=(D, D)) / np.sqrt(D)
        root = rng.normal(size=(D, D))
        self.B = root @ root.T + 0.1 * np.eye(D)
        self.H = rng.normal(size=(N, D))
        self.R = np.diag(rng.uniform(0.1, 1.0, size=N))
        self.mean = rng.normal(size=D)
        self.obs = rng.normal(size=(T, N))
        self.mask = (rng.uniform(size=(T, N)) < 0.5).astype(float)
        self.mask[0, 0] = 1.0
        self.obs *= self.mask
        self.batch = Batch1D(jnp.asarray(self.obs[None]), jnp.asarray(self.mask[None]))
        self.forward = LinearModel(jnp.asarray(self.M))
        self.ingredients = {
            "obs_op": LinearObs(jnp.asarray(self.H)),
            "prior_mean": jnp.asarray(self.mean),
            "prior_cov_op": dense(self.B),
            "obs_cov_op": lx.DiagonalLinearOperator(jnp.asarray(np.diag(self.R))),
        }

    def kalman_updates(self):
        updates = []
        for obs, mask in zip(self.obs, self.mask, strict=True):
            seen = mask > 0
            R = self.R[np.ix_(seen, seen)]
            updates.append(kalman_update(self.mean, self.B, self.H[seen], R, obs[seen]))
        return updates

    def trajectory_samples(self, n=40):
        return np.random.default_rng(1).normal(size=(n, T, D))


seeds = pytest.mark.parametrize("seed", range(4))


@seeds
def test_oi_is_the_kalman_update_at_each_time(seed):
    problem = LinearProblem(seed)
    oi = OptimalInterpolation(**problem.ingredients)
    updates = problem.kalman_updates()
    np.testing.assert_allclose(oi(problem.batch)[0], [u[0] for u in updates], atol=1e-10)
    for mask, (_, covariance) in zip(problem.mask, updates, strict=True):
        got = oi.analysis_covariance(jnp.asarray(mask))
        np.testing.assert_allclose(got, covariance, atol=1e-10)


@seeds
def test_3dvar_is_oi_for_linear_observations(seed):
    problem = LinearProblem(seed)
    oi, oi_info = OptimalInterpolation(**problem.ingredients).solve(problem.batch)
    var, var_info = ThreeDVar(**problem.ingredients).solve(problem.batch)
    np.testing.assert_allclose(var, oi, atol=1e-9)
    np.testing.assert_allclose(var_info.cost, oi_info.cost, rtol=1e-9)
    assert var_info.converged.all()


@seeds
def test_a_covariance_over_the_window_that_links_no_times_changes_nothing(seed):
    problem = LinearProblem(seed)
    over_window = problem.ingredients | {
        "prior_mean": jnp.broadcast_to(problem.mean, (T, D)),
        "prior_cov_op": EachTime(problem.ingredients["prior_cov_op"], T),
        "obs_cov_op": EachTime(problem.ingredients["obs_cov_op"], T),
    }
    for method in (OptimalInterpolation, ThreeDVar):
        want = method(**problem.ingredients)(problem.batch)
        np.testing.assert_allclose(method(**over_window)(problem.batch), want, atol=1e-10)


@seeds
def test_oi_in_space_time_is_one_kalman_update_of_the_window(seed):
    problem = LinearProblem(seed)
    samples = problem.trajectory_samples()
    prior = LowRank.from_samples(jnp.asarray(samples))
    mean = samples.mean(axis=0)
    ingredients = problem.ingredients | {
        "prior_mean": jnp.asarray(mean),
        "prior_cov_op": prior,
    }
    B = np.cov(samples.reshape(len(samples), -1).T)
    np.testing.assert_allclose(prior.as_matrix(), B, atol=1e-12)
    seen = problem.mask.ravel() > 0
    H = np.kron(np.eye(T), problem.H)[seen]
    R = np.kron(np.eye(T), problem.R)[np.ix_(seen, seen)]
    want, covariance = kalman_update(mean.ravel(), B, H, R, problem.obs.ravel()[seen])
    oi = OptimalInterpolation(**ingredients)
    np.testing.assert_allclose(oi(problem.batch)[0].ravel(), want, atol=1e-9)
    got = oi.analysis_covariance(jnp.asarray(problem.mask))
    np.testing.assert_allclose(got, covariance, atol=1e-9)
    # The square root of a sampled covariance is singular; 3DVar does not mind.
    var = ThreeDVar(**ingredients)(problem.batch)
    np.testing.assert_allclose(var[0].ravel(), want, atol=1e-8)


@seeds
@pytest.mark.parametrize("grow_window", [True, False])
def test_strong_4dvar_is_the_kalman_smoother_at_the_first_time(seed, grow_window):
    problem = LinearProblem(seed)
    strong = StrongFourDVar(
        forward=problem.forward, grow_window=grow_window, n_starts=1, **problem.ingredients
    )
    x0, info = strong.solve(problem.batch)
    want, _ = kalman_smoother(
        problem.mean,
        problem.B,
        problem.M,
        np.zeros((D, D)),
        problem.H,
        problem.R,
        problem.obs,
        problem.mask,
    )
    np.testing.assert_allclose(x0[0], want[0], atol=1e-8)
    assert info.converged.all()


def test_2j_is_chi_square_when_the_statistics_are_right():
    """Over 400 draws 2 J at the minimum has mean n_obs and variance 2 n_obs."""
    problem = LinearProblem(0)
    rng = np.random.default_rng(2)
    n_draws, n_obs = 400, int(problem.mask.sum())
    x0 = problem.mean + rng.normal(size=(n_draws, D)) @ np.linalg.cholesky(problem.B).T
    states = [x0]
    for _ in range(T - 1):
        states.append(states[-1] @ problem.M.T)
    clean = np.stack(states, axis=1) @ problem.H.T
    noise = rng.normal(size=clean.shape) * np.sqrt(np.diag(problem.R))
    obs = (clean + noise) * problem.mask
    masks = np.broadcast_to(problem.mask, obs.shape)
    strong = StrongFourDVar(forward=problem.forward, n_starts=1, **problem.ingredients)
    _, info = strong.solve(Batch1D(jnp.asarray(obs), jnp.asarray(masks)))
    twice = 2 * np.asarray(info.cost)
    assert abs(twice.mean() - n_obs) < 5 * np.sqrt(2 * n_obs / n_draws)
    np.testing.assert_allclose(info.misfit, twice / n_obs)


def test_nonlinear_3dvar_finds_a_stationary_point_of_its_cost():
    problem = LinearProblem(3)
    ingredients = problem.ingredients | {
        "obs_op": NonlinearObs(lambda x: jnp.tanh(jnp.asarray(problem.H) @ x)),
    }
    analysis = ThreeDVar(**ingredients, rtol=1e-14)(problem.batch)[0]
    B_inverse, variance = np.linalg.inv(problem.B), np.diag(problem.R)

    def cost(x, obs, mask):
        background = 0.5 * (x - problem.mean) @ B_inverse @ (x - problem.mean)
        departure = ingredients["obs_op"](x) - obs
        return background + 0.5 * jnp.sum(mask * departure**2 / variance)

    for x, obs, mask in zip(analysis, problem.obs, problem.mask, strict=True):
        gradient = jax.grad(cost)(x, obs, mask)
        at_background = jax.grad(cost)(jnp.asarray(problem.mean), obs, mask)
        assert jnp.linalg.norm(gradient) <= 1e-5 * (1 + jnp.linalg.norm(at_background))


def test_a_background_can_be_replaced_on_a_method():
    problem = LinearProblem(0)
    moved = jnp.asarray(problem.mean) + 1.0
    for method in (
        OptimalInterpolation(**problem.ingredients),
        ThreeDVar(**problem.ingredients),
        StrongFourDVar(forward=problem.forward, **problem.ingredients),
    ):
        replaced = eqx.tree_at(lambda m: m.prior_mean, method, moved)
        fresh = eqx.tree_at(lambda m: m.prior_mean, method, moved)
        np.testing.assert_allclose(replaced(problem.batch), fresh(problem.batch))
        assert np.abs(replaced(problem.batch) - method(problem.batch)).max() > 1e-3


@pytest.mark.parametrize("method", [OptimalInterpolation, ThreeDVar, StrongFourDVar])
def test_methods_run_under_jit_and_vmap(method):
    problem = LinearProblem(1)
    extra = {"forward": problem.forward} if method is StrongFourDVar else {}
    built = method(**problem.ingredients, **extra)
    plain = built(problem.batch)
    np.testing.assert_allclose(eqx.filter_jit(built)(problem.batch), plain, atol=1e-9)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), problem.batch)
    np.testing.assert_allclose(jax.vmap(lambda batch: built(batch))(two)[1], plain, atol=1e-9)


def test_max_obs_that_is_too_small_gives_nan_and_not_a_wrong_answer():
    problem = LinearProblem(1)
    most = int(problem.mask.sum(axis=1).max())
    assert most > 1
    enough = OptimalInterpolation(**problem.ingredients, max_obs=most)
    few = OptimalInterpolation(**problem.ingredients, max_obs=most - 1)
    full = OptimalInterpolation(**problem.ingredients)(problem.batch)
    np.testing.assert_allclose(eqx.filter_jit(enough)(problem.batch), full, atol=1e-10)
    assert jnp.isnan(few(problem.batch)).any()
