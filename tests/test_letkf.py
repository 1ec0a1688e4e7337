"""Local analyses: the global one where all is near, and nothing from what is far."""

import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problem import LinearProblem
from oracle import kalman_update

import assimilation as da
from assimilation.covariances.localisation import ring_coordinates

pytestmark = pytest.mark.usefixtures("float64")


def ring_problem(n_sites=12, observed=(0, 2, 3, 7, 10), n_steps=1):
    """A linear model on a ring, some sites of which are seen."""
    linear = LinearProblem(
        1,
        size=n_sites,
        n_obs=len(observed),
        n_steps=n_steps,
        mask=np.ones((n_steps + 1, len(observed))),
    )
    linear.H = np.eye(n_sites)[list(observed)]
    return linear, np.array(observed)


def letkf(linear, observed, radius, **settings):
    place = da.Localisation.on_ring(da.Ring(linear.H.shape[1], (1,)), observed, radius)
    settings = {"n_members": 6, "rotate": False, **settings}
    return da.LETKF.of(linear.problem, localisation=place, **settings)


@pytest.mark.parametrize("n_members", [4, 5, 6, 9])
def test_with_everything_near_it_is_the_transform_filter(n_members):
    """By the system of the members, or that of the five observations, whichever is smaller."""
    linear, observed = ring_problem(n_steps=4)
    for rotate in (False, True):
        local = letkf(linear, observed, 1e6, rotate=rotate, n_members=n_members)
        whole = da.ETKF.of(linear.problem, n_members=n_members, rotate=rotate)
        found, expected = (m.solve(linear.observations) for m in (local, whole))
        np.testing.assert_allclose(found.states, expected.states, atol=1e-8)
        np.testing.assert_allclose(found.members, expected.members, atol=1e-8)


def test_each_entry_is_a_kalman_update_with_errors_that_grow_with_distance():
    """Written out for each site: R / weight, in the covariance of the members."""
    linear, observed = ring_problem()
    radius = 1.7
    method = letkf(linear, observed, radius)
    prior = method.initialise(jax.random.key(2))
    first = da.Observations(
        (0,), linear.observations.values[:1], da.LinearObs(linear.H), linear.observations.error[:1]
    )
    found = method.analyse(prior, first, jax.random.key(3))
    mean, cov = np.asarray(prior.mean), np.cov(np.asarray(prior.states).T)
    spread = np.var(np.asarray(found.members), axis=0, ddof=1)
    for site in range(12):
        away = np.abs(observed - site)
        weight = np.asarray(da.gaspari_cohn(np.minimum(away, 12 - away) / radius))
        near = weight > 1e-9
        R = np.diag(np.diag(linear.R)[near] / weight[near])
        m, P = kalman_update(mean, cov, linear.H[near], R, linear.obs[0][near])
        np.testing.assert_allclose(found.x0[site], m[site], atol=1e-7)
        np.testing.assert_allclose(spread[site], P[site, site], atol=1e-7)


def test_what_is_out_of_reach_changes_nothing():
    linear, observed = ring_problem(observed=(0, 6))
    method = letkf(linear, observed, 1.0)
    prior = method.initialise(jax.random.key(2))

    def analysed(values):
        seen = da.Observations((0,), values, da.LinearObs(linear.H), 0.5)
        return np.asarray(method.analyse(prior, seen, jax.random.key(3)).members)

    before, after = analysed([[1.0, 2.0]]), analysed([[1.0, 7.0]])
    changed = np.abs(before - after).max(axis=0) > 1e-9
    # A half-support of one site reaches the neighbours with weight zero at distance two.
    np.testing.assert_array_equal(np.flatnonzero(changed), [5, 6, 7])
    np.testing.assert_allclose(before[:, 3], np.asarray(prior.states)[:, 3], atol=1e-12)


@pytest.mark.parametrize("n_sites", [12, 13])  # in equal batches, or with the last filled up
def test_missing_values_and_batches_of_sites_change_nothing(n_sites):
    linear, observed = ring_problem(n_sites, n_steps=3)
    linear.mask[1, 2], linear.mask[2] = 0, 0
    linear.obs *= linear.mask
    method = letkf(linear, observed, 2.0)
    prior, key = method.initialise(jax.random.key(2)), jax.random.key(3)
    found = method.analyse(prior, linear.observations, key)
    for size in (1, 4, 5):
        cut = replace(method, batch_size=size).analyse(prior, linear.observations, key)
        np.testing.assert_allclose(cut.members, found.members, atol=1e-10)
    strange = eqx.tree_at(
        lambda o: o.values,
        linear.observations,
        jnp.where(linear.mask > 0, linear.obs, 1e6),
    )
    again = method.analyse(prior, strange, key)
    np.testing.assert_allclose(again.members, found.members, atol=1e-10)


def test_the_radius_is_learned_by_gradient_through_the_filter():
    linear, observed = ring_problem(n_steps=3)
    ring, truth = da.Ring(12, (1,)), jnp.asarray(linear.x_b)

    def miss(radius):
        place = da.Localisation.on_ring(ring, observed, radius, reach=4.0)
        method = da.LETKF.of(linear.problem, localisation=place, n_members=6, rotate=False)
        return jnp.mean((method.solve(linear.observations).states - truth) ** 2)

    slope = jax.jacfwd(miss)(1.9)
    finite = (miss(1.9 + 1e-6) - miss(1.9 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, finite, rtol=1e-5)
    assert abs(slope) > 1e-3


def test_a_localisation_can_be_built_where_its_radius_is_traced():
    ring, observed = da.Ring(12, (1,)), np.array([0, 2, 3, 7, 10])

    @jax.jit
    def weights(radii):
        def of(radius):
            place = da.Localisation.on_ring(ring, observed, radius, reach=4.0)
            return place.weights(place.state[1], place.neighbours[1]), place.neighbours[1]

        return jax.lax.map(of, radii)

    for radius, found, neighbours in zip((1.5, 3.0), *weights(jnp.array([1.5, 3.0])), strict=True):
        outside = da.Localisation.on_ring(ring, observed, radius, reach=4.0)
        np.testing.assert_array_equal(neighbours, outside.neighbours[1])
        expected = outside.weights(outside.state[1], outside.neighbours[1])
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_neighbours_are_those_within_reach_round_the_ring():
    ring = da.Ring(9, (1, 2))
    places = ring_coordinates(ring)[:, 0]
    np.testing.assert_allclose(places[9:13], [0, 0.5, 1, 1.5])
    observed = np.arange(0, 27, 3)
    found = da.Localisation.on_ring(ring, observed, 1.4)
    for place, row in zip(places, np.asarray(found.neighbours), strict=True):
        away = np.abs(places[observed] - place)
        near = np.flatnonzero(np.minimum(away, 9 - away) <= 2.8)
        np.testing.assert_array_equal(row[row >= 0], near)


def test_neighbours_in_a_plane():
    rng = np.random.default_rng(0)
    state, seen = rng.uniform(size=(30, 2)), rng.uniform(size=(20, 2))
    found = da.Localisation(state, seen, 0.15)
    away = np.linalg.norm(state[:, None] - seen, axis=2)
    for i, row in enumerate(np.asarray(found.neighbours)):
        np.testing.assert_array_equal(row[row >= 0], np.flatnonzero(away[i] <= 0.3))
        weights = found.weights(found.state[i], found.neighbours[i])[: np.sum(row >= 0)]
        np.testing.assert_allclose(
            weights, da.gaspari_cohn(away[i][away[i] <= 0.3] / 0.15), atol=1e-9
        )


def largest_eigenproblem(n_members):
    linear, observed = ring_problem()
    method = letkf(linear, observed, 1e6, n_members=n_members)
    prior = jax.eval_shape(method.initialise, jax.random.key(0))
    analyse = jax.make_jaxpr(lambda p: method.analyse(p, linear.observations, jax.random.key(1)).x0)
    found = re.findall(r"f64\[(?:\d+,)?(\d+),\d+\] \w+:f64\[[\d,]+\] = eigh", str(analyse(prior)))
    return max(map(int, found))


def test_the_smaller_system_is_solved():
    assert [largest_eigenproblem(m) for m in (4, 5, 6, 30)] == [4, 5, 5, 5]


def temporaries(n_sites):
    """The bytes that the compiled analysis of a ring needs beside arguments and answer."""
    observations = da.Observations((0,), jnp.zeros((1, n_sites)), da.NonlinearObs(lambda x: x), 1.0)
    background = da.Background(jnp.zeros(n_sites), da.scaled_identity(1.0, n_sites))
    problem = da.Problem(da.Lorenz96Forward(K=n_sites), background, observations)
    place = da.Localisation.on_ring(da.Ring(n_sites, (1,)), np.arange(n_sites), 4.0)
    method = da.LETKF.of(problem, localisation=place, n_members=10, batch_size=500)
    key = jax.random.key(0)
    prior = jax.eval_shape(method.initialise, key)
    analyse = jax.jit(lambda prior, key: method.analyse(prior, observations, key).members)
    return analyse.lower(prior, key).compile().memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_state():
    one, two = temporaries(4000), temporaries(8000)
    assert two < 2.1 * one
    # Members times state, a few times over: far from a matrix of the state.
    assert two < 30 * 10 * 8000 * 8


def test_bad_settings_name_the_fix(untyped):
    linear, observed = ring_problem()
    ring = da.Ring(12, (1,))
    with pytest.raises(ValueError, match="radius=0: pass a finite number above zero"):
        da.Localisation.on_ring(ring, observed, 0)
    with pytest.raises(ValueError, match="observed holds indices outside the state"):
        da.Localisation.on_ring(ring, np.array([12]), 1.0)
    with pytest.raises(ValueError, match="observed is an array of shape"):
        da.Localisation.on_ring(ring, np.array([0.5]), 1.0)
    with pytest.raises(TypeError, match="radius is traced: pass reach="):
        jax.jit(lambda r: da.Localisation.on_ring(ring, observed, r).neighbours)(1.0)
    with pytest.raises(TypeError, match="localisation is int: pass Localisation"):
        da.LETKF.of(linear.problem, localisation=3)
    place = da.Localisation.on_ring(da.Ring(9, (1,)), np.arange(3), 1.0)
    with pytest.raises(ValueError, match="prior_mean has shape"):
        da.LETKF.of(linear.problem, localisation=place)
    full = LinearProblem(1, size=12, n_obs=5, full_R=True)
    with pytest.raises(ValueError, match="pass a diagonal R"):
        letkf(full, observed, 1.0).solve(full.observations)
    with pytest.raises(ValueError, match="the values of one time has shape"):
        letkf(linear, observed[:3], 1.0).solve(linear.observations)


def test_a_localisation_is_built_the_same_under_jit():
    ring = da.Ring(6, (1,))

    def weights():
        place = da.Localisation.on_ring(ring, np.array([0, 3]), 1.5)
        return place.weights(place.state[1], place.neighbours[1])

    np.testing.assert_allclose(jax.jit(weights)(), weights())
    with pytest.raises(TypeError, match="state is traced: build the localisation outside"):
        jax.jit(lambda x: da.Localisation(x, x, 1.5).radius)(jnp.arange(3.0))
