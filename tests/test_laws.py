"""Laws that hold whatever is observed, and whenever: random masks, operators and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from linear_problem import LinearProblem, covariance

from assimilation import (
    IncrementalFourDVar,
    Lorenz63Forward,
    Observations,
    OptimalInterpolation,
    StrongFourDVar,
    ThreeDVar,
    WeakFourDVar,
    dense,
    forced_trajectory,
    generate_problem,
)

pytestmark = pytest.mark.usefixtures("float64")
law = settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
seeds = st.integers(0, 10_000)
# Times without any value are among them: shapes stay, so nothing is compiled anew.
masks = arrays(bool, (9, 3)).filter(np.any)
TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-13, "n_inner": 100}


@pytest.mark.parametrize("full_R", [False, True])
@law
@given(seed=seeds, mask=masks)
def test_oi_is_3dvar_where_operators_are_linear(full_R, seed, mask):
    linear = LinearProblem(seed, mask=mask, full_R=full_R)
    oi = OptimalInterpolation.of(linear.problem).solve(linear.observations)
    var = ThreeDVar.of(linear.problem, rtol=1e-12).solve(linear.observations)
    np.testing.assert_allclose(oi.states, [mean for mean, _ in linear.updates()], atol=1e-8)
    np.testing.assert_allclose(var.states, oi.states, atol=1e-8)
    np.testing.assert_allclose(var.diagnostics.cost, oi.diagnostics.cost, rtol=1e-8)


@law
@given(seed=seeds, mask=masks, other=arrays(bool, (4, 2)).filter(np.any))
def test_several_instruments_are_the_kalman_updates_by_one_after_another(seed, mask, other):
    """Independent errors: analysing one instrument, then the next, is analysing both."""
    linear = LinearProblem(seed, mask=mask, full_R=True)
    rng, times = np.random.default_rng(seed + 1), (0, 1, 5, 8)
    second = LinearProblem(seed, n_obs=2, n_steps=3, mask=other)
    second.H, second.obs = rng.normal(size=(2, 5)), rng.normal(size=(4, 2))
    seen = second.observations
    both = Observations.combined(
        linear.observations,
        Observations(times, seen.values, seen.operator, seen.error, seen.mask, T_assim=8),
    )
    want = linear.updates()
    for row, time in enumerate(times):
        want[time] = second.update(*want[time], row)
    for method in (OptimalInterpolation, ThreeDVar):
        found = method.of(linear.problem).solve(both)
        np.testing.assert_allclose(found.states, [mean for mean, _ in want], atol=1e-7)


@pytest.mark.parametrize("full_R", [False, True])
@law
@given(seed=seeds, mask=masks)
def test_strong_4dvar_of_a_linear_model_is_the_kalman_smoother(full_R, seed, mask):
    linear = LinearProblem(seed, mask=mask, full_R=full_R)
    want = linear.smoother()[0][0]
    strong = StrongFourDVar.of(linear.problem, rtol=1e-14, n_starts=1)
    np.testing.assert_allclose(strong.solve(linear.observations).x0, want, atol=1e-7)
    products = IncrementalFourDVar.of(linear.problem, n_starts=1, **TIGHT)
    np.testing.assert_allclose(products.solve(linear.observations).x0, want, atol=1e-7)


@law
@given(seed=seeds, mask=masks)
def test_weak_4dvar_of_a_linear_model_is_the_whole_kalman_smoother(seed, mask):
    linear = LinearProblem(seed, mask=mask, error_scale=0.3, full_R=True)
    linear.Q = np.broadcast_to(linear.Q[0], linear.Q.shape)
    weak = WeakFourDVar.of(linear.problem, model_err_cov_op=dense(linear.Q[0]), **TIGHT)
    found = weak.solve(linear.observations)
    states = forced_trajectory(weak.forward, found.x0, found.etas)
    np.testing.assert_allclose(states, linear.smoother()[0], atol=1e-7)
    np.testing.assert_allclose(found.trajectory(weak.forward, 8), states)


@pytest.mark.parametrize("times", [(0,), (3, 8), (1, 2, 4)])
def test_times_without_a_value_can_be_left_out(times):
    mask = np.zeros((9, 3), bool)
    mask[list(times)] = [True, True, False]
    linear = LinearProblem(7, mask=mask)
    seen, rows = linear.observations, np.array(times)
    few = Observations(
        times, seen.values[rows], seen.operator, seen.error[rows], seen.mask[rows], T_assim=8
    )
    for method in (OptimalInterpolation, StrongFourDVar):
        built = method.of(linear.problem)
        want, found = built.solve(seen), built.solve(few)
        np.testing.assert_allclose(found.x0, want.x0, atol=1e-9)
        np.testing.assert_allclose(found.diagnostics.cost, want.diagnostics.cost, atol=1e-9)


@law
@given(seed=seeds, mask=arrays(bool, (5, 3)).filter(np.any))
def test_incremental_converges_to_strong_where_the_model_is_not_linear(seed, mask):
    rng = np.random.default_rng(seed)
    forward = Lorenz63Forward()
    x_b = np.array([1.0, 3.0, 20.0]) + rng.normal(size=3)
    seen = Observations((0, 2, 3, 7, 8), rng.normal(size=(5, 3)) + x_b, _square, 0.5, mask)
    parts = {
        "forward": forward,
        "prior_mean": jnp.asarray(x_b),
        "prior_cov_op": dense(covariance(rng, 3)),
        "n_starts": 1,
    }
    strong = StrongFourDVar(**parts, rtol=1e-13).solve(seen)
    found = IncrementalFourDVar(**parts, **TIGHT).solve(seen)
    np.testing.assert_allclose(found.x0, strong.x0, atol=1e-5)
    np.testing.assert_allclose(found.diagnostics.cost, strong.diagnostics.cost, rtol=1e-8)


def _square(state, time):
    """Three values, all of them bent, and different at each time."""
    return state + 0.02 * (1 + 0.1 * time) * state**2


def test_a_missing_value_may_be_anything_and_a_seen_one_not():
    """A logarithm of what is negative is NaN, where nothing was observed."""
    problem = generate_problem(key=jax.random.key(0), T_assim=10, T_total=10)
    x0 = problem.truth[0]
    there = jnp.sign(problem.truth[jnp.array([0, 5, 10])]) > 0
    values = jnp.where(there, jnp.log(jnp.abs(problem.truth[jnp.array([0, 5, 10])])), jnp.nan)
    seen = Observations((0, 5, 10), values, lambda x, t: jnp.log(x), 0.1, there)
    close = {"prior_mean": x0 + 0.1, "prior_cov_op": dense(0.05 * jnp.eye(3)), "n_starts": 1}
    found = [
        method.of(problem, **close).solve(seen) for method in (StrongFourDVar, IncrementalFourDVar)
    ]
    assert np.isfinite(found[0].x0).all()
    assert float(jnp.linalg.norm(found[0].x0 - x0)) < float(jnp.linalg.norm(0.1 * jnp.ones(3)))
    np.testing.assert_allclose(found[1].x0, found[0].x0, atol=1e-2)
    var = ThreeDVar.of(problem, **{k: v for k, v in close.items() if k != "n_starts"})
    assert np.isfinite(var.solve(seen).states).all()
