"""The training loop: it learns, resumes exactly, stops on divergence, and is cached."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from assimilation import (
    Batch1D,
    LinearObs,
    Normalisation,
    Observations,
    Ring,
    TrainingData,
    WindowPool,
    cached_training,
    generate_l96_2l_problem,
    generate_problem,
    square_root,
    train,
    train_step,
)
from assimilation.learned import training

KEY = jax.random.key(3)


class Linear(eqx.Module):
    """The smallest thing that can be trained."""

    layer: eqx.nn.Linear

    def loss(self, batch, key):
        found = jax.vmap(self.layer)(batch.input.reshape(len(batch.input), -1))
        return jnp.mean((found.reshape(batch.target.shape) - batch.target) ** 2)


class Copies(eqx.Module):
    """Windows of three normal numbers, to be halved; `poison` makes one value NaN."""

    poison: float = 0.0

    def draw(self, key, size):
        values = jax.random.normal(key, (size, 3, 1))
        target = (0.5 * values).at[0, 0, 0].add(self.poison)
        return Batch1D(input=values, mask=jnp.ones_like(values), target=target)

    def held_out(self, key, size):
        return Copies.draw(Copies(), key, size)


def linear():
    return Linear(eqx.nn.Linear(3, 3, key=jax.random.key(0)))


def small(**settings):
    settings = {"batch_size": 8, "check_every": 10, "validation_size": 32, **settings}
    return {"learning_rate": 1e-2, "progress": False, **settings}


@pytest.mark.parametrize("optimiser", [optax.adam, optax.contrib.muon])
def test_loss_falls_to_the_exact_answer(optimiser):
    settings = small(learning_rate=5e-2, optimiser=optimiser)
    found = train(linear(), Copies(), 400, KEY, **settings)
    assert found.validation[-1] < 1e-4 < 1e-1 < found.validation[0]
    np.testing.assert_allclose(found.model.layer.weight, 0.5 * np.eye(3), atol=0.02)
    assert found.loss.shape == (400,)
    assert found.validation_steps[-1] == 400
    assert found.seconds > 0


def test_train_step_lowers_the_loss_of_a_fixed_batch():
    model, batch = linear(), Copies().draw(KEY, 16)
    opt = optax.adam(1e-2)
    state = opt.init(eqx.filter(model, eqx.is_inexact_array))
    losses = []
    for _ in range(20):
        model, state, loss = train_step(model, batch, opt, state)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tmp_path, monkeypatch):
    whole = train(linear(), Copies(), 40, KEY, **small())
    file, write, written = tmp_path / "half.eqx", training.save_whole, []

    def write_twice(path, tree):
        write(path, tree)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_whole", write_twice)
    with pytest.raises(KeyboardInterrupt):
        train(linear(), Copies(), 40, KEY, checkpoint=file, **small())
    monkeypatch.setattr(training, "save_whole", write)
    assert file.exists()
    resumed = train(linear(), Copies(), 40, KEY, checkpoint=file, **small())
    np.testing.assert_array_equal(resumed.model.layer.weight, whole.model.layer.weight)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    np.testing.assert_array_equal(resumed.validation, whole.validation)
    assert not file.exists()


def test_gradients_are_clipped():
    start = linear()
    settings = small(optimiser=optax.sgd, learning_rate=1.0, clip=1e-3)
    end = train(start, Copies(), 10, KEY, **settings).model
    moved = [a - b for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True)]
    assert 0 < np.sqrt(sum(float(jnp.sum(part**2)) for part in moved)) <= 10 * 1e-3


class Held(Linear):
    """With a second layer, and a list of more, that training leaves alone."""

    fixed: eqx.nn.Linear
    more: list[Linear]
    constants: ClassVar[tuple[str, ...]] = ("fixed",)

    def loss(self, batch, key):
        held = jax.vmap(self.fixed)(batch.input[..., 0]) + self.more[1].layer.bias
        return super().loss(batch, key) + jnp.mean((held - batch.target[..., 0]) ** 2)


def test_constants_do_not_reach_the_optimiser_and_stay_as_they_are():
    start = Held(linear().layer, linear().layer, [linear(), linear()])
    given = []

    def spying(rate):
        adam = optax.adamw(rate, weight_decay=0.1)
        return adam._replace(init=lambda weights: given.append(weights) or adam.init(weights))

    trained = train(start, Copies(), 10, KEY, **small(optimiser=spying)).model
    assert jax.tree.leaves(given[0].fixed) == []
    assert len(jax.tree.leaves(given[0])) == len(jax.tree.leaves(start)) - 2
    opt = optax.adamw(0.1, weight_decay=0.1)
    state = opt.init(eqx.filter(start, eqx.is_inexact_array))
    stepped = train_step(start, Copies().draw(KEY, 8), opt, state)[0]
    for found in (trained, stepped):
        assert (found.layer.weight != start.layer.weight).any()
        assert (found.more[1].layer.bias != start.more[1].layer.bias).all()
        np.testing.assert_array_equal(found.fixed.weight, start.fixed.weight)


def test_a_poisoned_batch_stops_the_training_and_names_the_step():
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        train(linear(), Copies(poison=np.nan), 20, KEY, **small())


def test_a_growing_validation_loss_stops_the_training():
    with pytest.raises(FloatingPointError, match="validation loss"):
        train(linear(), Copies(), 40, KEY, **small(learning_rate=30.0))


def test_bad_arguments_are_named(untyped):
    with pytest.raises(ValueError, match="n_steps=25 is not a multiple of check_every=10"):
        train(linear(), Copies(), 25, KEY, **small())
    with pytest.raises(ValueError, match="learning_rate"):
        train(linear(), Copies(), 20, KEY, **small(learning_rate=-1.0))
    with pytest.raises(TypeError, match="key"):
        train(linear(), Copies(), 20, 3, **small())
    opt = optax.adam(1e-2)
    batch = Copies().draw(KEY, 4)
    with pytest.raises(ValueError, match="batch has no target"):
        train_step(linear(), Batch1D(batch.input, batch.mask), opt, None)
    with pytest.raises(TypeError, match="model is Linear"):
        train_step(linear().layer, batch, opt, None)


@pytest.fixture(scope="module")
def problem():
    return generate_problem(key=KEY, T_assim=20, T_total=30)


def data_of(problem, **settings):
    settings = {"n_runs": 8, "n_steps": 100, "n_held_out": 2, "n_spin_up": 200, **settings}
    return TrainingData(problem, jax.random.key(5), **settings)


def test_windows_are_pieces_of_runs_with_fresh_noise_at_the_mask(problem):
    pool = data_of(problem).simulate()
    first, second = pool.draw(jax.random.key(0), 64), pool.draw(jax.random.key(1), 64)
    assert first.target.shape == (64, 21, 3)
    np.testing.assert_array_equal(first.mask[0], problem.mask)
    runs = {tuple(state) for state in np.asarray(pool.runs).reshape(-1, 3)}
    assert all(tuple(state) in runs for state in np.asarray(first.target).reshape(-1, 3))
    seen = np.asarray(first.mask) == 1
    error = (np.asarray(first.input) - np.asarray(first.target))[seen]
    assert error.std() == pytest.approx(0.5, rel=0.1)
    assert (np.asarray(first.input)[~seen] == 0).all()
    assert not np.array_equal(first.input, second.input)
    step = problem.forward.step(first.target[0, 0], problem.dt)
    np.testing.assert_allclose(step, first.target[0, 1], rtol=1e-4)


def test_each_observed_value_has_its_own_error():
    seen = Observations(
        (0, 2),
        jnp.zeros((2, 4)),
        LinearObs(jnp.eye(4)),
        jnp.array([[1.0, 0.1, 1.0, 1.0], [1.0, 1.0, 1.0, 3.0]]) ** 2,
        mask=jnp.array([[0, 1, 0, 0], [1, 0, 0, 1]]),
    )
    runs = jnp.ones((1, 3, 4))
    batch = WindowPool(runs, runs, seen, jnp.arange(4)[None]).draw(KEY, 4000)
    std = jnp.zeros((3, 4)).at[0, 1].set(0.1).at[2, 0].set(1.0).at[2, 3].set(3.0)
    np.testing.assert_allclose(jnp.std(batch.input, axis=0), std, rtol=0.05)
    np.testing.assert_allclose(jnp.mean(batch.input, axis=0), std > 0, atol=0.2)


def test_windows_are_seen_through_the_operator():
    seen = Observations((0, 1), jnp.zeros((2, 1)), lambda x, t: jnp.sum(x**2)[None] + t, 1e-3)
    runs = jax.random.normal(KEY, (4, 10, 3))
    batch = WindowPool(runs, runs, seen, jnp.arange(3)[None]).draw(KEY, 100)
    exact = jnp.sum(batch.target**2, axis=2) + jnp.arange(2)
    np.testing.assert_allclose(batch.input[..., 0], exact, atol=0.01)


def test_normalised_states_have_mean_zero_and_size_one(problem):
    found = Normalisation.of(problem)
    root = square_root(problem.B_op_state).as_matrix()
    draws = problem.prior_mean_state + jax.random.normal(KEY, (20_000, root.shape[1])) @ root.T
    z = found.scaled(draws)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=0.03)
    np.testing.assert_allclose(found.unscaled(z), draws, atol=1e-4)


def test_held_out_windows_come_from_other_runs(problem):
    pool = data_of(problem).simulate()
    runs = {tuple(state) for state in np.asarray(pool.runs).reshape(-1, 3)}
    held_out = pool.held_out(jax.random.key(0), 8).target
    assert not any(tuple(state) in runs for state in np.asarray(held_out).reshape(-1, 3))


def test_rotations_leave_the_mask_and_turn_both_levels_together():
    problem = generate_l96_2l_problem(key=KEY, K=4, J=2, T_assim=10, T_total=10, spin_up=10)
    ring = Ring.of(problem.forward)
    assert ring == Ring(4, (1, 2))
    found = ring.rotations(problem.mask)
    # Every second site is observed: of four rotations, those by 0 and by 2 sites.
    np.testing.assert_array_equal(found[0], np.arange(12))
    np.testing.assert_array_equal(found[1], [2, 3, 0, 1, 8, 9, 10, 11, 4, 5, 6, 7])
    assert len(found) == 2
    pool = TrainingData(
        problem, KEY, ring, n_runs=1, n_steps=10, n_held_out=1, n_spin_up=0
    ).simulate()
    starts = pool.draw(KEY, 32).target[:, 0]
    orders = [jnp.all(starts == pool.runs[0, 0, order], axis=1) for order in found]
    assert orders[0].any()
    assert orders[1].any()
    assert (orders[0] | orders[1]).all()
    state = problem.truth[0]
    turned = problem.forward.step(state[found[1]], problem.dt)
    np.testing.assert_allclose(turned, problem.forward.step(state, problem.dt)[found[1]], rtol=1e-5)


def test_bad_training_data_are_named(problem):
    with pytest.raises(TypeError, match="problem is not one problem"):
        TrainingData(jax.tree.map(lambda x: jnp.stack([x, x]), problem), KEY)
    with pytest.raises(ValueError, match="ring has 4 entries and the state 3"):
        TrainingData(problem, KEY, Ring(4, (1,)))
    with pytest.raises(TypeError, match="data"):
        cached_training("x", linear(), Copies(), 20, KEY)
    wide = generate_l96_2l_problem(
        key=KEY, T_assim=10, T_total=10, spin_up=10, background="isotropic"
    )
    with pytest.raises(FloatingPointError, match="overflowed"):
        TrainingData(wide, KEY, n_runs=2, n_held_out=1, n_steps=20, n_spin_up=20).simulate()
