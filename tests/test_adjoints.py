"""Adjoint identities, and Taylor tests of every 4DVar cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import (
    EachTime,
    Lorenz63Forward,
    Lorenz96Forward,
    Lorenz96TwoLevelForward,
    ParameterisedLorenz96Forward,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
    scaled_identity,
    square_root,
)
from assimilation.methods.window_cost import Sweeps, WindowCost

MODELS = [
    Lorenz63Forward(),
    Lorenz96Forward(),
    Lorenz96TwoLevelForward(),
    ParameterisedLorenz96Forward(coefficients=(0.1, -0.2, 0.01)),
]
PROBLEMS = {
    "lorenz63": lambda key: generate_problem(key=key, T_assim=10, T_total=10),
    "lorenz96": lambda key: generate_l96_problem(key=key, T_assim=10, T_total=10),
    "two_level": lambda key: generate_l96_2l_problem(key=key, T_assim=10, T_total=10),
}

pytestmark = pytest.mark.usefixtures("float64")


def window_of(name, weak):
    problem = PROBLEMS[name](jax.random.key(0))
    Q = EachTime(scaled_identity(0.04, problem.D), problem.T_assim)
    return WindowCost(
        problem.forward,
        problem.obs_op,
        problem.prior_mean_state,
        square_root(problem.B_op_state),
        problem.obs,
        problem.mask / 0.5,
        square_root(Q) if weak else None,
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_model_adjoint(model):
    state, v, w = (normal(seed, model.D) for seed in range(3))
    step = lambda x: model.step(x, model.dt)  # noqa: E731
    Mv = jax.jvp(step, (state,), (v,))[1]
    MTw = jax.vjp(step, state)[1](w)[0]
    np.testing.assert_allclose(Mv @ w, v @ MTw, rtol=1e-12)


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_window_adjoint(name, weak):
    end = 7
    window = window_of(name, weak)
    chi, v = 0.1 * normal(0, window.n_controls), normal(1, window.n_controls)
    sweeps = Sweeps(window, window.run(chi, end).states, end)
    w = normal(2, *window.obs.shape) * (jnp.arange(len(window.obs)) <= end)[:, None]
    np.testing.assert_allclose(
        jnp.vdot(sweeps.forward(v), w), v @ sweeps.adjoint(w), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_taylor_of_the_cost(name, weak):
    window = window_of(name, weak)
    chi, direction = 0.1 * normal(0, window.n_controls), normal(1, window.n_controls)
    run, cost = window.run(chi, 10), jax.jit(lambda chi: window.cost(chi, 10))
    np.testing.assert_allclose(run.cost, cost(chi), rtol=1e-12)
    steps = 10.0 ** -np.arange(2, 6)
    remainders = [
        abs(cost(chi + h * direction) - run.cost - h * run.gradient @ direction) for h in steps
    ]
    slopes = np.diff(np.log10(np.array(remainders))) / np.diff(np.log10(steps))
    np.testing.assert_allclose(slopes[-2:], 2, atol=0.05)


@pytest.mark.parametrize("name", PROBLEMS)
def test_taylor_of_the_linearised_departures(name):
    window = window_of(name, weak=True)
    chi, direction = 0.1 * normal(0, window.n_controls), normal(1, window.n_controls)
    states = window.run(chi, 10).states
    change = Sweeps(window, states, 10).forward(direction)

    @jax.jit
    def departures(chi):
        return window.weights * window.run(chi, 10).states

    steps = 10.0 ** -np.arange(2, 6)
    remainders = [
        jnp.linalg.norm(departures(chi + h * direction) - departures(chi) - h * change)
        for h in steps
    ]
    slopes = np.diff(np.log10(np.array(remainders))) / np.diff(np.log10(steps))
    np.testing.assert_allclose(slopes[:2], 2, atol=0.1)


@pytest.mark.parametrize("name", PROBLEMS)
def test_products_agree_with_the_dense_hessian(name):
    window = window_of(name, weak=False)
    chi, v = 0.1 * normal(0, window.n_controls), normal(1, window.n_controls)
    dense, run = window.linearise(chi, 10), window.run(chi, 10)
    np.testing.assert_allclose(run.gradient, dense.gradient, rtol=1e-9, atol=1e-9)
    product = Sweeps(window, run.states, 10).hessian(v)
    np.testing.assert_allclose(product, dense.hessian @ v, rtol=1e-9, atol=1e-9)
