"""How 4DVar finds the right minimum: windows that grow, starts that are tried again."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearModel, LinearProblem
from scipy.stats import chi2

from assimilation import (
    IncrementalFourDVar,
    Observations,
    StrongFourDVar,
    dense,
    generate_problem,
)
from assimilation.methods.growing_window import credible
from assimilation.methods.method import window_key

pytestmark = pytest.mark.usefixtures("float64")


def ripples(state, time):
    """One value with a great many maxima, each a little higher than the one before."""
    return jnp.sin(30 * state[:1]) + 0.1 * state[:1]


def rippled(**settings):
    """A window of one time, that no state explains: each start ends at a maximum near it."""
    seen = Observations((0,), jnp.array([[3.0]]), ripples, 0.01)
    parts = (LinearModel(jnp.eye(1)), jnp.zeros(1), dense(jnp.eye(1)))
    return StrongFourDVar(*parts, grow_window=False, **settings), seen


def test_the_lowest_cost_of_all_starts_wins():
    costs, runs = [], []
    for n_starts in range(1, 5):
        method, seen = rippled(n_starts=n_starts, key=jax.random.key(8))
        found = method.solve(seen).diagnostics
        costs.append(float(found.cost))
        runs.append(int(found.iterations))
    # One more start never makes it worse, sometimes better, and always takes more work.
    assert (np.diff(costs) <= 0).all()
    assert 1 <= (np.diff(costs) < 0).sum() < 4
    assert (np.diff(runs) > 0).all()


def test_windows_draw_their_own_starts_and_draw_them_again():
    method, seen = rippled(n_starts=6)
    solve = jax.jit(lambda seen: method.solve(seen).x0)
    ends = []
    for number in range(8):
        window = eqx.tree_at(lambda o: o.values, seen, seen.values + 1e-4 * number)
        ends.append(float(solve(window)[0]))
        assert float(solve(window)[0]) == ends[-1]
    # With the same starts they would all have climbed the same maximum, 0.21 wide.
    assert np.std(ends) > 0.21
    other = rippled(n_starts=6, key=jax.random.key(1))[0]
    assert abs(float(other.solve(seen).x0[0]) - ends[0]) > 1e-3


def test_keys_of_windows_differ_with_any_of_their_values():
    values = jnp.arange(6.0).reshape(3, 2)
    draws = [
        jax.random.key_data(window_key(jax.random.key(seed), values.at[row].add(0.01)))
        for seed in (0, 1)
        for row in range(3)
    ]
    assert len(np.unique(np.stack(draws), axis=0)) == 6


@pytest.mark.parametrize("n_obs", [4, 36, 500])
def test_a_right_minimum_is_credible_and_twice_its_cost_is_not(n_obs):
    """2 J of the right minimum is chi-square: it is given up once in a hundred windows or less."""
    limit = float(credible(jnp.asarray(float(n_obs))))
    assert 1e-4 < chi2.sf(limit, n_obs) < 2e-2
    if n_obs > 100:
        assert limit < 1.2 * n_obs


def test_a_start_without_a_credible_cost_is_followed_by_another():
    """Values that the background explains end the search; values that fit nothing do not."""
    linear = LinearProblem(0)
    seen = explained(linear)
    impossible = eqx.tree_at(lambda o: o.values, seen, seen.values + 30.0 * seen.mask)
    built = [StrongFourDVar.of(linear.problem, n_starts=n) for n in (1, 4)]
    few, many = (
        [int(m.solve(w).diagnostics.iterations) for w in (seen, impossible)] for m in built
    )
    assert few[0] == many[0]
    assert many[1] > few[1]


def explained(linear):
    """The observations, without errors, of the run from the background."""
    states = np.stack([np.linalg.matrix_power(linear.M, t) @ linear.x_b for t in range(9)])
    values = jnp.asarray(states @ linear.H.T * linear.mask)
    return eqx.tree_at(lambda o: o.values, linear.observations, values)


def test_a_window_that_has_grown_leads_to_the_nearest_valley():
    """The shorter window ends beside a hilltop, from which a full step leaps over valleys.

    The nearest valley costs least: what else is known pulls to the middle.
    """

    def waves(state, time):
        return jnp.where(time < 2, state, -jnp.cos(1.5 * state))

    def solve(first):
        values = jnp.stack([first, 1.0])[:, None]
        seen = Observations((1, 2), values, waves, jnp.array([[1.0], [0.01]]))
        parts = (LinearModel(jnp.eye(1)), jnp.zeros(1), dense(jnp.eye(1)))
        return StrongFourDVar(*parts, n_starts=1).solve(seen).x0[0]

    ends = jax.jit(jax.vmap(solve))(jnp.linspace(-1.2, 1.2, 40))
    # Near +-pi / 1.5, where the wave is highest: the next ones are three times as far.
    np.testing.assert_allclose(jnp.abs(ends), np.pi / 1.5, atol=0.5)


def test_growing_windows_find_the_minimum_that_whole_windows_miss():
    """Lorenz-63 over twice its doubling time and more: the cost has many minima."""
    keys = jax.random.split(jax.random.key(1), 12)
    problems = jax.jit(
        jax.vmap(lambda key: generate_problem(key=key, T_assim=200, T_total=200, obs_every=20))
    )(keys)

    def share(grow_window):
        def one(problem):
            method = StrongFourDVar.of(problem, n_starts=1, grow_window=grow_window)
            return method.solve(problem.observations).diagnostics.normalised_cost

        return float(np.mean(np.asarray(jax.jit(jax.vmap(one))(problems)) < 2))

    assert share(True) >= 0.9
    assert share(False) <= 0.5


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(("last", "share"), [(8, 1.0), (4, 0.5)])
def test_work_is_counted_in_runs_over_the_whole_window(size, last, share):
    """One step: a run for its cost, one to linearise around and one for each control."""
    mask = np.zeros((9, 3))
    mask[: last + 1] = 1
    linear = LinearProblem(0, size=size, mask=mask)
    one = {"grow_window": False, "n_starts": 1, "rtol": 1e-12}
    strong = StrongFourDVar.of(linear.problem, max_steps=1, **one)
    found = strong.solve(linear.observations).diagnostics
    np.testing.assert_allclose(found.model_runs, share * (2 + size))
    # One inner step of two runs; a run and an adjoint one for the gradient.
    products = IncrementalFourDVar.of(linear.problem, n_outer=1, n_inner=1, **one)
    found = products.solve(linear.observations).diagnostics
    np.testing.assert_allclose(found.model_runs, share * (1 + 2 + 2))


def test_a_start_at_the_minimum_has_converged_there():
    linear = LinearProblem(0)
    seen = explained(linear)
    for method in (StrongFourDVar, IncrementalFourDVar):
        found = method.of(linear.problem).solve(seen)
        assert bool(found.diagnostics.converged)
        np.testing.assert_allclose(found.x0, linear.x_b, atol=1e-10)
        assert float(found.diagnostics.cost_history.max()) < 1e-12
