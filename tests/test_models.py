"""The forward models against their equations, laws and symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import assimilation as da
from assimilation import (
    Lorenz63Forward,
    Lorenz96Forward,
    Lorenz96TwoLevelForward,
    free_forecast,
)

MODELS = [Lorenz63Forward(), Lorenz96Forward(), Lorenz96TwoLevelForward()]
NAMES = ["l63", "l96", "l96_2l"]


def states(model, seed=0, scale=3.0):
    return scale * jax.random.normal(jax.random.key(seed), (model.D,))


def test_lorenz63_tendency_by_hand():
    got = Lorenz63Forward().tendency(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(got, [10.0, 1 * (28 - 3) - 2, 1 * 2 - 8 / 3 * 3], rtol=1e-6)


def test_lorenz96_tendency_by_hand():
    got = Lorenz96Forward(K=5, F=8.0).tendency(jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    want = [5 * (2 - 4) - 1 + 8, 1 * (3 - 5) - 2 + 8, 2 * (4 - 1) - 3 + 8]
    want += [3 * (5 - 2) - 4 + 8, 4 * (1 - 3) - 5 + 8]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_two_level_tendency_by_loops():
    model = Lorenz96TwoLevelForward(K=5, J=3, F=20.0, h=0.7, c=4.0, b=9.0)
    state = np.asarray(states(model), dtype=float)
    X, Y = state[:5], state[5:]
    coupling = model.h * model.c / model.b
    dX, dY = np.empty(5), np.empty(15)
    for k in range(5):
        block = Y[3 * k : 3 * k + 3]
        dX[k] = X[k - 1] * (X[(k + 1) % 5] - X[k - 2]) - X[k] + model.F
        dX[k] -= coupling * block.sum()
    for i in range(15):
        dY[i] = -model.c * model.b * Y[(i + 1) % 15] * (Y[(i + 2) % 15] - Y[i - 1])
        dY[i] += -model.c * Y[i] + coupling * X[i // 3]
    got = model.tendency(jnp.asarray(state))
    np.testing.assert_allclose(got, np.concatenate([dX, dY]), rtol=2e-5, atol=1e-4)


def test_back_reaction_is_the_block_sum_and_not_the_mean():
    model = Lorenz96TwoLevelForward(F=0.0)
    fast_only = jnp.concatenate([jnp.zeros(8), jnp.ones(64)])
    slow_tendency = model.tendency(fast_only)[:8]
    np.testing.assert_allclose(slow_tendency, -1.0 * 10 / 10 * 8, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_two_level_conserves_energy_without_forcing_and_damping(seed):
    """Advection and coupling only move energy: x . dx/dt is minus the damping."""
    model = Lorenz96TwoLevelForward(F=0.0)
    state = states(model, seed)
    X, Y = state[:8], state[8:]
    damping = -(X @ X) - model.c * (Y @ Y)
    exchange = state @ model.tendency(state)
    scale = jnp.abs(state) @ jnp.abs(model.tendency(state))
    assert abs(exchange - damping) < 1e-5 * scale


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_lorenz96_advection_conserves_energy(seed):
    model = Lorenz96Forward(F=0.0)
    state = states(model, seed)
    scale = jnp.abs(state) @ jnp.abs(model.tendency(state))
    assert abs(state @ model.tendency(state) + state @ state) < 1e-5 * scale


@pytest.mark.parametrize("shift", [1, 3])
def test_rings_have_no_first_site(shift):
    one_level = Lorenz96Forward()
    x = states(one_level)
    np.testing.assert_allclose(
        one_level.tendency(jnp.roll(x, shift)),
        jnp.roll(one_level.tendency(x), shift),
        rtol=1e-5,
    )
    two_level = Lorenz96TwoLevelForward()

    def rotate(state):
        slow, fast = jnp.roll(state[:8], shift), jnp.roll(state[8:], 8 * shift)
        return jnp.concatenate([slow, fast])

    x = states(two_level)
    np.testing.assert_allclose(
        two_level.tendency(rotate(x)), rotate(two_level.tendency(x)), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.usefixtures("float64")
def test_runge_kutta_is_of_order_four(model):
    """Halving the step divides the error over a fixed time by about 16."""
    start = free_forecast(model, states(model, 1, 1.0), 200)[-1]
    span = 4 * model.dt

    def end(n_steps):
        def advance(_, state):
            return model.step(state, span / n_steps)

        return jax.lax.fori_loop(0, n_steps, advance, start)

    exact = end(512)
    errors = [float(jnp.linalg.norm(end(n) - exact)) for n in (4, 8, 16, 32)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert abs(orders[-1] - 4) < 0.25, orders


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_forecasts_run_under_jit_and_vmap(model):
    starts = jnp.stack([states(model, seed, 1.0) for seed in range(3)])
    many = jax.jit(jax.vmap(lambda x0: free_forecast(model, x0, 5)))(starts)
    assert many.shape == (3, 6, model.D)
    np.testing.assert_array_equal(many[:, 0], starts)
    np.testing.assert_allclose(many[1], free_forecast(model, starts[1], 5), rtol=1e-5, atol=1e-6)


def test_any_object_with_dt_and_step_is_a_forward_model():
    class Decay:
        dt = 0.5

        def step(self, state, dt):
            return state * (1 - dt)

    got = free_forecast(Decay(), jnp.array([8.0]), 3)
    np.testing.assert_allclose(got[:, 0], [8, 4, 2, 1])


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.usefixtures("float64")
def test_tangent_and_adjoint_of_a_forecast_agree(model):
    """<M v, w> = <v, M^T w> over ten steps."""
    x0, v, w = (states(model, seed, 1.0) for seed in (1, 2, 3))

    def end(x):
        return free_forecast(model, x, 10)[-1]

    _, Mv = jax.jvp(end, (x0,), (v,))
    (Mt_w,) = jax.vjp(end, x0)[1](w)
    np.testing.assert_allclose(Mv @ w, v @ Mt_w, rtol=1e-10)


def test_a_parameterised_model_adds_its_polynomial():
    plain = da.Lorenz96Forward(K=6, F=20.0)
    model = da.ParameterisedLorenz96Forward(K=6, F=20.0, coefficients=(0.5, -1.0, 0.25))
    x = states(plain)
    want = plain.tendency(x) + 0.5 - x + 0.25 * x**2
    np.testing.assert_allclose(model.tendency(x), want, rtol=1e-5)


PARAMETERS = {
    "l63": (da.Lorenz63Forward, ("sigma", "rho", "beta")),
    "l96": (da.Lorenz96Forward, ("F",)),
    "l96_2l": (da.Lorenz96TwoLevelForward, ("F", "h", "c", "b")),
    "parameterised": (da.ParameterisedLorenz96Forward, ("F", "coefficients")),
}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.usefixtures("float64")
def test_a_step_has_the_derivative_of_finite_differences_in_each_parameter(name):
    make, names = PARAMETERS[name]
    model = make()
    x, weight = states(model, 1), states(model, 2)
    parameters = {name: getattr(model, name) for name in names}

    @jax.jit
    def after(parameters):
        return weight @ make(**parameters).step(x, 0.002)

    leaves, structure = jax.tree.flatten(parameters)
    gradient = jax.tree.leaves(jax.grad(after)(parameters))
    for i, derivative in enumerate(gradient):
        step = 1e-4

        def moved(by, i=i):
            return after(structure.unflatten([*leaves[:i], leaves[i] + by, *leaves[i + 1 :]]))

        difference = (moved(step) - moved(-step)) / (2 * step)
        assert abs(difference) > 1e-6
        np.testing.assert_allclose(derivative, difference, rtol=1e-5)


def test_models_of_different_parameters_run_side_by_side():
    F = jnp.array([6.0, 8.0, 10.0])
    together = jax.vmap(lambda model, x: model.step(x, 0.05), in_axes=(0, None))
    x = states(da.Lorenz96Forward(K=6))[:6]
    found = together(jax.vmap(lambda F: da.Lorenz96Forward(K=6, F=F))(F), x)
    for value, after in zip(F, found, strict=True):
        alone = da.Lorenz96Forward(K=6, F=float(value)).step(x, 0.05)
        np.testing.assert_allclose(after, alone, rtol=1e-5)


def test_sizes_and_time_step_are_no_leaves():
    """They decide shapes and loops; the parameters alone may be traced."""
    leaves = {name: len(jax.tree.leaves(make())) for name, (make, _) in PARAMETERS.items()}
    assert leaves == {"l63": 3, "l96": 1, "l96_2l": 4, "parameterised": 2}


def test_gradient_descent_finds_the_parameter_of_a_trajectory():
    """F from the states of one run, by Gauss-Newton steps with the derivative in F."""
    true = da.Lorenz96Forward(K=8, F=8.0)
    x0 = free_forecast(true, states(true), 200)[-1]
    truth = free_forecast(true, x0, 20)

    @jax.jit
    def step(F):
        def misfit(F):
            return free_forecast(da.Lorenz96Forward(K=8, F=F), x0, 20) - truth

        r, slope = misfit(F), jax.jacfwd(misfit)(F)
        return F - jnp.sum(slope * r) / jnp.sum(slope**2)

    F = jnp.asarray(5.0)
    for _ in range(8):
        F = step(F)
    assert abs(float(F) - 8.0) < 1e-3
