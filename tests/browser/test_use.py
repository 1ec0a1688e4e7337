"""What a reader does with the pages: searches, opens the contents, moves by keyboard."""

import pytest
from conftest import PHONE, STILL, barriers

CHAPTER = "notebooks/strong_4dvar.html"


def test_the_index_leads_to_the_first_page(page, site):
    page.goto(site)
    page.wait_for_url(f"{site}book/intro.html")


def test_search_finds_a_term_and_leads_to_its_page(open_page):
    page = open_page("book/intro.html")
    page.locator(".search-button__button:visible").first.click()
    page.locator("#pst-search-dialog input").fill("adjoint")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=adjoint")
    result = page.locator("ul.search a", has_text="Gradients and adjoints").first
    result.wait_for()
    page.evaluate(STILL)
    assert barriers(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert barriers(page) == []
    result.click()
    page.wait_for_url("**/notebooks/adjoints.html*")
    assert "adjoint" in page.locator("main").inner_text()


@pytest.mark.parametrize("screen", [PHONE])
def test_the_contents_open_on_a_phone_and_lead_to_a_chapter(open_page):
    page = open_page(CHAPTER)
    link = page.locator(".bd-docs-nav a", has_text="Gradients and adjoints")
    assert not link.is_visible()
    page.locator("button.primary-toggle").tap()
    link.tap()
    page.wait_for_url("**/notebooks/adjoints.html")


@pytest.mark.parametrize("screen", [PHONE])
def test_a_wide_equation_scrolls_in_its_own_box_by_keyboard(open_page):
    page = open_page("book/notation.html")
    boxes = page.locator("mjx-container[display=true], .pst-scrollable-table-container")
    wide = [box for box in boxes.all() if box.evaluate("box => box.scrollWidth > box.clientWidth")]
    assert wide
    for box in wide:
        box.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())


def test_the_first_stop_of_the_keyboard_skips_to_the_text(open_page):
    page = open_page(CHAPTER)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")


def test_a_solution_opens_by_keyboard(open_page):
    page = open_page(CHAPTER)
    solution = page.locator("div.solution.dropdown").first
    assert not solution.locator("section").first.is_visible()
    solution.locator("button").first.focus()
    page.keyboard.press("Enter")
    solution.locator("section").first.wait_for(state="visible")
