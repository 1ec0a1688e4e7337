"""The views: what they show has a closed form, or is what the package computes."""

import html
import inspect
import json
import re
import sys
from types import SimpleNamespace

import chapter_views
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import assimilation as da
from assimilation import view_numbers, views

VIEWS = [
    views.two_gaussians,
    views.cost_landscape,
    views.attractor,
    views.one_observation,
    views.rank_histogram,
]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_the_third_curve_is_the_product_of_the_other_two():
    said = views.two_gaussians(background_variance=9.0, observation_variance=3.0, distance=-4.0)
    x = np.linspace(-20, 40, 6001)
    weight = np.exp(-((x - 10) ** 2) / 18 - (x - 6) ** 2 / 6)
    mean = np.average(x, weights=weight)
    variance = np.average((x - mean) ** 2, weights=weight)
    assert f"analysis {mean:.1f} °C, variance of its error {variance:.2f} °C²" in said
    drawn = {line.get_label(): line.get_ydata() for line in plt.gca().lines}
    product = drawn["background"] * drawn["observation"]
    assert np.allclose(drawn["analysis"], product / product.sum() / 0.05, atol=1e-3)


@pytest.mark.parametrize("length", [0.5, 3.0, 8.0])
def test_gain_and_error_on_the_ring_are_those_of_the_full_matrices(length):
    B = np.stack([view_numbers.ring_gain(float(site), length, 0.0)[0] for site in range(40)])
    assert np.allclose(B, B.T)
    assert np.linalg.eigvalsh(B)[0] > -1e-12
    H = np.eye(40)[[38]]
    G = B @ H.T / (H @ B @ H.T + 0.7**2)
    gain, variance = view_numbers.ring_gain(38.0, length, 0.7)
    assert np.allclose(gain, G[:, 0])
    assert np.allclose(variance, np.diag((np.eye(40) - G @ H) @ B))


def test_ranks_of_a_right_ensemble_are_equally_likely():
    assert np.allclose(view_numbers.rank_shares(1.0, 0.0), 1 / 17, atol=1e-6)


@pytest.mark.parametrize(("spread", "bias"), [(0.6, 0.0), (1.7, 0.5), (0.3, -1.0)])
def test_ranks_are_those_of_draws(spread, bias):
    rng = np.random.default_rng(5)
    truth, members = rng.normal(size=40_000), bias + spread * rng.normal(size=(16, 40_000))
    ranks = da.ranks(jnp.asarray(members), jnp.asarray(truth))
    drawn = np.bincount(np.asarray(ranks), minlength=17) / 40_000
    assert np.allclose(view_numbers.rank_shares(spread, bias), drawn, atol=0.01)


def test_the_runs_are_those_of_the_package(float64):
    model, steps = da.Lorenz63Forward(), 300
    truth = np.asarray(da.free_forecast(model, jnp.array(view_numbers.TRUTH), steps))
    assert np.allclose(view_numbers.long_run()[: steps + 1], truth, atol=1e-8)
    start = jnp.array(view_numbers.TRUTH) + jnp.array([view_numbers.LINE[1000], 0.0, 0.0])
    run = np.asarray(jax.jit(da.free_forecast, static_argnums=2)(model, start, steps))
    misfit = 0.5 * ((run - truth)[:: view_numbers.OBSERVED_EVERY] ** 2).sum() / 0.5**2
    assert np.isclose(view_numbers.costs_by_window()[15, 1000], misfit, rtol=1e-6)


def test_the_cost_is_lowest_at_the_truth_and_a_search_from_there_stays():
    costs = view_numbers.costs_by_window()
    assert np.all(costs.argmin(axis=1) == 2000)
    assert views.cost_landscape(window=6.0, start=0.0).endswith("ends at the truth.")
    assert "1 valley." in views.cost_landscape(window=0.4, start=5.0)


def test_a_turn_by_a_right_angle_shows_y_in_the_place_of_x():
    run = view_numbers.long_run()
    assert f"{run[:, 1].std():.1f} across" in views.attractor(turn=90.0)
    assert f"{run[:, 1].std():.1f} upwards" in views.attractor(tilt=90.0)
    assert f"{run[:501, 0].std():.1f} across" in views.attractor(time=5.0)


@pytest.mark.parametrize("view", VIEWS)
def test_each_argument_has_a_slider_that_can_stand_at_its_default(view):
    found = views.sliders(view)
    assert [one["name"] for one in found] == list(inspect.signature(view).parameters)
    for one in found:
        assert one["low"] <= one["value"] <= one["high"]
        steps = (one["value"] - one["low"]) / one["step"]
        assert np.isclose(steps, round(steps))


def test_a_notebook_has_the_sliders(capsys):
    widgets = pytest.importorskip("ipywidgets")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widgets, "interact", lambda draw, **controls: made.append((draw, controls)))
        views.with_sliders(views.two_gaussians)
    [(draw, controls)] = made
    assert list(controls) == ["background_variance", "observation_variance", "distance"]
    distance = controls["distance"]
    assert (distance.min, distance.max, distance.value) == (-10.0, 10.0, 5.0)
    draw(background_variance=4.0, observation_variance=1.0, distance=5.0)
    assert capsys.readouterr().out.startswith("Gain 0.80, analysis 14.0 °C")


def test_a_notebook_without_widgets_has_the_still(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    views.with_sliders(views.two_gaussians)
    said = capsys.readouterr().out
    assert "pip install ipywidgets" in said
    assert "analysis 14.0 °C" in said
    assert plt.get_fignums()


def test_only_a_page_with_a_view_loads_its_scripts():
    added = []
    app = SimpleNamespace(
        add_css_file=added.append, add_js_file=lambda name, **_: added.append(name)
    )
    plain = {"body": '<figure id="fig-other"><img/></figure>'}
    chapter_views.add_views(app, "page", "page.html", plain, None)
    assert not added
    assert "view" not in plain["body"]
    page = {"body": '<figure class="a" id="fig-view-rank-histogram">\n<img/></figure>'}
    chapter_views.add_views(app, "page", "page.html", page, None)
    assert added == ["views/view.css", "views/view.js", "views/rank_histogram.js"]
    data = re.search('data-sliders="(.*?)"', page["body"])[1]
    assert json.loads(html.unescape(data)) == views.sliders(views.rank_histogram)
    assert page["body"].endswith("hidden></div>\n<img/></figure>")
