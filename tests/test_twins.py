"""A model and a problem of one's own: twins in one call, climatologies, no truth in a problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assimilation as da
from assimilation.covariances.free_runs import Climatology


class Spiral(eqx.Module):
    """dx/dt = A x + noise-free forcing: a stable linear model with an array as a parameter."""

    matrix: jax.Array
    dt: float = eqx.field(default=0.1, static=True)

    def step(self, state, dt):
        return da.rk4_step(lambda x: self.matrix @ x + jnp.cos(x), state, dt)


SPIRAL = Spiral(jnp.array([[-0.5, 2.0], [-2.0, -0.5]]))
STATISTICS = Climatology(np.array([1.0, -1.0]), 2 * np.eye(2), np.zeros((2, 2)))
FEW = {"n_runs": 4, "n_spin_up": 3, "n_samples": 5, "every": 2}


def start(key):
    return jax.random.normal(key, (2,))


def product(state, time):
    """Three numbers from two: N is not D."""
    return jnp.array([state[0], state[0] * state[1], state[1] + 0.1 * time])


def spiral_twin(key, forward=SPIRAL, error=0.1, **changes):
    settings = {
        "start": start,
        "operator": product,
        "T_assim": 12,
        "T_total": 20,
        "obs_every": 4,
        "spin_up": 10,
        "statistics": STATISTICS,
    } | changes
    return da.twin(forward, key=key, error=error, **settings)


def test_the_truth_is_a_run_of_the_model_and_seen_through_the_operator(key):
    twin = spiral_twin(key, error=1e-4)
    run = da.free_forecast(SPIRAL, twin.truth[0], 20)
    np.testing.assert_allclose(twin.truth, run, rtol=1e-5, atol=1e-5)
    assert twin.observations.times == (0, 4, 8, 12)
    want = np.stack([product(np.asarray(twin.truth[t]), t) for t in (0, 4, 8, 12)])
    np.testing.assert_allclose(twin.observations.values, want, atol=1e-3)
    assert (twin.T_assim, twin.T_total, twin.T_forecast, twin.D) == (12, 20, 8, 2)
    assert twin.climatology_std == pytest.approx(2**0.5)
    np.testing.assert_allclose(twin.prior_mean_state, STATISTICS.mean)
    np.testing.assert_allclose(twin.B_op_state.as_matrix(), STATISTICS.covariance)


@pytest.mark.parametrize("full", [False, True])
def test_errors_of_observations_have_the_stated_covariance(key, full):
    R = np.diag([0.01, 0.04, 0.09])
    R[0, 2] = R[2, 0] = 0.02 * full
    keys = jax.random.split(key, 500)
    twins = jax.jit(jax.vmap(lambda key: spiral_twin(key, error=da.dense(R))))(keys)
    times = jnp.array([0, 4, 8, 12])
    exact = jax.vmap(jax.vmap(product), in_axes=(0, None))(twins.truth[:, times], times)
    errors = np.asarray(twins.observations.values - exact).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(errors.T), R, atol=5 * 0.09 / np.sqrt(len(errors)))


def test_models_with_different_parameters_have_their_twins_side_by_side(key):
    def of(scale):
        return spiral_twin(key, Spiral(scale * SPIRAL.matrix))

    scales = jnp.array([0.5, 1.0])
    together = jax.jit(jax.vmap(of))(scales)
    assert together.forward.matrix.shape == (2, 2, 2)
    for i, scale in enumerate(scales):
        np.testing.assert_allclose(together.truth[i], of(scale).truth, rtol=1e-4, atol=1e-5)
    assert np.abs(together.truth[0] - together.truth[1]).max() > 0.1


def test_a_truth_can_be_differentiated_in_a_parameter(key):
    def end(F):
        forward = da.Lorenz96Forward(K=4, F=F)
        first = lambda key: jax.random.normal(key, (4,))  # noqa: E731
        flat = Climatology(np.zeros(4), np.eye(4), np.zeros((2, 4)))
        sees = da.LinearObs(jnp.eye(4))
        changes = {"start": first, "operator": sees, "statistics": flat}
        return spiral_twin(key, forward, **changes).truth[-1].sum()

    slope = jax.jit(jax.jacfwd(end))(8.0)
    difference = (end(8.0 + 1e-2) - end(8.0 - 1e-2)) / 2e-2
    np.testing.assert_allclose(slope, difference, rtol=0.02)


def test_a_climatology_is_computed_once_for_equal_values():
    first = da.climatology(SPIRAL, start, **FEW)
    assert da.climatology(Spiral(SPIRAL.matrix + 0.0), start, **FEW) is first
    # A number is the same as an array of it.
    flat = {"ring": da.Ring(4, (1,)), **FEW}
    of = lambda F: da.climatology(da.Lorenz96Forward(K=4, F=F), four, **flat)  # noqa: E731
    assert of(8.0) is of(jnp.asarray(8.0))


def four(key):
    return jax.random.normal(key, (4,))


def test_climatologies_of_different_values_are_not_confused():
    first = da.climatology(SPIRAL, start, **FEW)
    other = da.climatology(Spiral(2 * SPIRAL.matrix), start, **FEW)
    assert np.abs(first.mean - other.mean).max() > 1e-3
    longer = da.climatology(SPIRAL, start, **FEW | {"n_samples": 6})
    assert (len(first.samples), len(longer.samples)) == (20, 24)

    def twice(key):
        return 10 + start(key)

    assert np.abs(da.climatology(SPIRAL, twice, **FEW).mean - first.mean).max() > 0.1


def test_climatologies_keep_to_their_float_type(request):
    single = da.climatology(SPIRAL, start, **FEW)
    request.getfixturevalue("float64")
    double = da.climatology(SPIRAL, start, **FEW)
    assert (single.samples.dtype, double.samples.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single.samples.std(), double.samples.std(), rtol=0.5)


def test_a_plain_object_that_has_changed_gets_a_new_climatology():
    class Decay:
        dt, rate = 0.1, 1.0

        def step(self, state, dt):
            return state * (1 - dt * self.rate)

    model = Decay()
    slow = da.climatology(model, start, **FEW)
    model.rate = 5.0
    assert da.climatology(model, start, **FEW).std < 0.5 * slow.std


def test_a_climatology_says_how_to_go_on_where_parameters_are_traced():
    with pytest.raises(TypeError, match=r"parameters .* are traced.*statistics="):
        jax.vmap(lambda scale: da.climatology(Spiral(scale * SPIRAL.matrix), start))(jnp.ones(2))


def test_the_climatology_of_twin_is_that_of_its_model(key):
    twin = spiral_twin(key, statistics=None, spin_up=200)
    climate = da.climatology(SPIRAL, start)
    np.testing.assert_allclose(twin.prior_mean_state, climate.mean, rtol=1e-5)
    np.testing.assert_allclose(twin.B_op_state.as_matrix(), climate.covariance, rtol=1e-5)


def own_problem(**changes):
    parts = {
        "forward": SPIRAL,
        "background": da.Background(jnp.zeros(2), da.dense(np.diag([1.0, 0.5]))),
        "observations": da.Observations(
            (1, 3), jnp.array([[0.2, 0.1, 0.3], [0.1, -0.2, 0.0]]), product, 0.2, T_assim=4
        ),
    } | changes
    return da.Problem(**parts)


def test_a_problem_needs_no_truth():
    problem = own_problem()
    assert (problem.D, problem.T_assim, problem.T_assim_plus_1, problem.dt) == (2, 4, 5, 0.1)
    np.testing.assert_array_equal(problem.mask[:, 0], [0, 1, 0, 1, 0])
    np.testing.assert_allclose(problem.obs[3], [0.1, -0.2, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(problem.obs[2], 0)
    assert problem.prior_mean.shape == (5, 2)
    assert problem.B_op.in_structure().shape == (5, 2)
    np.testing.assert_allclose(problem.R_op_state.as_matrix(), 0.04 * np.eye(3), rtol=1e-6)
    np.testing.assert_array_equal(problem.matrix, SPIRAL.matrix)
    assert not hasattr(problem, "truth")
    analysis = da.StrongFourDVar.of(problem, n_starts=1).solve(problem.observations)
    run = da.free_forecast(SPIRAL, problem.prior_mean_state, 4)
    departures = np.stack([problem.obs[t] - product(run[t], t) for t in (1, 3)])
    assert analysis.diagnostics.cost < 0.9 * 0.5 * np.sum((departures / 0.2) ** 2)


def test_a_problem_of_full_errors_shows_them():
    R = np.eye(3) + 0.2
    seen = da.Observations((1, 3), jnp.ones((2, 3)), product, da.dense(R), T_assim=4)
    np.testing.assert_allclose(own_problem(observations=seen).R_op_state.as_matrix(), R, rtol=1e-6)


def test_a_problem_has_the_error_of_its_model():
    problem = own_problem(Q_op_state=da.dense(0.1 * np.eye(2)))
    weak = da.WeakFourDVar.of(problem, n_starts=1).solve(problem.observations)
    assert weak.etas.shape == (4, 2)


def test_methods_never_see_the_truth(key):
    twin = spiral_twin(key)
    other = eqx.tree_at(lambda t: t.truth, twin, jnp.full_like(twin.truth, jnp.nan))
    analyses = [
        da.StrongFourDVar.of(problem, n_starts=1).solve(problem.observations).x0
        for problem in (twin, other)
    ]
    np.testing.assert_array_equal(*analyses)
