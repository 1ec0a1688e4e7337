"""Amortized posteriors: symmetry, a posterior known in closed form, learned first guess."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from assimilation import (
    AmortizedConfig,
    AmortizedPosterior,
    Batch1D,
    FlowHead,
    GaussianHead,
    MLPObsEncoder,
    Normalisation,
    RegressionHead,
    Ring,
    RingObsEncoder,
    amortized_train_step,
    rank_histogram,
    ranks,
    train,
)
from assimilation.learned.heads import gaussian_score
from assimilation.learned.step import trainable

KEY = jax.random.key(3)
RING = Ring(5, (1, 2))


class LinearGaussian(eqx.Module):
    """x ~ N(0, B) in two dimensions, of which the first is observed with error 0.5."""

    B: jax.Array = eqx.field(default_factory=lambda: jnp.array([[1.0, 0.8], [0.8, 1.5]]))

    def draw(self, key, size):
        k_x, k_y = jax.random.split(key)
        x = jax.random.normal(k_x, (size, 1, 2)) @ jnp.linalg.cholesky(self.B).T
        mask = jnp.broadcast_to(jnp.array([1.0, 0.0]), x.shape)
        y = mask * (x + 0.5 * jax.random.normal(k_y, x.shape))
        return Batch1D(input=y, mask=mask, target=x)

    def gain(self):
        return np.array(self.B[:, 0] / (self.B[0, 0] + 0.25))

    def covariance(self):
        return np.array(self.B) - np.outer(self.gain(), np.array(self.B[0]))


def flat(head_type, key=KEY, **keywords):
    k_encoder, k_head = jax.random.split(key)
    return AmortizedPosterior(
        encoder=MLPObsEncoder(input_size=2, context_dim=16, hidden_dim=16, depth=1, key=k_encoder),
        head=head_type(
            context_dim=16, state_shape=(1, 2), hidden_dim=16, depth=0, key=k_head, **keywords
        ),
    )


def on_ring(head_type, **keywords):
    k_encoder, k_head = jax.random.split(KEY)
    return AmortizedPosterior(
        RingObsEncoder(RING, jnp.ones((4, 15)), context_dim=6, n_blocks=2, key=k_encoder),
        head_type(6, (4, 15), hidden_dim=5, depth=1, key=k_head, ring=RING, **keywords),
        Normalisation(jnp.repeat(jnp.array([2.0, 0.3]), jnp.array([5, 10])), jnp.full(15, 3.0)),
    )


@pytest.fixture(scope="module")
def gaussian():
    """A Gaussian head trained on the linear-Gaussian problem."""
    return train(
        flat(GaussianHead, rank=1), LinearGaussian(), 2000, KEY,
        batch_size=256, learning_rate=5e-3, check_every=500, progress=False,
    ).model  # fmt: skip


def test_gaussian_head_finds_the_known_posterior(gaussian):
    problem = LinearGaussian()
    batch = problem.draw(jax.random.key(8), 200)
    found = gaussian.posterior(batch)
    y = np.asarray(batch.input[:, 0, 0])
    np.testing.assert_allclose(found.mean[:, 0], y[:, None] * problem.gain(), atol=0.15)
    assert np.sqrt(np.mean((found.mean[:, 0] - y[:, None] * problem.gain()) ** 2)) < 0.03
    factor = found.factor[:, :, 0]
    covariance = jax.vmap(jnp.diag)(found.std[:, 0] ** 2) + jnp.einsum(
        "bri,brj->bij", factor, factor
    )
    np.testing.assert_allclose(covariance.mean(axis=0), problem.covariance(), atol=0.06)
    np.testing.assert_allclose(
        found.marginal_std() ** 2, jnp.diagonal(covariance, axis1=1, axis2=2)[:, None], rtol=1e-5
    )


def test_ranks_among_its_samples_are_uniform(gaussian):
    batch = LinearGaussian().draw(jax.random.key(9), 1000)
    found = ranks(gaussian.sample(batch, jax.random.key(1), 19), batch.target)
    for component in (0, 1):
        assert rank_histogram(found[:, 0, component], 19, 5).inside == 1.0
    twice_as_narrow = 0.5 * gaussian.sample(batch, jax.random.key(1), 19) + 0.5 * gaussian(batch)
    narrow = rank_histogram(ranks(twice_as_narrow, batch.target)[:, 0, 0], 19, 5)
    assert narrow.inside < 1.0


def test_flow_samples_the_known_posterior():
    """About a Gaussian that is wrong: the flow has to learn mean and covariance."""
    problem, untrained = LinearGaussian(), flat(GaussianHead, rank=1)
    start = FlowHead.about(
        untrained, problem.draw(KEY, 1000), n_modes=2, width=32, n_blocks=1, key=KEY
    )
    flow = train(
        start, problem, 1500, KEY,
        batch_size=128, learning_rate=3e-3, check_every=500, progress=False,
    ).model  # fmt: skip
    batch = problem.draw(jax.random.key(8), 4)
    samples = flow.sample(batch, KEY, 4000)
    assert samples.shape == (4000, 4, 1, 2)
    mean = np.asarray(batch.input[:, 0, :1]) * problem.gain()
    np.testing.assert_allclose(samples[:, :, 0].mean(0), mean, atol=0.12)
    for window in range(4):
        covariance = np.cov(np.asarray(samples[:, window, 0]), rowvar=False)
        np.testing.assert_allclose(covariance, problem.covariance(), atol=0.15)
    # Encoder and Gaussian are constants of the flow's training.
    np.testing.assert_array_equal(flow(batch), untrained(batch))


def test_an_untrained_flow_samples_what_the_gaussian_leaves(gaussian):
    problem = LinearGaussian()
    batch = problem.draw(KEY, 1000)
    start = FlowHead.about(gaussian, batch, n_modes=2, width=8, n_blocks=1, key=KEY)
    about = gaussian.posterior(batch)

    def covariance(trajectories):
        residual = (trajectories - about.mean) / about.marginal_std()
        residual = np.asarray(residual).reshape(-1, 2)
        return residual.T @ residual / len(residual)

    # 50,000 draws: the sampling error of a variance is a hundredth of it.
    found = covariance(start.sample(batch, KEY, 50))
    np.testing.assert_allclose(found, covariance(batch.target), atol=0.04)


def test_a_gaussian_head_starts_about_a_trained_mean():
    regression, batch = on_ring(RegressionHead), ring_batch()
    start = GaussianHead.about(regression, batch, KEY, rank=2)
    np.testing.assert_array_equal(start(batch), regression(batch))
    assert start.posterior(batch).factor.shape == (3, 2, 4, 15)
    residual = (batch.target - regression(batch)) / regression.normalisation.std
    np.testing.assert_allclose(jnp.mean(start.head.scale**2), jnp.mean(residual**2), rtol=1e-5)
    np.testing.assert_array_equal(turned(start.head.scale, 1), start.head.scale)
    with pytest.raises(TypeError, match="no RegressionHead"):
        GaussianHead.about(start, batch, KEY)


def test_gaussian_score_is_minus_the_log_density(float64):
    k_residual, k_std, k_factor = jax.random.split(KEY, 3)
    residual, std = jax.random.normal(k_residual, (6,)), jnp.exp(jax.random.normal(k_std, (6,)))
    factor = jax.random.normal(k_factor, (2, 6))
    covariance = jnp.diag(std**2) + factor.T @ factor
    density = jax.scipy.stats.multivariate_normal.logpdf(residual, jnp.zeros(6), covariance)
    expected = -density - 3 * jnp.log(2 * jnp.pi)
    np.testing.assert_allclose(gaussian_score(residual, std, factor), expected, rtol=1e-10)


def test_sites_and_windows_are_inverse():
    window = jnp.arange(2 * 4 * 15.0).reshape(2, 4, 15)
    np.testing.assert_array_equal(RING.from_sites(RING.to_sites(window), window.shape), window)


def turned(window, shift):
    order = np.empty(15, int)
    order[RING.by_site()] = np.roll(RING.by_site(), -shift, axis=0)
    return window[..., order]


def ring_batch():
    k_obs, k_mask, k_target = jax.random.split(jax.random.key(8), 3)
    mask = jax.random.bernoulli(k_mask, 0.5, (3, 4, 15)).astype(float)
    obs, target = (2 * jax.random.normal(k, (3, 4, 15)) for k in (k_obs, k_target))
    return Batch1D(mask * obs, mask, target)


@pytest.mark.parametrize("shift", [1, 3])
def test_turning_the_ring_turns_the_posterior(float64, shift):
    batch = ring_batch()
    moved = jax.tree.map(lambda field: turned(field, shift), batch)
    method = on_ring(GaussianHead, rank=2)
    here, there = method.posterior(batch), method.posterior(moved)
    for found, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(found, turned(expected, shift), atol=1e-13)
    flow = FlowHead.about(method, batch, n_modes=3, width=8, n_blocks=2, key=KEY).head
    context, z = method.context(batch)[0], jax.random.normal(KEY, (5, 3))
    v = flow.velocity(jnp.array(0.3), z, context)
    w = flow.velocity(jnp.array(0.3), jnp.roll(z, -shift, 0), jnp.roll(context, -shift, 0))
    np.testing.assert_allclose(w, jnp.roll(v, -shift, 0), atol=1e-13)


@pytest.mark.parametrize("head_type", [RegressionHead, GaussianHead])
def test_one_step_on_a_batch_lowers_the_loss(head_type):
    model, batch = on_ring(head_type), ring_batch()
    opt = optax.adam(1e-3)
    state = opt.init(eqx.filter(model, eqx.is_inexact_array))
    model_after, state, before = amortized_train_step(model, batch, opt, state)
    after = amortized_train_step(model_after, batch, opt, state)[2]
    assert after < before
    assert model_after(batch).shape == (3, 4, 15)
    np.testing.assert_array_equal(model_after.normalisation.std, model.normalisation.std)


def test_weights_of_the_entries_weigh_the_loss():
    weights = jnp.linspace(0.5, 3.0, 15)
    weighing, plain = on_ring(RegressionHead, weights=weights), on_ring(RegressionHead)
    batch = ring_batch()
    square = ((plain(batch) - batch.target) / 3.0) ** 2
    np.testing.assert_allclose(plain.loss(batch, KEY), jnp.mean(square), rtol=1e-5)
    expected = jnp.mean(weights / weights.mean() * square)
    np.testing.assert_allclose(weighing.loss(batch, KEY), expected, rtol=1e-5)


def test_a_flow_trains_its_velocity_alone():
    start = FlowHead.about(
        on_ring(GaussianHead), ring_batch(), n_modes=3, width=8, n_blocks=1, key=KEY
    )
    moving = eqx.filter(start, trainable(start))
    assert jax.tree.leaves((moving.encoder, moving.normalisation)) == []
    assert jax.tree.leaves((moving.head.gaussian, moving.head.modes)) == []
    assert jax.tree.leaves(moving.head.out)
    assert jax.tree.leaves(moving.head.network)
    for head in (on_ring(RegressionHead, weights=jnp.ones(15)), on_ring(GaussianHead)):
        moving = eqx.filter(head, trainable(head))
        assert jax.tree.leaves(moving.normalisation) == []
        assert getattr(moving.head, "weights", None) is getattr(moving.head, "scale", None) is None


def test_unobserved_entries_do_not_matter():
    batch, method = ring_batch(), on_ring(RegressionHead)
    noise = Batch1D(batch.input + 7 * (1 - batch.mask), batch.mask)
    np.testing.assert_array_equal(method(noise), method(batch))


def test_what_can_never_be_observed_is_no_input():
    mask = jnp.zeros((4, 15)).at[::2, :5:2].set(1)
    encoder = RingObsEncoder(RING, mask, context_dim=6, n_blocks=2, key=KEY)
    assert encoder.network.first.in_features == 2 * 2  # two times of the slow entry, and mask
    obs = jax.random.normal(KEY, (4, 15))
    elsewhere = jnp.ones((4, 15)).at[::2, :5].set(0)
    np.testing.assert_array_equal(encoder(obs + elsewhere, mask + elsewhere), encoder(obs, mask))
    assert (encoder(obs.at[2, 1].add(1.0), mask) != encoder(obs, mask)).any()


def test_bad_arguments_are_named(untyped):
    batch, regression = ring_batch(), on_ring(RegressionHead)
    with pytest.raises(TypeError, match="RegressionHead, which has no sample"):
        regression.sample(batch, KEY, 3)
    with pytest.raises(TypeError, match="RegressionHead, which has no posterior"):
        regression.posterior(batch)
    with pytest.raises(TypeError, match="head is int"):
        AmortizedPosterior(regression.encoder, 3)
    with pytest.raises(ValueError, match="input_size is 2"):
        flat(RegressionHead)(batch)
    with pytest.raises(ValueError, match="ring has 15 entries and the state 6"):
        RegressionHead(6, (4, 6), 5, 1, KEY, ring=RING)
    with pytest.raises(ValueError, match="mask is empty"):
        RingObsEncoder(RING, jnp.zeros((4, 15)), context_dim=6, n_blocks=2, key=KEY)
    with pytest.raises(ValueError, match="rank"):
        on_ring(GaussianHead, rank=0)
    with pytest.raises(ValueError, match="n_modes=99"):
        FlowHead.about(on_ring(GaussianHead), batch, n_modes=99, width=8, n_blocks=1, key=KEY)
    with pytest.raises(TypeError, match="no GaussianHead"):
        FlowHead.about(regression, batch, n_modes=3, width=8, n_blocks=1, key=KEY)
    with pytest.raises(ValueError, match="batch has no target"):
        FlowHead.about(on_ring(GaussianHead), Batch1D(batch.input, batch.mask), 3, 8, 1, KEY)
    with pytest.raises(ValueError, match="batch has no target"):
        GaussianHead.about(regression, Batch1D(batch.input, batch.mask), KEY)


def test_a_config_names_its_head(untyped):
    size = (3, (2, 1), 4, 1, jax.random.key(0))
    encoder = MLPObsEncoder(2, 3, 4, 1, jax.random.key(1))
    named = AmortizedPosterior(
        encoder, RegressionHead(*size), config=AmortizedConfig(head_type="regression")
    )
    assert named.config.head_type == "regression"
    with pytest.raises(ValueError, match=r"head_type='regression' and head is a GaussianHead"):
        AmortizedPosterior(encoder, GaussianHead(*size), config=named.config)
    with pytest.raises(ValueError, match="head_type='normal'"):
        AmortizedConfig("normal")
