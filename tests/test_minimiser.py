"""Our minimisers against SciPy's, on the same costs written without the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearModel
from scipy.optimize import least_squares

from assimilation import (
    IncrementalFourDVar,
    Lorenz63Forward,
    NonlinearObs,
    Observations,
    StrongFourDVar,
    ThreeDVar,
    WeakFourDVar,
    dense,
)
from assimilation.methods.levenberg_marquardt import levenberg_marquardt
from assimilation.methods.three_d_var import normal_equations

pytestmark = pytest.mark.usefixtures("float64")
TIMES, STD = (0, 3, 5, 10), 0.4
B = np.array([[1.0, 0.6, 0.0], [0.6, 1.5, 0.2], [0.0, 0.2, 2.0]])
X_B = np.array([1.0, 3.0, 20.0])
Q = 0.02
TIGHT = {"rtol": 1e-14, "inner_rtol": 1e-12, "n_inner": 200}


def bent(state):
    return state + 0.02 * state**2


def step(state, dt=0.01):
    """Lorenz-63 by the classical Runge-Kutta scheme, in NumPy."""

    def tendency(s):
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    k1 = tendency(state)
    k2 = tendency(state + dt / 2 * k1)
    k3 = tendency(state + dt / 2 * k2)
    k4 = tendency(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


VALUES = np.random.default_rng(0).normal(size=(4, 3)) + np.array([3.0, 9.0, 30.0])
SEEN = dict(zip(TIMES, VALUES, strict=True))


def residuals(controls, weak):
    """The cost's roots: [B^{-1/2} (x_0 - x_b), Q^{-1/2} eta, R^{-1/2} (h(x) - y)]."""
    x0, etas = controls[:3], controls[3:].reshape(-1, 3)
    out = [np.linalg.solve(np.linalg.cholesky(B), x0 - X_B), controls[3:] / Q**0.5]
    state = x0
    for t in range(11):
        if t in SEEN:
            out.append((bent(state) - SEEN[t]) / STD)
        state = step(state) + (etas[t] if weak and t < 10 else 0)
    return np.concatenate(out)


@pytest.mark.parametrize("method", [StrongFourDVar, IncrementalFourDVar, WeakFourDVar])
def test_4dvar_ends_where_scipy_does(method):
    weak = method is WeakFourDVar
    start = np.concatenate([X_B, np.zeros(30 if weak else 0)])
    want = least_squares(residuals, start, args=(weak,), xtol=1e-15, ftol=1e-15, gtol=1e-12)
    how = {"rtol": 1e-14} if method is StrongFourDVar else TIGHT
    if weak:
        how = how | {"model_err_cov_op": dense(Q * jnp.eye(3))}
    built = method(
        forward=Lorenz63Forward(), prior_mean=jnp.asarray(X_B), prior_cov_op=dense(B), **how
    )
    found = built.solve(Observations(TIMES, VALUES, NonlinearObs(bent), STD))
    np.testing.assert_allclose(found.diagnostics.cost, want.cost, rtol=1e-8)
    np.testing.assert_allclose(found.x0, want.x[:3], atol=1e-4)
    if weak:
        np.testing.assert_allclose(found.etas.ravel(), want.x[3:], atol=1e-4)


def test_3dvar_ends_where_scipy_does():
    found = ThreeDVar(prior_mean=jnp.asarray(X_B), prior_cov_op=dense(B), rtol=1e-14).solve(
        Observations(TIMES, VALUES, NonlinearObs(bent), STD)
    )
    root, cost, at_background = np.linalg.cholesky(B), 0.0, 0.0
    for time, values in SEEN.items():
        both = lambda x, y=values: np.concatenate(  # noqa: E731
            [np.linalg.solve(root, x - X_B), (bent(x) - y) / STD]
        )
        want = least_squares(both, X_B, xtol=1e-15, ftol=1e-15, gtol=1e-12)
        np.testing.assert_allclose(found.states[time], want.x, atol=1e-5)
        cost += want.cost
        at_background += 0.5 * np.sum(both(X_B) ** 2)
    np.testing.assert_allclose(found.diagnostics.cost, cost, rtol=1e-8)
    np.testing.assert_allclose(found.diagnostics.cost_history[0], at_background, rtol=1e-8)
    np.testing.assert_allclose(found.states[1], X_B)


def hard(x):
    """Rosenbrock's valley, and a pull to the origin."""
    return jnp.concatenate([0.1 * x, 10 * (x[1:] - x[:-1] ** 2)])


def test_levenberg_marquardt_goes_down_a_bent_valley_as_scipy_does():
    cost = jax.jit(lambda x: 0.5 * jnp.sum(hard(x) ** 2))
    start = jnp.array([-1.2, 1.0, 0.5])
    found = jax.jit(
        lambda x: levenberg_marquardt(cost, normal_equations(hard), x, 200, 200, 1e-14)
    )(start)
    want = least_squares(lambda x: np.asarray(hard(x)), start, xtol=1e-15, ftol=1e-15, gtol=1e-14)
    assert bool(found.converged)
    np.testing.assert_allclose(found.chi, want.x, atol=1e-5)
    history = np.asarray(found.history)
    assert (np.diff(history) <= 0).all()
    np.testing.assert_allclose(history[0], cost(start))
    np.testing.assert_allclose(history[int(found.iterations) :], found.cost)
    # Steps that are cut short say so, and stand where they got to.
    cut = levenberg_marquardt(cost, normal_equations(hard), start, 200, 3, 1e-14)
    assert not bool(cut.converged)
    assert int(cut.iterations) == 3
    np.testing.assert_allclose(cut.cost, cost(cut.chi), rtol=1e-12)
    np.testing.assert_allclose(cut.history[3], cut.cost)


def test_4dvar_goes_on_down_a_bent_valley_until_the_cost_stays():
    start = np.array([-1.2, 1.0, 0.5])
    seen = Observations((0,), jnp.zeros((1, 2)), NonlinearObs(lambda x: x[1:] - x[:-1] ** 2), 0.1)
    parts = (LinearModel(jnp.eye(3)), jnp.asarray(start), dense(100 * jnp.eye(3)))
    found = StrongFourDVar(*parts, n_starts=1, rtol=1e-14, max_steps=200).solve(seen)
    about = lambda x: np.asarray(hard(x)) - np.array([*(0.1 * start), 0, 0])  # noqa: E731
    want = least_squares(about, start, xtol=1e-15, ftol=1e-15, gtol=1e-14)
    np.testing.assert_allclose(found.x0, want.x, atol=1e-4)
    np.testing.assert_allclose(found.diagnostics.cost, want.cost, rtol=1e-8)


def test_full_steps_that_overshoot_are_damped():
    """Newton's method for arctan(x) = 0 runs away from where |x| > 1.4."""

    def residual(x):
        return jnp.concatenate([1e-3 * x, jnp.arctan(x)])

    cost = lambda x: jnp.sum(residual(x) ** 2) / 2  # noqa: E731
    found = levenberg_marquardt(cost, normal_equations(residual), jnp.array([10.0]), 60, 60, 1e-12)
    assert (np.diff(found.history) <= 0).all()
    np.testing.assert_allclose(found.chi, 0, atol=1e-6)


def test_a_step_into_overflow_is_never_taken():
    """The cost is finite on one side of a cliff only, and Gauss-Newton leaps over it."""

    def cliff(x):
        return jnp.concatenate([1e-3 * x, jnp.where(x < 1.0, jnp.tanh(3 * x) - 0.95, jnp.nan)])

    cost = lambda x: jnp.sum(cliff(x) ** 2) / 2  # noqa: E731
    start = jnp.array([-1.0])
    found = levenberg_marquardt(cost, normal_equations(cliff), start, 60, 60, 1e-12)
    np.testing.assert_allclose(found.chi, np.arctanh(0.95) / 3, atol=1e-2)
    assert np.isfinite(found.cost)
