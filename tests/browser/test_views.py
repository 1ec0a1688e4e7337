"""The views in the pages: moved by keyboard and finger, they say what the package computes."""

import matplotlib.pyplot as plt
import pytest
from conftest import PHONE

from assimilation import views

PLACES = {
    "two_gaussians": "two_gaussians",
    "cost_landscape": "many_minima",
    "attractor": "chaos",
    "one_observation": "backgrounds",
    "rank_histogram": "mode_mean_posterior",
}


@pytest.fixture(params=PLACES)
def name(request):
    return request.param


@pytest.fixture
def open_view(open_page):
    def open_(name, **how):
        figure = open_page(f"notebooks/{PLACES[name]}.html", **how).locator(
            f"#fig-view-{name.replace('_', '-')}"
        )
        figure.scroll_into_view_if_needed()
        return figure

    return open_


def computed(name, **values):
    sentence = getattr(views, name)(**values)
    plt.close("all")
    return sentence


def said(figure):
    return figure.locator(".view-said").inner_text()


def test_a_view_takes_the_place_of_its_still_and_says_what_the_package_computes(open_view, name):
    figure = open_view(name)
    assert figure.locator(".view-plot > svg").is_visible()
    assert not figure.locator("img").first.is_visible()
    assert figure.locator("figcaption").is_visible()
    assert said(figure) == computed(name)
    values = {}
    for one in views.sliders(getattr(views, name)):
        slider = figure.get_by_label(one["label"], exact=True)
        low, high, digits = float(one["low"]), float(one["high"]), 1 if one["step"] < 1 else 0
        for key, value in (("Home", low), ("End", high), ("ArrowLeft", high - one["step"])):
            slider.press(key)
            values[one["name"]] = value
            assert float(slider.input_value()) == pytest.approx(value)
            assert said(figure) == computed(name, **values), values
        text = f"{value:.{digits}f} {one['unit']}".strip()
        assert slider.get_attribute("aria-valuetext") == text
        assert figure.locator(f'output[for="{slider.get_attribute("id")}"]').inner_text() == text
    figure.get_by_role("button", name="Reset").click()
    assert said(figure) == computed(name)


def test_a_valley_counts_from_the_same_depth_on_as_in_the_package(open_view):
    """At this window one valley is between one and two deep."""
    figure = open_view("cost_landscape")
    slider = figure.get_by_label("length of the window", exact=True)
    while float(slider.input_value()) > 2.65:
        slider.press("ArrowLeft")
    assert said(figure) == computed("cost_landscape", window=2.6)


def test_arrow_keys_and_dragging_turn_the_attractor(open_view, page):
    figure = open_view("attractor")
    plot = figure.get_by_role("application")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        plot.press(key)
    assert said(figure) == computed("attractor", turn=10.0, tilt=5.0)
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y - 40, steps=7)
    page.mouse.up()
    page.mouse.move(x - 90, y, steps=3)
    assert said(figure) == computed("attractor", turn=55.0, tilt=25.0)


@pytest.mark.parametrize("screen", [PHONE])
def test_a_finger_turns_the_attractor(open_view, page):
    figure = open_view("attractor")
    box = figure.locator(".view-plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def send(kind, *points):
        at = [{"x": across, "y": y} for across in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    send("touchStart", x)
    for across in range(10, 61, 10):
        send("touchMove", x + across)
    send("touchEnd")
    turn = float(figure.get_by_label("turn", exact=True).input_value())
    assert turn > 0
    assert said(figure) == computed("attractor", turn=turn)


@pytest.mark.parametrize("screen", [PHONE])
def test_a_view_is_as_wide_as_the_phone(open_view, page, name):
    figure = open_view(name)
    assert figure.locator(".view-plot > svg").bounding_box()["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 700, "height": 844})
    page.wait_for_function("document.querySelector('.view-plot svg').clientWidth > 400")


def test_without_scripts_the_still_remains(browser, site, name):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site}notebooks/{PLACES[name]}.html")
    figure = tab.locator(f"#fig-view-{name.replace('_', '-')}")
    assert figure.locator("img").first.is_visible()
    assert figure.locator("img").first.get_attribute("alt")
    assert not figure.locator(".view").is_visible()
    context.close()
