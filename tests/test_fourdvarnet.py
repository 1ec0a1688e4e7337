"""FourDVarNet: its solver against closed form, its symmetries, its gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from assimilation import (
    Batch1D,
    FourDVarNet1D,
    Normalisation,
    Ring,
    assim_batch,
    generate_problem,
    train_step,
)
from assimilation.learned.fourdvarnet_parts import Gradient

RING = Ring(6, (1, 2))
SIZES = {"latent_dim": 5, "hidden_dim": 7, "n_solver_steps": 3}


class PlainStep(eqx.Module):
    """Steepest descent in place of the learned modulator."""

    rate: float

    def initial(self, n_sites):
        return ()

    def __call__(self, gradient, memory):
        return self.rate * (gradient.observed + gradient.prior), memory


def windows(key, n_windows=2, n_time=4, size=18, scale=3.0):
    k_obs, k_mask, k_target = jax.random.split(key, 3)
    shape = (n_windows, n_time, size)
    mask = jax.random.bernoulli(k_mask, 0.4, shape).astype(float)
    obs = mask * scale * jax.random.normal(k_obs, shape)
    return Batch1D(input=obs, mask=mask, target=jax.random.normal(k_target, shape))


def normalisation(size=18):
    return Normalisation(jnp.linspace(-1.0, 1.0, size), jnp.linspace(0.5, 2.0, size))


def on_ring(key, **settings):
    # Rotations are a symmetry only of a climatology that has it as well.
    level = jnp.concatenate([jnp.full(6, 1.0), jnp.tile(jnp.array([0.2, 0.4]), 6)])
    return FourDVarNet1D(
        18,
        4,
        **SIZES,
        key=key,
        ring=RING,
        normalisation=Normalisation(level, 1 + level),
        **settings,
    )


def of_linear_prior(net, phi, rate):
    return eqx.tree_at(
        lambda n: (n.prior, n.modulator), net, (lambda x: x @ phi.T, PlainStep(rate))
    )


def gradient_of_loss(net, batch):
    return eqx.filter_jit(eqx.filter_grad(lambda net: net.loss(batch)))(net)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def furthest(a, b):
    return largest([x - y for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)])


def test_with_a_linear_prior_and_plain_steps_it_finds_the_minimum_of_the_cost(float64, key):
    n_time, size = 4, 3
    n = n_time * size
    net = FourDVarNet1D(size, n_time, **SIZES, key=key)
    phi = 0.5 * jax.random.orthogonal(key, n)
    batch = windows(key, 1, n_time, size)
    found = of_linear_prior(net, phi, 0.5).iterates(batch, n_steps=600)[0, -1]
    # Without a ring the window is one site: its channels are all entries, time by time.
    y, m = batch.input[0].ravel(), batch.mask[0].ravel()
    left = jnp.eye(n) - phi
    minimum = jnp.linalg.solve(jnp.diag(m) + left.T @ left, m * y)
    assert np.abs(found.ravel() - minimum).max() < 1e-10


def test_the_solver_sees_the_gradient_of_the_cost(float64, key):
    net = on_ring(key)
    x, obs, mask = (jax.random.normal(k, (6, 12)) for k in jax.random.split(key, 3))
    mask = (mask > 0).astype(float)
    gradient, direction = net.gradient(x, obs, mask), jnp.cos(jnp.arange(72.0)).reshape(6, 12)
    cost = [np.array(net.cost(x + s * direction, obs, mask)) for s in (1e-5, -1e-5)]
    slopes = [float(jnp.sum(part * direction)) for part in (gradient.observed, gradient.prior)]
    np.testing.assert_allclose(slopes, (cost[0] - cost[1]) / 2e-5, rtol=1e-8)
    expected = [jnp.sum(mask * (x - obs) ** 2) / 2, jnp.sum((x - net.prior(x)) ** 2) / 2]
    np.testing.assert_allclose(net.cost(x, obs, mask), expected, rtol=1e-12)


def test_the_modulator_weighs_the_two_terms(key):
    modulator, memory = on_ring(key).modulator, on_ring(key).modulator.initial(6)
    parts = [jax.random.normal(k, (6, 12)) for k in jax.random.split(key)]

    def step(observed, prior, log_weights):
        weighing = eqx.tree_at(lambda m: m.log_weights, modulator, jnp.array(log_weights))
        return weighing(Gradient(observed, prior, jnp.ones((6, 12))), memory)[0]

    for first, weights in ((0, [0.0, -50.0]), (1, [-50.0, 0.0])):
        alone = [
            part if number == first else jnp.zeros((6, 12)) for number, part in enumerate(parts)
        ]
        assert np.allclose(step(*parts, weights), step(*alone, [0.0, 0.0]), atol=1e-6)
        assert not np.allclose(step(*parts, [0.0, 0.0]), step(*alone, [0.0, 0.0]), atol=1e-3)


@pytest.mark.parametrize("shift", range(1, 6))
def test_turning_observations_and_mask_turns_the_analysis(float64, key, shift):
    net, batch = on_ring(key), windows(key)
    order = np.empty(18, dtype=int)
    order[RING.by_site()] = np.roll(RING.by_site(), -shift, axis=0)
    turned = Batch1D(input=batch.input[..., order], mask=batch.mask[..., order])
    analysis = net(batch)
    assert np.abs(net(turned) - analysis[..., order]).max() < 1e-12
    assert np.abs(analysis[..., order] - analysis).max() > 1e-2


def test_what_was_not_observed_makes_no_difference(key):
    net, batch = on_ring(key), windows(key)
    other = Batch1D(input=batch.input + 100 * (1 - batch.mask), mask=batch.mask)
    assert np.allclose(net(other), net(batch), atol=1e-5)


def test_windows_of_a_batch_do_not_see_each_other(float64, key):
    net, batch = on_ring(key), windows(key, 3)
    alone = Batch1D(input=batch.input[1:2], mask=batch.mask[1:2])
    assert np.abs(net(alone)[0] - net(batch)[1]).max() < 1e-12


def test_iterates_start_at_the_climatology_and_end_at_the_analysis(key):
    net, batch = on_ring(key), windows(key)
    iterates = net.iterates(batch)
    assert iterates.shape == (2, 4, 4, 18)
    assert np.allclose(iterates[:, 0], net.normalisation.mean, atol=1e-6)
    assert np.array_equal(iterates[:, -1], net(batch))
    longer = net.iterates(batch, n_steps=5)
    assert np.allclose(longer[:, :4], iterates, atol=1e-5)


@pytest.mark.parametrize("differentiation", ["unrolled", "one_step"])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_gradients_are_finite_from_a_bad_start(key, differentiation, scale):
    net = on_ring(key, differentiation=differentiation)
    batch = windows(key, scale=scale)
    assert np.isfinite(largest(gradient_of_loss(net, batch)))
    start = jnp.full(batch.input.shape, 1e6)

    def far(net):
        return jnp.mean(net.iterates(batch, start=start)[:, -1] ** 2)

    assert np.isfinite(largest(eqx.filter_grad(far)(net)))


def test_both_ways_to_differentiate_give_the_same_analysis(key):
    batch = windows(key)
    unrolled, one_step = (on_ring(key, differentiation=d)(batch) for d in ("unrolled", "one_step"))
    assert np.allclose(unrolled, one_step, atol=1e-5)


def test_one_step_differentiates_the_last_step_alone(float64, key):
    batch = windows(key)
    net = on_ring(key, differentiation="one_step")
    whole = on_ring(key)
    found = gradient_of_loss(net, batch)

    def loss_of_last_step(prior_and_modulator):
        # The first steps with the weights held, the last one with those given.
        last = eqx.tree_at(lambda n: (n.prior, n.modulator), whole, prior_and_modulator)

        def one(obs, mask, target):
            obs = mask * whole.normalisation.scaled(obs)
            x, y, m = (RING.to_sites(f) for f in (jnp.zeros_like(obs), obs, mask))
            memory = whole.modulator.initial(6)
            for _ in range(2):
                change, memory = whole.modulator(whole.gradient(x, y, m), memory)
                x = x - change
            change, _ = last.modulator(last.gradient(x, y, m), memory)
            z = RING.from_sites(x - change, (4, 18))
            return jnp.mean((whole.normalisation.unscaled(z) - target) ** 2)

        losses = jax.vmap(one)(batch.input, batch.mask, batch.target)
        return losses.mean() / jnp.mean(whole.normalisation.std**2)

    slope = eqx.filter_jit(eqx.filter_grad(loss_of_last_step))
    expected = slope((whole.prior, whole.modulator))
    assert furthest((found.prior, found.modulator), expected) < 1e-12
    full = gradient_of_loss(whole, batch)
    assert furthest((full.prior, full.modulator), expected) > 1e-3


def test_one_step_needs_the_same_memory_for_any_number_of_steps(key):
    batch = windows(key, 8)

    def temporary_bytes(n_steps, differentiation):
        net = FourDVarNet1D(
            18, 4, 5, 7, n_steps, key=key, ring=RING, differentiation=differentiation
        )
        weights, static = eqx.partition(net, eqx.is_array)
        slope = jax.jit(jax.grad(lambda w: eqx.combine(w, static).loss(batch)))
        return slope.lower(weights).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(40, "unrolled") > 4 * temporary_bytes(5, "unrolled")
    assert temporary_bytes(40, "one_step") < 1.5 * temporary_bytes(5, "one_step")


def test_training_lowers_the_loss_and_leaves_the_climatology_alone(key):
    problem = generate_problem(key=key, T_assim=10, T_total=10, spin_up=200)
    batch = assim_batch(problem)
    batch = Batch1D(input=batch.input, mask=batch.mask, target=problem.truth[None])
    net = FourDVarNet1D(3, 11, **SIZES, key=key, normalisation=Normalisation.of(problem))
    opt = optax.adam(1e-2)
    state, losses, trained = opt.init(eqx.filter(net, eqx.is_inexact_array)), [], net
    for _ in range(40):
        trained, state, loss = train_step(trained, batch, opt, state)
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    assert np.array_equal(trained.normalisation.mean, net.normalisation.mean)
    assert np.array_equal(trained.normalisation.std, net.normalisation.std)


def test_bad_settings_are_named(key):
    with pytest.raises(ValueError, match="n_solver_steps=0"):
        FourDVarNet1D(3, 5, 2, 2, 0, key=key)
    with pytest.raises(ValueError, match="differentiation='implicit'"):
        FourDVarNet1D(3, 5, 2, 2, 1, key=key, differentiation="implicit")
    with pytest.raises(ValueError, match="ring has 18 entries"):
        FourDVarNet1D(3, 5, 2, 2, 1, key=key, ring=RING)
    with pytest.raises(ValueError, match=r"normalisation\.mean has shape"):
        FourDVarNet1D(3, 5, 2, 2, 1, key=key, normalisation=normalisation())
    with pytest.raises(TypeError, match="key is an array of shape"):
        FourDVarNet1D(3, 5, 2, 2, 1, key=jax.random.split(key))


def test_a_batch_of_another_size_is_refused(key):
    with pytest.raises(ValueError, match=r"batch\.input has shape"):
        on_ring(key)(windows(key, n_time=5))
