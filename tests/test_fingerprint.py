"""Trained weights on disk: what changes their fingerprint, and what does not."""

import functools
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import filelock
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import assimilation as da
from assimilation.learned import cache
from assimilation.learned import fingerprint as module
from assimilation.learned.fingerprint import fingerprint, imported_from

KEY = jax.random.key(3)
FACTOR = 2.0


class Linear(eqx.Module):
    """The smallest thing that can be trained on windows."""

    layer: eqx.nn.Linear

    def loss(self, batch, key):
        found = jax.vmap(self.layer)(batch.input.reshape(len(batch.input), -1))
        return jnp.mean((found.reshape(batch.target.shape) - batch.target) ** 2)


@pytest.fixture(scope="module")
def data():
    problem = da.generate_problem(key=KEY, T_assim=20, T_total=30)
    return da.TrainingData(
        problem, jax.random.key(5), n_runs=8, n_steps=100, n_held_out=2, n_spin_up=200
    )


def linear():
    return Linear(eqx.nn.Linear(63, 63, key=jax.random.key(0)))


@pytest.fixture
def run(tmp_path, data):
    def run(data=data, key=KEY, n_steps=20, **settings):
        settings = {"batch_size": 8, "check_every": 10, "validation_size": 32, **settings}
        return da.cached_training(
            "linear", linear(), data, n_steps, key, folder=tmp_path, progress=False, **settings
        )

    return run


def no_training(model, data, n_steps, key, check_every, **settings):
    checks = np.arange(n_steps // check_every + 1)
    return da.Trained(model, np.zeros(n_steps), checks, np.zeros(checks.size), 0.0)


def test_weights_come_from_the_cache(run, tmp_path):
    first = run()
    assert len(list(tmp_path.glob("*.eqx"))) == 1
    again = run()
    assert len(list(tmp_path.glob("*.eqx"))) == 1
    np.testing.assert_array_equal(again.model.layer.weight, first.model.layer.weight)
    np.testing.assert_array_equal(again.validation, first.validation)
    assert again.seconds == first.seconds


def test_every_setting_counts(run, data, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "train", no_training)
    monkeypatch.setattr(cache, "_simulated", lambda data: None)
    run()
    changes = [
        {"data": eqx.tree_at(lambda d: d.key, data, jax.random.key(6))},
        {"key": jax.random.key(4)},
        {"n_steps": 30},
        {"batch_size": 9},
        {"learning_rate": 2e-3},
        {"optimiser": optax.contrib.muon},
        {"optimiser": functools.partial(optax.contrib.muon, ns_steps=3)},
        {"optimiser": lambda rate: optax.adam(rate, b1=0.8)},
        {"optimiser": lambda rate: optax.adam(rate, b1=0.7)},
    ]
    for number, change in enumerate(changes, 2):
        run(**change)
        assert len(list(tmp_path.glob("*.eqx"))) == number, change


def test_one_pool_serves_trainings_that_follow_each_other(run, data, monkeypatch):
    simulate, simulated = da.TrainingData.simulate, []
    monkeypatch.setattr(
        da.TrainingData, "simulate", lambda self: simulated.append(self) or simulate(self)
    )
    monkeypatch.setattr(cache, "_last_pool", {})
    run(learning_rate=1e-3)
    run(learning_rate=2e-3)
    assert len(simulated) == 1
    run(eqx.tree_at(lambda d: d.key, data, jax.random.key(6)))
    assert len(simulated) == 2


def test_while_one_process_trains_another_waits(run, tmp_path, monkeypatch):
    train = cache.train

    def train_while_another_asks(*args, **settings):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(next(tmp_path.glob("*.lock")), timeout=0).acquire()
        return train(*args, **settings)

    monkeypatch.setattr(cache, "train", train_while_another_asks)
    run()


@pytest.mark.parametrize("library", ["jax", "jaxlib", "optax", "equinox", "numpy"])
def test_versions_count(monkeypatch, library):
    before = fingerprint(1)
    monkeypatch.setattr(sys.modules[library], "__version__", "0.0.1")
    assert fingerprint(1) != before


def scaled_by(factor):
    return lambda x: factor * x


def helped(x):
    return FACTOR * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x + 1, lambda x: x - 1),
        (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
        (scaled_by(2.0), scaled_by(3.0)),
        (lambda x, by=1: x + by, lambda x, by=2: x + by),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
        (optax.adam(1e-3).update, optax.adam(2e-3).update),
        (jax.nn.gelu, jax.nn.relu),
        (jnp.zeros(2), jnp.zeros(2, int)),
        (jnp.zeros((2, 1)), jnp.zeros((1, 2))),
        (1, 1.0),
        (jax.random.key(0), jax.random.key(1)),
        ([1, [2]], [[1], 2]),
        (da.Ring(2, (1,)), da.Ring(2, (2,))),
    ],
)
def test_what_differs_is_told_apart(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def helped_within(x):
    return (lambda: FACTOR * x)()


@pytest.mark.parametrize("function", [helped, helped_within])
def test_a_helper_of_a_function_counts(monkeypatch, function):
    before = fingerprint(function)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert fingerprint(function) != before


def network(power):
    """A network of the reader's own: its class stands in no package."""

    class Own(eqx.Module):
        factor: float = 2.0

        def loss(self, batch, key):
            return batch**power

        @classmethod
        def of(cls):
            return cls(power)

    return Own()


def one_of(power):
    """The same, with the number in a class method alone."""

    class Own(eqx.Module):
        factor: float = 2.0

        @classmethod
        def of(cls):
            return cls(power)

    return Own()


def sized(power):
    """The same, with the number in a property alone."""

    class Own(eqx.Module):
        factor: float = 2.0

        @property
        def size(self):
            return power

    return Own()


@pytest.mark.parametrize("make", [network, one_of, sized])
def test_methods_of_a_class_outside_the_package_count(make):
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


def test_equal_things_made_twice_are_equal():
    assert fingerprint(scaled_by(2.0)) == fingerprint(scaled_by(2.0))
    assert fingerprint(linear()) == fingerprint(linear())


def test_what_has_only_an_address_is_refused():
    with pytest.raises(TypeError, match="cannot be told from others"):
        fingerprint(object())


def test_another_process_finds_the_same():
    # No weights here: the quick compiler of the tests rounds random numbers in another way.
    things = "optax.contrib.muon, {'a', 'b', 'c'}, da.train, da.FourDVarNet1D, da.Lorenz96Forward()"
    script = f"""
import optax.contrib, assimilation as da
from assimilation.learned.fingerprint import fingerprint
print(fingerprint({things}))
"""
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    here = fingerprint(
        optax.contrib.muon, {"a", "b", "c"}, da.train, da.FourDVarNet1D, da.Lorenz96Forward()
    )
    assert there.stdout.strip() == here


def test_code_counts_where_it_is_used_and_nowhere_else(monkeypatch):
    def of(read):
        monkeypatch.setattr(module.Path, "read_bytes", read)
        return fingerprint(da.train, network, da.TrainingData, da.Lorenz63Forward())

    network = da.FourDVarNet1D(3, 5, 2, 2, 1, key=KEY)
    read = Path.read_bytes
    before = of(read)

    def changed(name):
        return lambda path: read(path) + (b"#" if path.name == name else b"")

    for used in ("fourdvarnet.py", "networks.py", "training.py", "data.py", "lorenz63.py"):
        assert of(changed(used)) != before, used
    methods = ("four_d_var.py", "levenberg_marquardt.py", "ensemble.py")
    for unused in ("figures.py", "heads.py", "flow.py", "lorenz96.py", *methods):
        assert of(changed(unused)) == before, unused


def test_imports_are_followed():
    found = imported_from("assimilation.learned.flow")
    assert "assimilation.learned.networks" in found
    assert "assimilation.require" in found
    assert "assimilation.learned.fourdvarnet" not in found
    assert "assimilation" not in found
