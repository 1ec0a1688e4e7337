"""Weights that the book publishes: whom they fit, and what happens where none do."""

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_fingerprint import Linear, linear

import assimilation as da
from assimilation.learned import cache, fingerprint
from assimilation.learned.recipe import recipe

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def data():
    problem = da.generate_problem(key=KEY, T_assim=20, T_total=30)
    return da.TrainingData(problem, jax.random.key(5), n_runs=2)


def seven_more(model, data, n_steps, key, check_every, **settings):
    checks = np.arange(n_steps // check_every + 1)
    model = eqx.tree_at(lambda m: m.layer.bias, model, model.layer.bias + 7)
    return da.Trained(model, np.zeros(n_steps), checks, np.zeros(checks.size), 1.5)


@pytest.fixture
def train_with(monkeypatch, data, tmp_path):
    """Calls cached_training, with a folder of its own each time, and says what came of it."""
    calls = []
    monkeypatch.setattr(cache, "_simulated", calls.append)
    monkeypatch.setattr(cache, "train", seven_more)

    def run(model=None, key=KEY, n_steps=20, name="linear", folder="reader", **settings):
        calls.clear()
        model = linear() if model is None else model
        found = da.cached_training(
            name, model, data, n_steps, key, folder=tmp_path / folder, check_every=10, **settings
        )
        np.testing.assert_array_equal(found.model.layer.bias, model.layer.bias + 7)
        return "trained" if calls else "not trained"

    return run


@pytest.fixture
def site(train_with, monkeypatch, tmp_path):
    """Published weights, as a build leaves them, and a reader who knows where."""
    monkeypatch.setenv("ASSIMILATION_BOOK", "chapter")
    assert train_with(folder="book") == "trained"
    monkeypatch.delenv("ASSIMILATION_BOOK")
    (note,) = (tmp_path / "book" / "chapter").glob("*.json")
    (tmp_path / "book" / "index.json").write_text(f"[{note.read_text()}]")
    monkeypatch.setenv("ASSIMILATION_WEIGHTS", (tmp_path / "book").as_uri())
    return tmp_path / "book"


def test_weights_are_fetched_whatever_the_versions_and_kept(
    site, train_with, monkeypatch, capsys, tmp_path
):
    for library in ("jax", "jaxlib", "optax", "equinox", "numpy"):
        monkeypatch.setattr(sys.modules[library], "__version__", "0.0.1")
    assert train_with() == "not trained"
    assert capsys.readouterr().out == f"linear: the weights come from {site.as_uri()}.\n"
    (kept,) = (tmp_path / "reader").glob("*.eqx")
    assert not (site / kept.name).exists()  # the name has the versions in it
    assert train_with() == "not trained"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change",
    [
        {"model": Linear(eqx.nn.Linear(63, 63, key=jax.random.key(1)))},
        {"key": jax.random.key(4)},
        {"n_steps": 30},
        {"learning_rate": 2e-3},
        {"optimiser": optax.sgd},
    ],
    ids=lambda change: next(iter(change)),
)
def test_weights_of_another_training_do_not_fit(site, train_with, capsys, change):
    assert train_with(**change) == "trained"
    assert "no published weights (those there have other settings or code); it trains here.\n" in (
        capsys.readouterr().out
    )


def test_weights_of_a_changed_package_do_not_fit(site, train_with, monkeypatch):
    read = fingerprint.Path.read_bytes
    monkeypatch.setattr(
        fingerprint.Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "data.py")
    )
    assert train_with() == "trained"


def test_an_unknown_name_is_said(site, train_with, capsys):
    assert train_with(name="other") == "trained"
    assert "other: no published weights (none has this name)" in capsys.readouterr().out


def test_weights_that_were_damaged_on_their_way_are_refused(site, train_with, capsys):
    (file,) = site.glob("*.eqx")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert train_with() == "trained"
    assert "has been damaged on its way); it trains here.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/weights", "file:///nowhere/weights", "weights", ""]
)
def test_where_nothing_can_be_fetched_it_trains(site, train_with, monkeypatch, capsys, address):
    monkeypatch.setenv("ASSIMILATION_WEIGHTS", address)
    assert train_with() == "trained"
    said = capsys.readouterr().out
    assert said.count("\n") == bool(address)
    assert not address or f"no published weights ({address} cannot be read" in said


@pytest.mark.parametrize("index", ["{}", "[1]", "<html>", '[{"name": "linear"}]'])
def test_an_index_that_is_none_is_said(site, train_with, capsys, index):
    (site / "index.json").write_text(index)
    assert train_with() == "trained"
    assert "it trains here.\n" in capsys.readouterr().out


@pytest.mark.parametrize("change", [lambda content: content[:-100], lambda content: b"garbage"])
def test_weights_on_disk_that_cannot_be_read_are_made_anew(train_with, capsys, tmp_path, change):
    train_with()
    (file,) = (tmp_path / "reader").glob("*.eqx")
    file.write_bytes(change(file.read_bytes()))
    assert train_with() == "trained"
    assert f"{file.name} cannot be read and is made anew" in capsys.readouterr().out
    assert train_with() == "not trained"


def test_what_is_published_says_what_it_is(site):
    (note,) = json.loads((site / "index.json").read_text())
    (file,) = site.glob("*.eqx")
    assert (note["name"], note["file"], note["bytes"]) == ("linear", file.name, file.stat().st_size)
    assert note["versions"]["jax"] == jax.__version__
    assert note["seconds"] > 0


# Recipes


def scaled(by):
    return lambda x: by * x


def changed(layer, factor):
    return eqx.tree_at(lambda one: one.weight, layer, layer.weight * factor)


def test_numbers_may_differ_by_rounding_and_statistics_by_sampling():
    layer = eqx.nn.Linear(30, 30, key=KEY)
    one = recipe(layer)
    assert one.fits(*recipe(changed(layer, 1 + 1e-6)))
    assert not one.fits(*recipe(changed(layer, 1.01)))
    assert not one.fits(*recipe(eqx.tree_at(lambda x: x.weight, layer, layer.weight[::-1])))
    mean, std = jnp.arange(3.0), jnp.ones(3)
    one = recipe(da.Normalisation(mean, std))
    assert one.fits(*recipe(da.Normalisation(mean, 1.01 * std)))
    assert not one.fits(*recipe(da.Normalisation(mean, 1.2 * std)))
    assert not one.fits(one.code, [])


def test_a_function_counts_with_its_text_and_its_values():
    assert recipe(scaled(2.0)) == recipe(scaled(2.0))
    assert not recipe(scaled(2.0)).fits(*recipe(scaled(3.0)))
    one, other = (
        lambda x: x + 1,
        lambda x: x + 2,
    )
    assert recipe(one).code != recipe(other).code
    assert recipe({"a", "b", scaled}).code != recipe({"a", "b"}).code


def test_a_function_without_text_fits_nothing(site, train_with, capsys):
    assert (
        train_with(optimiser=eval("lambda rate: optax.adam(rate)", {"optax": optax})) == "trained"
    )
    assert "has no source text" in capsys.readouterr().out
