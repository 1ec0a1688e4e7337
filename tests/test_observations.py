"""Observations of any shape: their errors, operators, missing values and instruments."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import kalman_update

import assimilation as da

rng = np.random.default_rng(7)
H = da.LinearObs(jnp.asarray(rng.normal(size=(3, 4)), jnp.float32))
VALUES = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)


def covariance(rng, size):
    root = rng.normal(size=(size, size))
    return root @ root.T / size + 0.3 * np.eye(size)


class Turn:
    """A model that turns the plane by 0.3 in each step, and bends it a little."""

    dt = 1.0

    def step(self, state, dt):
        c, s = jnp.cos(0.3), jnp.sin(0.3)
        return jnp.array([c * state[0] - s * state[1], s * state[0] + c * state[1]]) * (
            1 - 0.01 * state @ state
        )


def test_all_forms_of_an_error_say_the_same():
    variances = jnp.array([0.25, 0.25, 0.25])
    each = da.EachTime(da.dense(jnp.diag(variances)), 2)
    over_window = lx.IdentityLinearOperator(jax.ShapeDtypeStruct((2, 3), jnp.float32)) * 0.25
    forms = {
        "std": 0.5,
        "diagonal operator": da.scaled_identity(0.25, 3),
        "variances": jnp.tile(variances, (2, 1)),
        "operator over the window": over_window,
        "full": da.dense(jnp.diag(variances)),
        "full over the window": each,
        "covariances": jnp.tile(jnp.diag(variances), (2, 1, 1)),
    }
    for name, error in forms.items():
        seen = da.Observations((0, 3), VALUES, H, error)
        departure = seen.departure(1, jnp.ones(4), seen.inverse_root())
        want = (np.asarray(H(jnp.ones(4))) - VALUES[1]) / 0.5
        np.testing.assert_allclose(departure, want, rtol=1e-5, err_msg=name)


def test_errors_may_differ_between_times():
    variances = jnp.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    for error in (variances, jax.vmap(jnp.diag)(variances)):
        root = da.Observations((0, 3), VALUES, H, error).inverse_root()
        whole = root if root.ndim == 3 else jax.vmap(jnp.diag)(root)
        np.testing.assert_allclose(whole, jax.vmap(jnp.diag)(variances**-0.5), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 3), full=st.booleans())
def test_whitening_is_that_of_the_system_without_the_missing_values(seed, n, full):
    rng = np.random.default_rng(seed)
    N = 3
    mask = rng.uniform(size=(n, N)) < 0.6
    mask[0, seed % N] = True
    R = np.stack([covariance(rng, N) for _ in range(n)])
    R = R if full else R * np.eye(N)
    error = R if full else np.diagonal(R, axis1=1, axis2=2)
    values = np.where(mask, rng.normal(size=(n, N)), np.nan)
    seen = da.Observations(range(n), values, da.LinearObs(np.eye(N)), error, mask)
    state = rng.normal(size=N)
    for row in range(n):
        there = mask[row]
        d = (state - values[row])[there]
        got = np.asarray(seen.departure(row, jnp.asarray(state, float), seen.inverse_root()))
        want = d @ np.linalg.inv(R[row][np.ix_(there, there)]) @ d
        np.testing.assert_allclose(got @ got, want, rtol=2e-3, atol=1e-5)
        np.testing.assert_array_equal(got[~there], 0)


def test_draws_of_errors_have_their_covariance_and_leave_out_what_is_missing(key):
    R = covariance(np.random.default_rng(0), 3)
    mask = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    seen = da.Observations((0, 3), VALUES, H, da.dense(R), mask)
    white = jax.random.normal(key, (20_000, 2, 3))
    draws = np.asarray(jax.vmap(lambda w: seen.with_errors(w).values)(white))
    np.testing.assert_allclose(np.cov(draws[:, 0].T), R, atol=0.05)
    np.testing.assert_array_equal(draws[:, 1, 1], 0)
    np.testing.assert_allclose(draws.mean(0), mask * VALUES, atol=0.05)


def test_forms_of_a_linear_operator():
    matrix = np.asarray(H.matrix())
    state = jnp.asarray(rng.normal(size=4), jnp.float32)
    operators = [
        da.LinearObs(matrix),
        da.LinearObs(matrix.tolist()),
        da.LinearObs(lx.MatrixLinearOperator(jnp.asarray(matrix))),
        da.LinearObs(lambda time: (1 + time) * jnp.asarray(matrix)),
    ]
    for operator in operators:
        np.testing.assert_allclose(operator(state, 0), matrix @ state, rtol=1e-5)
        np.testing.assert_allclose(operator.matrix(0), matrix, rtol=1e-6)
    np.testing.assert_allclose(operators[-1](state, 2), 3 * matrix @ state, rtol=1e-5)
    window = lx.IdentityLinearOperator(jax.ShapeDtypeStruct((7, 4), jnp.float32))
    np.testing.assert_allclose(da.LinearObs(window)(state), state)


def test_dense_observations_stand_at_their_times():
    mask = jnp.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    seen = da.Observations((1, 4), VALUES, H, 0.5, mask, T_assim=5)
    values, where = seen.dense()
    assert values.shape == where.shape == (6, 3)
    np.testing.assert_array_equal(where.sum(axis=1), [0, 2, 0, 0, 3, 0])
    np.testing.assert_array_equal(values[1], mask[0] * VALUES[0])
    np.testing.assert_array_equal(values[4], VALUES[1])
    batch = seen.batch()
    np.testing.assert_array_equal(batch.input, values[None])
    np.testing.assert_array_equal(batch.mask, where[None])
    assert batch.observed_times() == (1, 4)


def instruments():
    """Two values with a full R at steps 0, 2, 3 (one missing), and one value at 1 and 3."""
    rng = np.random.default_rng(5)
    both = da.Observations(
        (0, 2, 3),
        rng.normal(size=(3, 2)),
        da.LinearObs(rng.normal(size=(2, 4))),
        da.dense(covariance(rng, 2)),
        np.array([[1, 1], [1, 0], [1, 1]]),
        T_assim=4,
    )
    one = da.Observations(
        (1, 3), rng.normal(size=(2, 1)), da.LinearObs(rng.normal(size=(1, 4))), 0.4, T_assim=4
    )
    return both, one


def stacked(parts, time):
    """H, R and y of what several instruments show at one time, in plain NumPy."""
    H, R, y = np.zeros((0, 4)), np.zeros((0, 0)), np.zeros(0)
    for part in parts:
        if time not in part.times:
            continue
        row = part.times.index(time)
        there = np.asarray(part.mask[row]) > 0
        error = np.asarray(part.error[row])
        error = np.diag(error) if error.ndim == 1 else error
        H = np.concatenate([H, np.asarray(part.operator.matrix())[there]])
        y = np.concatenate([y, np.asarray(part.values[row])[there]])
        block = error[np.ix_(there, there)]
        R = np.block([[R, np.zeros((len(R), len(block)))], [np.zeros((len(block), len(R))), block]])
    return H, R, y


@pytest.mark.parametrize("method", [da.OptimalInterpolation, da.ThreeDVar])
def test_two_instruments_are_analysed_as_one_dense_system(method):
    parts = instruments()
    together = da.Observations.combined(*parts)
    assert together.times == (0, 1, 2, 3)
    rng = np.random.default_rng(6)
    mean, B = rng.normal(size=4), covariance(rng, 4)
    states = method(jnp.asarray(mean, jnp.float32), da.dense(B)).solve(together).states
    for time in range(5):
        want = kalman_update(mean, B, *stacked(parts, time))[0]
        np.testing.assert_allclose(states[time], want, rtol=1e-3, atol=1e-4)


def test_two_instruments_are_analysed_as_one_dense_system_over_the_trajectory():
    parts = instruments()
    together = da.Observations.combined(*parts)
    rng = np.random.default_rng(6)
    mean = rng.normal(size=(5, 4))
    # Errors that persist: B of a state, times a correlation in time.
    factor = rng.normal(size=(40, 5, 4)) / 40**0.5 + 0.3 * rng.normal(size=(40, 1, 4)) / 40**0.5
    B = np.einsum("nta,nsb->tasb", factor, factor).reshape(20, 20)
    systems = [stacked(parts, time) for time in range(5)]
    sizes = [len(y) for _, _, y in systems]
    H_all, R_all = np.zeros((sum(sizes), 20)), np.zeros((sum(sizes),) * 2)
    for time, (H_t, R_t, _) in enumerate(systems):
        rows = slice(sum(sizes[:time]), sum(sizes[: time + 1]))
        H_all[rows, 4 * time : 4 * time + 4], R_all[rows, rows] = H_t, R_t
    y_all = np.concatenate([y for _, _, y in systems])
    want = kalman_update(mean.ravel(), B, H_all, R_all, y_all)[0].reshape(5, 4)
    low_rank = da.LowRank(jnp.asarray(factor, jnp.float32))
    for method in (da.OptimalInterpolation, da.ThreeDVar):
        found = method(jnp.asarray(mean, jnp.float32), low_rank).solve(together)
        np.testing.assert_allclose(found.states, want, rtol=2e-3, atol=1e-3)


def test_instruments_may_be_combined_in_turn():
    both, one = instruments()
    third = da.Observations((4,), jnp.ones((1, 1)), one.operator, 0.2, T_assim=4)
    nested = da.Observations.combined(da.Observations.combined(both, one), third)
    flat = da.Observations.combined(both, one, third)
    np.testing.assert_array_equal(nested.values, flat.values)
    np.testing.assert_array_equal(nested.mask, flat.mask)
    mean = da.Background(jnp.zeros(4), da.scaled_identity(1.0, 4))
    a, b = (
        da.OptimalInterpolation(mean.mean, mean.covariance).solve(seen).states
        for seen in (nested, flat)
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert np.abs(a[4]).max() > 0


TIMED = da.LinearObs(lambda time: jnp.array([[jnp.cos(time), jnp.sin(time)]]))
PLANE = da.Background(jnp.array([0.5, -0.5]), da.dense(np.array([[1.0, 0.2], [0.2, 0.7]])))


@pytest.mark.parametrize("start", [0, 5])
def test_operators_get_the_time_of_the_step(start):
    """What turns with time is told from what stands still, also where a window begins late."""
    values = jnp.array([[1.0], [0.3]])
    seen = da.Observations((1, 3), values, TIMED, 0.5, T_assim=3, start=start)
    mean, B = np.asarray(PLANE.mean), np.asarray(PLANE.covariance.as_matrix())
    for method in (da.OptimalInterpolation, da.ThreeDVar):
        states = method(PLANE.mean, PLANE.covariance).solve(seen).states
        for row, time in enumerate((1, 3)):
            at = start + time
            H = np.array([[np.cos(at), np.sin(at)]])
            want = kalman_update(mean, B, H, np.array([[0.25]]), np.asarray(values[row]))[0]
            np.testing.assert_allclose(states[time], want, rtol=1e-4)


def spoiled(state, time):
    """Two values, and five that cannot be computed, nor differentiated, at any state."""
    x, y = state
    roots = jnp.sqrt(state - 1e6)
    bad = [jnp.log(-1 - x**2), 1 / (y - y), jnp.sqrt(x - x), roots[0] + x, x * jnp.nan]
    return jnp.concatenate([jnp.array([x + 0.1 * y**2, x * y]), jnp.stack(bad)])


def elementwise(state, time):
    """A function of the whole state whose derivative at one entry is not finite."""
    return jnp.concatenate([jnp.sqrt(state - jnp.array([-5.0, 1e6])), jnp.arctan(state)])


HAZARDS = {
    "spoiled": (spoiled, 7, [1, 1, 0, 0, 0, 0, 0]),
    "elementwise": (elementwise, 4, [1, 0, 1, 1]),
}
METHODS = {
    "3dvar": lambda: da.ThreeDVar(PLANE.mean, PLANE.covariance),
    "strong": lambda: da.StrongFourDVar(Turn(), PLANE.mean, PLANE.covariance, n_starts=1),
    "incremental": lambda: da.IncrementalFourDVar(Turn(), PLANE.mean, PLANE.covariance, n_starts=1),
    "weak": lambda: da.WeakFourDVar(
        Turn(),
        PLANE.mean,
        PLANE.covariance,
        model_err_cov_op=da.scaled_identity(0.01, 2),
        n_starts=1,
    ),
}


CASES = [
    ("3dvar", "spoiled", True),
    ("3dvar", "elementwise", False),
    ("strong", "spoiled", True),
    ("strong", "elementwise", False),
    ("incremental", "spoiled", True),
    ("incremental", "elementwise", False),
    ("weak", "spoiled", False),
]


@pytest.mark.parametrize(("method", "hazard", "full"), CASES)
def test_an_operator_may_give_anything_where_nothing_was_observed(method, hazard, full):
    operator, size, there = HAZARDS[hazard]
    there = np.array(there) > 0
    rng = np.random.default_rng(1)
    R = covariance(rng, size) * (1 if full else np.eye(size))
    values = rng.normal(size=(3, size)).astype(np.float32)
    mask = np.tile(there, (3, 1))
    mask[1, 0] = False

    def harmless(state, time):
        return operator(state, time)[there]

    def analysis(operator, values, R, mask):
        error = da.dense(R) if full else lx.DiagonalLinearOperator(jnp.diag(jnp.asarray(R)))
        seen = da.Observations((0, 2, 3), values, operator, error, mask, T_assim=4)
        return METHODS[method]().solve(seen)

    got = analysis(operator, np.where(mask, values, np.nan), R, mask)
    want = analysis(harmless, values[:, there], R[np.ix_(there, there)], mask[:, there])
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.diagnostics.cost, want.diagnostics.cost, rtol=1e-4)
    assert np.linalg.norm(got.x0 - PLANE.mean) > 1e-3


def test_oi_leaves_out_the_rows_of_what_is_missing():
    def matrix(time):
        return jnp.array([[1.0, 0.5], [jnp.nan, jnp.inf]])

    seen = da.Observations(
        (1,), jnp.ones((1, 2)), da.LinearObs(matrix), 0.5, jnp.array([[1.0, 0.0]])
    )
    oi = da.OptimalInterpolation(PLANE.mean, PLANE.covariance)
    B = np.asarray(PLANE.covariance.as_matrix())
    H, R = np.array([[1.0, 0.5]]), np.array([[0.25]])
    mean, cov = kalman_update(np.asarray(PLANE.mean), B, H, R, np.ones(1))
    np.testing.assert_allclose(oi.solve(seen).states[1], mean, rtol=1e-4)
    np.testing.assert_allclose(oi.analysis_covariance(seen), cov, rtol=1e-4)


def test_a_batch_of_what_is_no_state_is_analysed_as_its_window(key):
    """N = 1 and D = 2, through the calls on a batch."""

    def squares(state):
        return jnp.array([state @ state])

    seen = da.Observations((1, 3), jnp.array([[1.0], [0.8]]), da.NonlinearObs(squares), 0.1)
    problem = da.Problem(Turn(), PLANE, seen)
    for method in (da.ThreeDVar.of(problem), da.StrongFourDVar.of(problem, n_starts=2)):
        found = method(da.assim_batch(problem))[0]
        alone = method.solve(seen)
        want = alone.x0 if alone.states is None else alone.states
        np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)


def test_batches_of_windows_are_solved_side_by_side(key):
    values = jax.random.normal(key, (3, 2, 3))

    def solve(values):
        seen = da.Observations((0, 3), values, H, 0.5)
        return da.OptimalInterpolation(jnp.zeros(4), da.scaled_identity(1.0, 4)).solve(seen).states

    together = jax.jit(jax.vmap(solve))(values)
    np.testing.assert_allclose(together[1], solve(values[1]), rtol=1e-4, atol=1e-5)


def test_a_mask_from_outside_serves_under_jit():
    mask = jnp.array([[1.0, 0.0]])

    @jax.jit
    def values(rows):
        return da.Observations((0,), rows, da.LinearObs(jnp.eye(2)), 0.5, mask=mask).values

    np.testing.assert_array_equal(values(jnp.ones((1, 2))), mask)
