"""The training loop: it learns, resumes exactly, stops on divergence, and is cached."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from assimilation import (
    Batch1D,
    Ring,
    TrainingData,
    cached_training,
    generate_l96_2l_problem,
    generate_problem,
    ring_of,
    train,
    train_step,
    training,
)
from assimilation.training_data import rotations_of

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


def test_a_poisoned_batch_stops_the_training_and_names_the_step():
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        train(linear(), Copies(poison=np.nan), 20, KEY, **small())


def test_a_growing_validation_loss_stops_the_training():
    with pytest.raises(FloatingPointError, match="validation loss"):
        train(linear(), Copies(), 40, KEY, **small(learning_rate=30.0))


def test_bad_arguments_are_named():
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


def test_held_out_windows_come_from_other_runs(problem):
    pool = data_of(problem).simulate()
    runs = {tuple(state) for state in np.asarray(pool.runs).reshape(-1, 3)}
    held_out = pool.held_out(jax.random.key(0), 8).target
    assert not any(tuple(state) in runs for state in np.asarray(held_out).reshape(-1, 3))


def test_rotations_leave_the_mask_and_turn_both_levels_together():
    problem = generate_l96_2l_problem(key=KEY, K=4, J=2, T_assim=10, T_total=10, spin_up=10)
    ring = ring_of(problem.forward)
    assert ring == Ring(4, (1, 2))
    found = np.asarray(rotations_of(problem.mask, ring))
    # Every second site is observed: of four rotations, those by 0 and by 2 sites.
    np.testing.assert_array_equal(found[0], np.arange(12))
    np.testing.assert_array_equal(found[1], [2, 3, 0, 1, 8, 9, 10, 11, 4, 5, 6, 7])
    assert len(found) == 2
    state = problem.truth[0]
    turned = problem.forward.step(state[found[1]], problem.dt)
    np.testing.assert_allclose(turned, problem.forward.step(state, problem.dt)[found[1]], rtol=1e-5)


def test_weights_come_from_the_cache_until_a_setting_changes(problem, tmp_path):
    model = Linear(eqx.nn.Linear(63, 63, key=jax.random.key(0)))

    def run(data, key=KEY):
        return cached_training("linear", model, data, 20, key, folder=tmp_path, **small())

    first = run(data_of(problem))
    files = set(tmp_path.iterdir())
    again = run(data_of(problem))
    assert set(tmp_path.iterdir()) == files
    np.testing.assert_array_equal(again.model.layer.weight, first.model.layer.weight)
    np.testing.assert_array_equal(again.validation, first.validation)
    assert again.seconds == first.seconds
    run(data_of(problem, n_steps=90))
    run(data_of(problem), jax.random.key(4))
    assert len(set(tmp_path.iterdir())) == len(files) + 2


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
