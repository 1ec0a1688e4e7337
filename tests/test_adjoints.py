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
    Observations,
    ParameterisedLorenz96Forward,
    StrongFourDVar,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
    scaled_identity,
    square_root,
)
from assimilation.methods.linearised_window import LinearisedWindow

MODELS = [
    Lorenz63Forward(),
    Lorenz96Forward(),
    Lorenz96TwoLevelForward(),
    ParameterisedLorenz96Forward(coefficients=(0.1, -0.2, 0.01)),
]
PROBLEMS = {
    "lorenz63": lambda key: generate_problem(key=key, T_assim=10, T_total=10),
    "lorenz96": lambda key: generate_l96_problem(key=key, T_assim=10, T_total=10),
    "two_level": lambda key: generate_l96_2l_problem(key=key, T_assim=10, T_total=10, obs_every=5),
}
# The row up to which the window goes, of observations at steps 0, 3, 4, 9 and 10.
LAST = 3

pytestmark = pytest.mark.usefixtures("float64")


def bent(state, time):
    """Three values of a state, none of them linear, and other ones at other times."""
    return jnp.stack([state[0] ** 2 / 9, state[1] * state[2] / 9, (1 + time) * jnp.sin(state[0])])


def window_of(name, weak):
    """A window with uneven times, a bent operator, missing values and correlated errors."""
    problem = PROBLEMS[name](jax.random.key(0))
    Q = EachTime(scaled_identity(0.04, problem.D), problem.T_assim)
    mask = np.ones((5, 3))
    mask[1, 2] = mask[2, 0] = 0
    R = jnp.broadcast_to(jnp.eye(3) + 0.5, (5, 3, 3))
    seen = Observations((0, 3, 4, 9, 10), normal(3, 5, 3), bent, R, mask, start=2)
    window = StrongFourDVar.of(problem).window(seen)
    return window._replace(error_root=square_root(Q)) if weak else window


def controls(window, seed):
    errors = 0 if window.error_root is None else window.error_root.in_size()
    return normal(seed, window.root.in_size() + errors)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_model_adjoint(model):
    state, v, w = (normal(seed, model.D) for seed in range(3))
    step = jax.jit(lambda x: model.step(x, model.dt))
    Mv = jax.jvp(step, (state,), (v,))[1]
    MTw = jax.vjp(step, state)[1](w)[0]
    np.testing.assert_allclose(Mv @ w, v @ MTw, rtol=1e-12)


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_window_adjoint(name, weak):
    window = window_of(name, weak)
    chi, v = 0.1 * controls(window, 0), controls(window, 1)
    w = normal(2, 5, 3) * (jnp.arange(5) <= LAST)[:, None]

    @jax.jit
    def both(chi, v, w):
        sweeps = LinearisedWindow(window, LinearisedWindow.around(window, chi, LAST).states, LAST)
        return jnp.vdot(sweeps.forward(v), w), v @ sweeps.adjoint(w)

    found = both(chi, v, w)
    np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-12)
    assert abs(found[0]) > 1e-3


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_taylor_of_the_cost_and_of_the_departures(name, weak):
    """What first derivatives leave over goes as the square of the step."""
    window = window_of(name, weak)
    chi, direction = 0.1 * controls(window, 0), controls(window, 1)

    @jax.jit
    def cost(chi):
        return window.cost(chi, LAST)

    @jax.jit
    def around(chi, direction):
        run = LinearisedWindow.around(window, chi, LAST)
        departures = jax.vmap(window.departure)(jnp.arange(5), run.states[window.times])
        return run, departures, LinearisedWindow(window, run.states, LAST).forward(direction)

    run, departures, change = around(chi, direction)
    np.testing.assert_allclose(run.cost, cost(chi), rtol=1e-12)
    assert float(jnp.abs(change[LAST + 1]).max()) == 0
    steps = 10.0 ** -np.arange(3, 6)
    of_cost, of_departures = [], []
    for h in steps:
        moved = chi + h * direction
        of_cost.append(abs(cost(moved) - run.cost - h * run.gradient @ direction))
        rest = around(moved, direction)[1] - departures - h * change
        of_departures.append(jnp.linalg.norm(rest[: LAST + 1]))
    for remainders in (of_cost, of_departures):
        slopes = np.diff(np.log10(np.array(remainders))) / np.diff(np.log10(steps))
        np.testing.assert_allclose(slopes, 2, atol=0.1)


@pytest.mark.parametrize("name", PROBLEMS)
def test_products_agree_with_the_dense_hessian(name):
    window = window_of(name, weak=False)
    chi, v = 0.1 * controls(window, 0), controls(window, 1)

    @jax.jit
    def both(chi, v):
        run, local = LinearisedWindow.around(window, chi, LAST), window.linearise(chi, LAST)
        return run, local, LinearisedWindow(window, run.states, LAST).hessian(v)

    run, local, product = both(chi, v)
    np.testing.assert_allclose(local.cost, run.cost, rtol=1e-12)
    np.testing.assert_allclose(run.gradient, local.gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(product, local.hessian @ v, rtol=1e-9, atol=1e-9)


def test_the_cost_is_the_one_written_out():
    """1/2 |chi|^2 and the departures' norms in R^{-1}, at their own times."""
    window = window_of("lorenz63", weak=False)
    chi, seen = 0.1 * controls(window, 0), window.observations
    B = PROBLEMS["lorenz63"](jax.random.key(0)).B_op_state.as_matrix()
    x = window.prior_mean + np.linalg.cholesky(B) @ chi
    cost, row = 0.5 * float(chi @ chi), 0
    for t in range(10):
        if t in seen.times:
            there = np.asarray(seen.mask[row]) > 0
            d = np.asarray(bent(x, 2 + t) - seen.values[row])[there]
            cost += 0.5 * d @ np.linalg.solve((np.eye(3) + 0.5)[np.ix_(there, there)], d)
            row += 1
        x = window.forward.step(x, window.forward.dt)
    np.testing.assert_allclose(window.cost(chi, LAST), cost, rtol=1e-10)
    assert row == LAST + 1


def test_the_control_of_a_state_leads_back_to_it():
    window = window_of("lorenz63", weak=False)
    x0 = window.prior_mean + normal(4, 3)
    chi = window.control_of(x0)
    np.testing.assert_allclose(window.initial_state(chi), x0, rtol=1e-10)
