"""Slides of each chapter: they open, fit the screen, turn, print, and need no server."""

import zipfile

import pytest
from bs4 import BeautifulSoup
from conftest import HTML, PHONE

SLIDES = sorted((HTML / "slides").glob("*.html"))
CHAPTERS = sorted((HTML / "notebooks").glob("*.html"))
READY = "html[data-ready]"
TOO_LARGE = """() => [...document.querySelectorAll(".body")].filter(body => {
  const inside = element => element.scrollWidth <= element.clientWidth + 1;
  const equations = [...body.querySelectorAll("div.math mjx-container")];
  return body.scrollHeight > body.clientHeight + 1 || !inside(body) || !equations.every(inside);
}).map(body => body.innerText)"""
SMALL = """() => [...document.querySelectorAll(".body > *")].filter(
  one => parseFloat(getComputedStyle(one).fontSize) < 20).map(one => one.outerHTML)"""
BROKEN = "() => [...document.images].filter(image => !image.naturalWidth || !image.alt).length"


def open_slides(page, address):
    page.goto(address)
    page.wait_for_selector(READY, state="attached")


def test_each_chapter_has_slides():
    assert [path.name for path in SLIDES] == [path.name for path in CHAPTERS]


@pytest.mark.parametrize("path", SLIDES, ids=lambda path: path.stem)
@pytest.mark.parametrize("screen", [{"viewport": {"width": 1280, "height": 720}}])
def test_slides_show_a_chapter_and_fit_the_screen(page, site, path):
    open_slides(page, f"{site}slides/{path.name}")
    headings = [heading.inner_text() for heading in page.locator("h1, h2").all()]
    assert headings[1:3] == ["The question", "Objectives"]
    assert headings[-1] == "The answer"
    assert sum(heading.startswith("Exercise ") for heading in headings) >= 4
    assert len(headings) <= 20
    assert page.locator("section.figure, section.equation").count() >= 1
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate(BROKEN) == 0
    assert page.evaluate(TOO_LARGE) == []
    assert page.evaluate(SMALL) == []


@pytest.mark.parametrize("path", SLIDES, ids=lambda path: path.stem)
def test_no_solution_is_on_a_slide(path):
    shown = " ".join(BeautifulSoup(path.read_text("utf-8"), "html.parser").get_text().split())
    page = BeautifulSoup((HTML / "notebooks" / path.name).read_text("utf-8"), "html.parser")
    lines = []
    for solution in page.select(".solution"):
        parts = solution.select("p:not(.admonition-title):not(.verdict), pre")
        lines += [line.strip() for part in parts for line in part.get_text().splitlines()]
        solution.decompose()
    rest = page.get_text()
    secrets = [line for line in lines if len(line) > 8 and line not in rest]
    assert len(secrets) > 4
    assert not [line for line in secrets if line in shown]


def test_keys_and_fingers_turn_slides(page, site):
    open_slides(page, f"{site}slides/{SLIDES[0].name}")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.getIndices().h") == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("Reveal.getIndices().h") == 0


@pytest.mark.parametrize("screen", [PHONE])
def test_a_finger_turns_slides(page, site):
    open_slides(page, f"{site}slides/{SLIDES[0].name}")
    finger = page.context.new_cdp_session(page)
    for kind, places in (("Start", [300]), ("Move", [200]), ("Move", [80]), ("End", [])):
        points = [{"x": x, "y": 400} for x in places]
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    page.wait_for_function("Reveal.getIndices().h === 1")


def test_slides_are_printed_one_a_page(page, site):
    open_slides(page, f"{site}slides/{SLIDES[0].name}")
    number = page.evaluate("Reveal.getTotalSlides()")
    open_slides(page, f"{site}slides/{SLIDES[0].name}?print-pdf")
    assert page.locator(".pdf-page").count() == number
    assert page.evaluate(TOO_LARGE) == []


def test_unzipped_slides_need_no_server(browser, tmp_path):
    with zipfile.ZipFile(HTML / "downloads" / "slides.zip") as archive:
        archive.extractall(tmp_path)
    page, trouble = browser.new_page(), []
    page.on("requestfailed", lambda request: trouble.append(request.url))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto((tmp_path / "slides" / "index.html").as_uri())
    links = page.locator("a").all()
    assert len(links) == len(SLIDES)
    links[0].click()
    page.wait_for_selector(READY, state="attached")
    assert page.locator("mjx-container").count() > 0
    assert page.evaluate(BROKEN) == 0
    assert not trouble
    page.close()
