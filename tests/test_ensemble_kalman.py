"""Ensemble Kalman filters against linear theory, and against each other."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem
from scipy.optimize import minimize

import assimilation as da
from assimilation.methods.ensemble_kalman import Ensemble, gain_weights, rotated
from assimilation.methods.finite_size import dual_minimum
from assimilation.methods.inverse_square_root import inverse_square_root

pytestmark = pytest.mark.usefixtures("float64")

SQUARE_ROOTS = [
    lambda problem: da.ETKF.of(problem, n_members=9),
    lambda problem: da.ETKF.of(problem, n_members=9, rotate=False),
]


def with_moments_of(members, linear):
    """The linear problem whose background has the moments of the members."""
    linear.x_b, linear.B = np.asarray(members.mean(axis=0)), np.cov(np.asarray(members).T)
    return linear


def one_time(seed, **settings):
    """A linear problem with all values of its first time, and only them."""
    linear = LinearProblem(seed, n_steps=1, mask=[[1, 1, 1], [0, 0, 0]], **settings)
    seen = linear.observations
    first = da.Observations((0,), seen.values[:1], seen.operator, seen.error[:1])
    return linear, da.Problem(linear.problem.forward, linear.problem.background, first), first


def moments(members):
    members = np.asarray(members)
    return members.mean(axis=0), np.cov(members.T)


@pytest.mark.parametrize("full_R", [False, True])
@pytest.mark.parametrize("n_obs", [3, 12])
@pytest.mark.parametrize("make", SQUARE_ROOTS)
def test_a_square_root_filter_is_the_kalman_filter_of_its_own_covariance(make, n_obs, full_R):
    """With fewer values than members and with more, and some of them missing."""
    linear = LinearProblem(1, n_obs=n_obs, full_R=full_R)
    method = make(linear.problem)
    prior = method.initialise(jax.random.key(3))
    _, filtered = with_moments_of(prior.states, linear).filter()
    found = method.analyse(prior, linear.observations, jax.random.key(4))
    np.testing.assert_allclose(found.states, [mean for mean, _ in filtered], atol=1e-8)
    mean, cov = moments(found.members)
    np.testing.assert_allclose(mean, filtered[-1][0], atol=1e-8)
    np.testing.assert_allclose(cov, filtered[-1][1], atol=1e-8)


def test_windows_of_any_length_are_one_filter():
    linear = LinearProblem(2)
    method = da.ETKF.of(linear.problem, n_members=9, rotate=False)
    each_time = da.cycle(method, linear.problem)
    by_three = da.cycle(method, linear.problem, n_steps=3)
    np.testing.assert_allclose(
        by_three.analyses.states.reshape(9, 5), each_time.analyses.x0, atol=1e-9
    )
    assert not each_time.diverged
    broken = eqx.tree_at(lambda c: c.analyses.x0, each_time, jnp.full((9, 5), jnp.nan))
    assert broken.diverged


@pytest.mark.parametrize(("kind", "n"), [(da.EnKF, 4000), (da.ETKF, 300)])
def test_many_members_are_close_to_the_kalman_filter_of_a_model_with_errors(kind, n):
    linear = LinearProblem(3, error_scale=0.2, n_steps=3)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    Q = da.dense(linear.Q[0])
    method = kind.of(linear.problem, n_members=n, model_err_cov_op=Q)
    found = method.solve(linear.observations)
    for t, (mean, cov) in enumerate(linear.filter()[1]):
        error = 2 * np.sqrt(np.diag(cov) / n)
        np.testing.assert_array_less(np.abs(found.states[t] - mean), 4 * error)
    sampled = moments(found.members)[1]
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    assert np.abs((sampled - cov) / scale).max() < 8 * np.sqrt(2 / n)


def test_the_deterministic_filter_has_half_the_gain_in_its_anomalies():
    linear, problem, seen = one_time(4)
    method = da.DEnKF.of(problem, n_members=9)
    prior = method.initialise(jax.random.key(3))
    linear = with_moments_of(prior.states, linear)
    mean, _ = linear.update(linear.x_b, linear.B, 0)
    S = linear.H @ linear.B @ linear.H.T + linear.R
    half = np.eye(5) - 0.5 * linear.B @ linear.H.T @ np.linalg.inv(S) @ linear.H
    found = moments(method.analyse(prior, seen, jax.random.key(4)).members)
    np.testing.assert_allclose(found[0], mean, atol=1e-9)
    np.testing.assert_allclose(found[1], half @ linear.B @ half.T, atol=1e-9)


def test_perturbed_observations_have_the_covariance_of_their_errors():
    """Averaged over draws, the spread is the Kalman filter's, and the mean is in each of them."""
    linear, problem, seen = one_time(5, full_R=True)
    method = da.EnKF.of(problem, n_members=20)
    prior = method.initialise(jax.random.key(3))
    linear = with_moments_of(prior.states, linear)
    mean, cov = linear.update(linear.x_b, linear.B, 0)
    keys = jax.random.split(jax.random.key(4), 4000)
    runs = jax.vmap(lambda key: method.analyse(prior, seen, key).members)(keys)
    np.testing.assert_allclose(runs.mean(axis=1), jnp.tile(mean, (4000, 1)), atol=1e-9)
    X = np.asarray(runs) - np.asarray(runs.mean(axis=1, keepdims=True))
    each = np.einsum("kmi,kmj->kij", X, X) / 19
    error = each.std(axis=0) / np.sqrt(len(each))
    assert np.all(np.abs(each.mean(axis=0) - cov) < 5 * error)
    assert np.all(error < 0.05 * np.diag(cov).max())


def test_the_gain_is_the_same_in_the_space_of_members_and_of_observations():
    rng = np.random.default_rng(0)
    for m, N in [(4, 9), (9, 4)]:
        S, d = jnp.asarray(rng.normal(size=(m, N))), jnp.asarray(rng.normal(size=(2, N)))
        expected = -d @ S.T @ np.linalg.inv(S @ S.T + (m - 1) * np.eye(m))
        np.testing.assert_allclose(gain_weights(S, d), expected, rtol=1e-9)


def test_random_rotations_keep_the_mean_and_are_uniform():
    m, n = 5, 4000
    turn = jax.jit(jax.vmap(lambda key: rotated(jnp.eye(m), key)))
    rotations = np.asarray(turn(jax.random.split(jax.random.key(0), n)))
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(m), (n, 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(rotations @ np.ones(m), np.ones((n, m)), atol=1e-9)
    # On what is orthogonal to the ones: mean zero, and E R_ab R_cd = d_ac d_bd / (m - 1).
    basis = np.linalg.svd(np.ones((1, m)))[2][1:]
    turned = np.einsum("ai,nij,bj->nab", basis, rotations, basis).reshape(n, -1)
    error = 5 / np.sqrt(n * (m - 1))
    np.testing.assert_allclose(turned.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(turned.T @ turned / n, np.eye((m - 1) ** 2) / (m - 1), atol=error)


@pytest.mark.parametrize("kind", [da.EnKF, da.ETKF, da.DEnKF, da.EnKFN])
def test_where_nothing_is_seen_nothing_changes(kind):
    linear = LinearProblem(6, n_steps=2, mask=[[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    method = kind.of(linear.problem, n_members=7, inflation=1.5)
    prior = method.initialise(jax.random.key(3))
    found = method.analyse(prior, linear.observations, jax.random.key(4))
    np.testing.assert_allclose(found.states[0], prior.mean, atol=1e-12)
    before = eqx.tree_at(lambda o: o.mask, linear.observations, jnp.zeros((3, 3)))
    free = method.analyse(prior, before, jax.random.key(4))
    run = da.free_forecast(linear.problem.forward, prior.states[2], 2)[-1]
    np.testing.assert_allclose(free.members[2], run, atol=1e-12)
    assert np.abs(found.members[2] - run).max() > 0.01


def test_inflation_multiplies_and_relaxation_restores_the_spread():
    _, problem, seen = one_time(7)
    method = da.ETKF.of(problem, n_members=9)
    prior = method.initialise(jax.random.key(3))

    def spread(method):
        found = method.analyse(prior, seen, jax.random.key(4))
        return np.std(np.asarray(found.members), axis=0), found.x0

    (plain, mean), before = spread(method), np.std(np.asarray(prior.states), axis=0)
    inflated = spread(replace(method, inflation=1.3))
    np.testing.assert_allclose(inflated[0], 1.3 * plain, rtol=1e-9)
    np.testing.assert_allclose(inflated[1], mean, atol=1e-9)
    relaxed = spread(replace(method, relaxation=0.25))
    np.testing.assert_allclose(relaxed[0], 0.25 * before + 0.75 * plain, rtol=1e-9)
    np.testing.assert_allclose(relaxed[1], mean, atol=1e-9)


def test_settings_are_learned_by_gradient_through_the_filter():
    """With values missing, so that eigenvalues coincide; by forward differentiation."""
    twin = da.generate_problem(key=jax.random.key(1), T_assim=50, T_total=60)
    seen = eqx.tree_at(lambda o: o.mask, twin.observations, twin.observations.mask.at[3].set(0))

    def miss(settings):
        method = da.ETKF.of(
            twin, n_members=5, inflation=settings[0], relaxation=settings[1], rotate=False
        )
        return da.rmse(method.solve(seen).states, twin.truth[:51])

    at = jnp.array([1.05, 0.2])
    slope = jax.jit(jax.jacfwd(miss))(at)
    steps = 1e-6 * jnp.eye(2)
    finite = [(miss(at + step) - miss(at - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(slope, finite, rtol=1e-5)


def test_the_inverse_square_root_has_a_derivative_at_repeated_eigenvalues():
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    A = jnp.asarray(U @ np.diag([1.0, 1.0, 1.0, 3.0]) @ U.T)
    change = jnp.asarray(rng.normal(size=(4, 4)))
    change = change + change.T
    root = inverse_square_root(A)
    np.testing.assert_allclose(root @ root @ A, np.eye(4), atol=1e-12)
    _, slope = jax.jvp(inverse_square_root, (A,), (change,))
    ahead, behind = inverse_square_root(A + 1e-6 * change), inverse_square_root(A - 1e-6 * change)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, atol=1e-8)


# EnKF-N


@pytest.mark.parametrize("size", [0.3, 3.0])
def test_the_finite_size_filter_is_at_the_mode_of_its_cost(size):
    """Primal and dual agree: 1/2 |d + S^T w|^2 + (m + 1) / 2 log(eps + |w|^2) is smallest."""
    rng = np.random.default_rng(1)
    m, N = 6, 4
    S = rng.normal(size=(m, N))
    S = S - S.mean(axis=0)
    d = size * rng.normal(size=N)

    def cost(w):
        return 0.5 * np.sum((d + S.T @ w) ** 2) + (m + 1) / 2 * np.log(1 + 1 / m + w @ w)

    expected = min(
        (minimize(cost, start, tol=1e-12) for start in rng.normal(size=(8, m))),
        key=lambda found: found.fun,
    )
    values, vectors = np.linalg.eigh(S @ S.T)
    seen = vectors.T @ (S @ d)
    values = np.maximum(values, 0)
    zeta = dual_minimum(jnp.asarray(values), jnp.asarray(seen**2), 1 + 1 / m, 1.0 + m)
    weights = -vectors @ (seen / (values + zeta))
    np.testing.assert_allclose(weights, expected.x, atol=1e-5)
    # At the mode zeta is (m + 1) / (eps + |w|^2).
    np.testing.assert_allclose(zeta, (m + 1) / (1 + 1 / m + weights @ weights), rtol=1e-6)


def test_the_spread_of_the_finite_size_filter_is_the_curvature_of_its_cost():
    rng = np.random.default_rng(2)
    m, N = 6, 4
    S = jnp.asarray(rng.normal(size=(m, N)))
    S, d = S - S.mean(axis=0), jnp.asarray(2 * rng.normal(size=N))
    method = da.EnKFN.of(LinearProblem(1).problem, n_members=m, rotate=False)
    # With the unit vectors as anomalies, mean and anomalies are the weights and the transform.
    weights, anomalies = method.analysed(Ensemble(jnp.zeros(m), jnp.eye(m), d, S), None)

    def cost(w):
        return 0.5 * jnp.sum((d + S.T @ w) ** 2) + (m + 1) / 2 * jnp.log(1 + 1 / m + w @ w)

    np.testing.assert_allclose(jax.grad(cost)(weights), 0, atol=1e-5)
    T = np.sqrt(m - 1) * inverse_square_root(jax.hessian(cost)(weights))
    np.testing.assert_allclose(anomalies, T - T.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("width", [0.1, 0.003, 1e-9])
def test_the_finite_size_filter_holds_where_members_lie_on_a_line_and_the_truth_does_not(width):
    """It inflates by factors of hundreds there, and must not lose the spread."""
    m, d = 3, jnp.asarray([1.0, 20.0])
    S = jnp.asarray([[1.0, 0.0], [-0.5, width], [-0.5, -width]])
    method = da.EnKFN.of(LinearProblem(1).problem, n_members=m, rotate=False)
    weights, T = method.analysed(Ensemble(jnp.zeros(m), jnp.eye(m), d, S), None)
    zeta = (m + 1) / (1 + 1 / m + weights @ weights)
    largest = 10 * (m - 1) / zeta
    assert np.isfinite(T).all()
    assert jnp.linalg.eigvalsh(T.T @ T).max() < 1.01 * largest
    if width == 0.1:  # else the mode is out of the range of zeta
        gradient = S @ (d + S.T @ weights) + zeta * weights
        assert jnp.linalg.norm(gradient) < 1e-4 * jnp.linalg.norm(S @ d)


def test_the_finite_size_filter_inflates_by_the_surprise_it_sees():
    _, problem, first = one_time(8)
    method = da.EnKFN.of(problem, n_members=6, rotate=False)
    plain = da.ETKF.of(problem, n_members=6, rotate=False)
    prior = method.initialise(jax.random.key(3))

    def spread(method, shift):
        seen = first.with_errors(shift * jnp.ones((1, 3)))
        found = method.analyse(prior, seen, jax.random.key(4))
        return np.linalg.norm(np.cov(np.asarray(found.members).T))

    ratios = [spread(method, shift) / spread(plain, shift) for shift in (0.0, 5.0, 20.0, 80.0)]
    assert np.all(np.diff(ratios) > 0)
    assert ratios[-1] > 2


def test_the_finite_size_filter_of_many_members_is_the_transform_filter():
    linear = LinearProblem(9)
    many = {"n_members": 400, "rotate": False}
    found = da.EnKFN.of(linear.problem, **many).solve(linear.observations)
    plain = da.ETKF.of(linear.problem, **many).solve(linear.observations)
    np.testing.assert_allclose(found.states, plain.states, atol=0.02)


@pytest.mark.parametrize("kind", [da.EnKF, da.ETKF, da.DEnKF, da.EnKFN])
def test_bad_settings_name_the_fix(kind, untyped):
    problem = LinearProblem(1).problem
    for settings, message in [
        ({"n_members": 1}, "n_members=1: pass a whole number, 2 or larger"),
        ({"inflation": 0.0}, "inflation=0.0: pass a finite number above zero"),
        ({"relaxation": 1.5}, "relaxation=1.5: pass a share between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            kind.of(problem, **settings)
    with pytest.raises(TypeError, match="key is 3: pass one JAX random key"):
        kind.of(problem, key=3)
    with pytest.raises(ValueError, match="model_err_cov_op maps shape"):
        kind.of(problem, model_err_cov_op=da.scaled_identity(1.0, 4))


def test_a_forecast_goes_on_with_all_members():
    twin = da.generate_problem(key=jax.random.key(1), T_assim=50, T_total=60)
    found = da.ETKF.of(twin, n_members=5).solve(twin.observations)
    trajectory = found.trajectory(twin.forward, 60)
    np.testing.assert_allclose(trajectory[:51], found.states, rtol=1e-12)
    runs = [da.free_forecast(twin.forward, member, 10) for member in found.members]
    np.testing.assert_allclose(trajectory[50:], np.mean(runs, axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.trajectory(twin.forward, 20), found.states[:21])
