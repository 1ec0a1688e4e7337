"""Cycled analyses against the same steps taken by hand, and against theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import (
    Batch1D,
    Lorenz96Forward,
    OptimalInterpolation,
    Problem,
    StrongFourDVar,
    ThreeDVar,
    cycle,
    free_forecast,
    generate_l96_problem,
    generate_problem,
    rmse,
    scaled,
    scaled_identity,
)


def l63(key, n_windows=4, n_steps=3, **settings):
    last = n_windows * n_steps - 1
    return generate_problem(
        key=key, T_assim=last, T_total=last, spin_up=200, **{"obs_every": n_steps, **settings}
    )


@pytest.mark.usefixtures("float64")
def test_oi_is_cycled_as_written_out():
    problem = l63(jax.random.key(0))
    B, R = 0.1 * problem.B_op_state.as_matrix(), problem.R_op_state.as_matrix()
    background, backgrounds, analyses = problem.prior_mean_state, [], []
    for t in range(0, 12, 3):
        gain = jnp.linalg.solve(B + R, B).T
        analysis = background + gain @ (problem.obs[t] - background)
        backgrounds.append(background)
        analyses.append(analysis)
        background = free_forecast(problem.forward, analysis, 3)[-1]
    arguments = {**problem.ingredients, "prior_cov_op": scaled(problem.B_op_state, 0.1)}
    for method in (OptimalInterpolation, ThreeDVar):
        cycled = cycle(method(**arguments), problem, n_windows=4)
        np.testing.assert_allclose(cycled.backgrounds, jnp.stack(backgrounds), atol=1e-8)
        np.testing.assert_allclose(cycled.analyses, jnp.stack(analyses), atol=1e-8)
        np.testing.assert_allclose(cycled.forecasts[-1], background, atol=1e-8)


def test_strong_4dvar_is_cycled_as_written_out():
    problem = l63(jax.random.key(1), n_windows=3, n_steps=10, obs_every=5)
    method = StrongFourDVar(forward=problem.forward, **problem.ingredients)
    cycled = cycle(method, problem, n_windows=3)
    background = problem.prior_mean_state
    for window in range(3):
        np.testing.assert_allclose(cycled.backgrounds[window], background, atol=1e-3)
        # Start each window from the cycled background: errors must not pile up.
        times = slice(10 * window, 10 * window + 10)
        batch = Batch1D(problem.obs[None, times], problem.mask[None, times])
        fresh = StrongFourDVar(
            forward=problem.forward,
            **{**problem.ingredients, "prior_mean": cycled.backgrounds[window]},
        )
        np.testing.assert_allclose(cycled.analyses[window], fresh(batch)[0], atol=1e-3)
        background = free_forecast(problem.forward, cycled.analyses[window], 10)[-1]


def test_a_method_with_model_errors_hands_on_its_own_trajectory():
    class Pushed(eqx.Module):
        """A background that is pushed by a known amount in each step."""

        forward: Lorenz96Forward
        prior_mean: jax.Array

        def __call__(self, batch):
            etas = jnp.full((1, batch.input.shape[1] - 1, 5), 0.5)
            return self.prior_mean[None], etas

    problem = generate_l96_problem(key=jax.random.key(0), K=5, T_assim=5, T_total=5, spin_up=50)
    cycled = cycle(Pushed(problem.forward, problem.prior_mean_state), problem, n_windows=2)
    state = problem.prior_mean_state
    for _ in range(2):
        state = problem.forward.step(state, problem.dt) + 0.5
    state = problem.forward.step(state, problem.dt)
    np.testing.assert_allclose(cycled.forecasts[0], state, rtol=1e-5)
    np.testing.assert_allclose(cycled.backgrounds[1], cycled.forecasts[0])


class Decay(eqx.Module):
    """x_{t+1} = 0.9 x_t: linear, so that a cycled gain has a known error."""

    dt: float = eqx.field(default=1.0, static=True)

    def step(self, state, dt):
        return 0.9 * state


def test_steady_error_of_a_linear_cycle_is_the_theoretical_one():
    # With constant gain g, the analysis error obeys e' = (1 - g) 0.9 e + g times noise.
    n, b, r = 4000, 0.5, 1.0
    size = 8
    truth = free_forecast(Decay(), jnp.ones(size), n - 1)
    noise = jax.random.normal(jax.random.key(5), (n, size))
    problem = Problem(
        truth=truth,
        obs=truth + noise,
        mask=jnp.ones((n, size)),
        prior_mean_state=jnp.zeros(size),
        B_op_state=scaled_identity(b, size),
        R_op_state=scaled_identity(r, size),
        forward=Decay(),
        climatology_std=1.0,
    )
    cycled = cycle(OptimalInterpolation(**problem.ingredients), problem, n_windows=n)
    g = b / (b + r)
    variance = g**2 * r / (1 - (0.9 * (1 - g)) ** 2)
    found = jnp.mean((cycled.analyses - truth)[100:] ** 2)
    # 31,200 values with a correlation of 0.6 from one time to the next.
    assert abs(found / variance - 1) < 0.06


def test_many_seeds_side_by_side_are_the_same_seeds_one_by_one():
    keys = jax.random.split(jax.random.key(2), 3)

    def analyses(key):
        problem = l63(key)
        return cycle(OptimalInterpolation(**problem.ingredients), problem, 4).analyses

    together = jax.jit(jax.vmap(analyses))(keys)
    for key, found in zip(keys, together, strict=True):
        np.testing.assert_allclose(found, analyses(key), rtol=1e-3, atol=1e-3)


def test_a_cycle_tracks_the_truth_better_than_the_climatology():
    problem = generate_l96_problem(
        key=jax.random.key(3), dt=0.05, T_assim=199, T_total=199, obs_every=1, site_every=1
    )
    arguments = {**problem.ingredients, "prior_cov_op": scaled(problem.B_op_state, 0.02)}
    cycled = cycle(ThreeDVar(**arguments), problem, n_windows=200)
    analysed = rmse(cycled.analyses, problem.truth, axis=-1)[50:].mean()
    # An observation alone is wrong by 0.5, the climatological mean by 3.6.
    assert analysed < 0.4
    assert rmse(cycled.backgrounds, problem.truth, axis=-1)[50:].mean() > analysed


def test_another_model_may_forecast():
    problem = l63(jax.random.key(4), n_windows=2)
    method = OptimalInterpolation(**problem.ingredients)
    cycled = cycle(method, problem, 2, forward=Decay())
    np.testing.assert_allclose(cycled.forecasts, 0.9**3 * cycled.analyses, rtol=1e-5)


def test_bad_input_is_named():
    problem = l63(jax.random.key(0))
    method = ThreeDVar(**problem.ingredients)
    with pytest.raises(ValueError, match="n_windows=5 does not divide the 12 times"):
        cycle(method, problem, 5)
    with pytest.raises(ValueError, match="ThreeDVar would not see"):
        cycle(method, problem, 2)
    with pytest.raises(TypeError, match="method is function without a prior_mean"):
        cycle(lambda batch: batch, problem, 4)
    whole = ThreeDVar(**{**problem.ingredients, "prior_mean": problem.prior_mean})
    with pytest.raises(TypeError, match=r"ThreeDVar without a prior_mean of shape \(3,\)"):
        cycle(whole, problem, 4)
