"""Cycled analyses against the same steps taken by hand, and against theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from linear_problem import LinearModel

from assimilation import (
    Analysis,
    Background,
    EnsembleOfFourDVars,
    LinearObs,
    Lorenz63Forward,
    Observations,
    OptimalInterpolation,
    Problem,
    StrongFourDVar,
    ThreeDVar,
    WeakFourDVar,
    cycle,
    dense,
    free_forecast,
    generate_l96_problem,
    generate_problem,
    rmse,
    scaled,
    scaled_identity,
)

law = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
START = np.array([1.0, 3.0, 20.0])


def turning(time):
    """Two rows that look at other parts of the state at each time."""
    angle = 0.7 * time
    return jnp.array([[jnp.cos(angle), jnp.sin(angle), 0.0], [0.0, 0.5, 1.0]])


def problem_of(seed, times, mask, T_assim, start=0):
    """Lorenz-63 from a random background, seen by instruments that turn."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(times), 2)) + np.array([3.0, 20.0])
    covariance = 0.3 * np.eye(2) + 0.1
    error = np.broadcast_to(covariance, (len(times), 2, 2))
    seen = Observations(times, values, LinearObs(turning), error, mask, T_assim, start)
    background = Background(jnp.asarray(START + rng.normal(size=3)), dense(0.5 * jnp.eye(3) + 0.2))
    return Problem(Lorenz63Forward(), background, seen)


def moved(method, mean):
    return eqx.tree_at(lambda m: m.prior_mean, method, mean)


@pytest.mark.usefixtures("float64")
@law
@given(seed=st.integers(0, 10_000), mask=arrays(bool, (4, 2)).filter(np.any))
def test_windows_between_irregular_times_are_those_of_oi_written_out(seed, mask):
    times = (0, 2, 3, 7)
    problem = problem_of(seed, times, mask, T_assim=9)
    B, seen = np.asarray(problem.B_op_state.as_matrix()), problem.observations
    background, backgrounds, analyses = problem.prior_mean_state, [], []
    run = jax.jit(lambda x: free_forecast(problem.forward, x, 4))
    for row, (time, end) in enumerate(zip(times, (*times[1:], 10), strict=True)):
        there = mask[row]
        H = np.asarray(turning(time))[there]
        R = np.asarray(seen.error[row])[np.ix_(there, there)]
        gain = B @ H.T @ np.linalg.inv(H @ B @ H.T + R)
        backgrounds.append(background)
        analyses.append(background + gain @ (np.asarray(seen.values[row])[there] - H @ background))
        background = run(analyses[-1])[end - time]
    for method in (OptimalInterpolation, ThreeDVar):
        found = cycle(method.of(problem), problem)
        np.testing.assert_array_equal(found.starts, times)
        np.testing.assert_allclose(found.backgrounds, jnp.stack(backgrounds), atol=1e-7)
        np.testing.assert_allclose(found.analyses.x0, jnp.stack(analyses), atol=1e-7)
        np.testing.assert_allclose(found.forecasts[-1], background, atol=1e-7)
        np.testing.assert_array_equal(found.forecasts[:-1], found.backgrounds[1:])


@pytest.mark.usefixtures("float64")
@law
@given(seed=st.integers(0, 10_000), mask=arrays(bool, (6, 2)))
def test_a_cycle_cut_in_two_is_the_cycle(seed, mask):
    """Twelve windows' worth at once, or six and then six more from where those ended."""
    mask[0] = mask[3] = True
    times, half = (0, 1, 5, 6, 7, 11), (0, 1, 5)
    whole = problem_of(seed, times, mask, T_assim=11)
    parts = []
    for rows, start in ((slice(0, 3), 0), (slice(3, 6), 6)):
        seen = whole.observations
        part = Observations(
            half, seen.values[rows], seen.operator, seen.error[rows], mask[rows], 5, start
        )
        parts.append(Problem(whole.forward, whole.background, part))
    for method, n_steps in ((OptimalInterpolation, None), (StrongFourDVar, 3)):
        built = method.of(whole)
        together = cycle(built, whole, n_steps)
        first = cycle(built, parts[0], n_steps)
        second = cycle(moved(built, first.forecasts[-1]), parts[1], n_steps)
        for found in ("starts", "backgrounds", "forecasts"):
            both = np.concatenate([getattr(first, found), getattr(second, found)])
            np.testing.assert_allclose(both, getattr(together, found), atol=1e-5)
        both = np.concatenate([first.analyses.x0, second.analyses.x0])
        np.testing.assert_allclose(both, together.analyses.x0, atol=1e-5)


@pytest.mark.usefixtures("float64")
def test_windows_of_4dvar_see_observations_anywhere_in_them():
    mask = np.ones((4, 2))
    problem = problem_of(3, (1, 2, 7, 8), mask, T_assim=8)
    strong = StrongFourDVar.of(problem)
    found = cycle(strong, problem, 3)
    assert found.backgrounds.shape == (3, 3)
    seen, background = problem.observations, problem.prior_mean_state
    for window, (rows, times) in enumerate([([0, 1], (1, 2)), (None, ()), ([2, 3], (1, 2))]):
        np.testing.assert_allclose(found.backgrounds[window], background, atol=1e-6)
        x0 = background
        if rows:
            rows = np.array(rows)
            alone = Observations(
                times,
                seen.values[rows],
                seen.operator,
                seen.error[rows],
                T_assim=2,
                start=3 * window,
            )
            x0 = moved(strong, background).solve(alone).x0
        np.testing.assert_allclose(found.analyses.x0[window], x0, atol=1e-6)
        background = free_forecast(problem.forward, x0, 3)[-1]
    np.testing.assert_allclose(found.forecasts[-1], background, atol=1e-6)
    # Where nothing was seen, the background is the minimum, and has been found.
    assert found.analyses.diagnostics.converged.all()


@pytest.mark.usefixtures("float64")
def test_weak_4dvar_hands_on_its_own_trajectory():
    """The forecast starts from the end of the window, pushed by the errors on the way there."""
    problem = problem_of(4, (0, 1, 2, 3, 4, 5), np.ones((6, 2)), T_assim=5)
    weak = WeakFourDVar.of(problem, model_err_cov_op=scaled_identity(0.1, 3))
    found = cycle(weak, problem, 3)
    state = found.analyses.x0[0]
    for eta in found.analyses.etas[0]:
        state = problem.forward.step(state, problem.dt) + eta
    state = problem.forward.step(state, problem.dt)
    assert found.analyses.etas.shape == (2, 2, 3)
    np.testing.assert_allclose(found.forecasts[0], state, rtol=1e-8)
    assert np.abs(found.analyses.etas).max() > 1e-3


def test_steady_error_of_a_linear_cycle_is_the_theoretical_one():
    # With constant gain g, the analysis error obeys e' = (1 - g) 0.9 e + g times noise.
    n, b, r, size = 4000, 0.5, 1.0, 8
    decay = LinearModel(0.9 * jnp.eye(size))
    truth = free_forecast(decay, jnp.ones(size), n - 1)
    noise = jax.random.normal(jax.random.key(5), (n, size))
    seen = Observations(range(n), truth + noise, LinearObs(jnp.eye(size)), r**0.5)
    problem = Problem(decay, Background(jnp.zeros(size), scaled_identity(b, size)), seen)
    cycled = cycle(OptimalInterpolation.of(problem), problem, 1)
    g = b / (b + r)
    variance = g**2 * r / (1 - (0.9 * (1 - g)) ** 2)
    found = jnp.mean((cycled.analyses.x0 - truth)[100:] ** 2)
    # 31,200 values with a correlation of 0.6 from one time to the next.
    assert abs(found / variance - 1) < 0.06


def test_a_cycle_tracks_the_truth_better_than_the_climatology():
    problem = generate_l96_problem(
        key=jax.random.key(3), dt=0.05, T_assim=149, T_total=149, obs_every=1, site_every=1
    )
    method = OptimalInterpolation.of(problem, prior_cov_op=scaled(problem.B_op_state, 0.02))
    cycled = cycle(method, problem)
    analysed = rmse(cycled.analyses.x0, problem.truth, axis=-1)[50:].mean()
    # An observation alone is wrong by 0.5, the climatological mean by 3.6.
    assert analysed < 0.4
    assert rmse(cycled.backgrounds, problem.truth, axis=-1)[50:].mean() > analysed


def test_what_cannot_be_cycled_is_refused():
    problem = generate_problem(
        key=jax.random.key(0), T_assim=11, T_total=11, obs_every=3, spin_up=20
    )
    oi, strong = OptimalInterpolation.of(problem), StrongFourDVar.of(problem)
    with pytest.raises(ValueError, match="n_steps=5"):
        cycle(strong, problem, 5)
    with pytest.raises(ValueError, match="n_steps=0"):
        cycle(strong, problem, 0)
    # Observations at later times of a window would be lost on OI.
    with pytest.raises(ValueError, match="n_steps=6"):
        cycle(oi, problem, 6)
    for wrong in (lambda batch: batch, EnsembleOfFourDVars(strong), Analysis):
        with pytest.raises(TypeError, match="method"):
            cycle(wrong, problem, 6)
    whole = OptimalInterpolation.of(problem, prior_mean=problem.prior_mean)
    with pytest.raises(ValueError, match="prior_mean"):
        cycle(whole, problem)
    with pytest.raises(TypeError, match="key"):
        cycle(strong, problem, 6, key=3)
