"""The book on paper: one page of all, in a browser, and its PDF."""

import os
import subprocess
import sys

import browser
import print_book
import pytest
from playwright.sync_api import sync_playwright

from assimilation.figures import Video, new_figure

NAV = """<nav class="bd-links"><a class="reference" href="{0}">First</a>
<p class="caption">Part</p><a class="reference" href="{1}">Second</a></nav>"""
PAGE = """<html><head><title>{title}</title></head><body>{nav}<h1>Elsewhere</h1>
<article class="bd-article"><section id="top"><h1>{title}
<a class="headerlink" href="#top">#</a></h1>
{body}</section></article><script>throw Error()</script></body></html>"""
FIRST = """<p id="same">See <a id="across" href="b/second.html#same">there</a>,
<a id="page" href="b/second.html">all</a>, <a id="away" href="https://example.org/x">far</a> and
<a id="lost" href="notes.ipynb">a notebook</a>.</p>
<details class="hide"><summary>Show</summary>folded</details>"""
SECOND = """<div class="exercise" id="ask">Ask.</div>
<div class="solution">Answer to <a href="#ask">this</a>.</div>
<p id="same">After. <a href="../first.html#same">back</a></p><noscript><p>A still.</p></noscript>"""


@pytest.fixture
def book(tmp_path):
    """The pages of a book, as Sphinx leaves them."""
    pages = tmp_path / "_build" / "html"
    (pages / "b").mkdir(parents=True)
    (pages / "index.html").write_text('<meta http-equiv="refresh" content="0; url=first.html" />')
    first = PAGE.format(title="First", nav=NAV.format("#", "b/second.html"), body=FIRST)
    (pages / "first.html").write_text(first)
    second = PAGE.format(title="Second", nav=NAV.format("../first.html", "#"), body=SECOND)
    (pages / "b" / "second.html").write_text(second)
    return tmp_path


@pytest.fixture(scope="module")
def program():
    try:
        path = browser.find_browser()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def composed(program, book):
    page = program.new_page()
    print_book.compose(page, book / "_build" / "html", "first.html")
    return page


def test_links_between_pages_lead_within_the_book(composed):
    links = composed.locator("article a").evaluate_all(
        "all => all.map(a => [a.textContent, a.hash])"
    )
    text = dict(links)
    assert len(links) == 7  # two in the contents; a file that is no page has none
    for name, hash_ in links:
        assert name == "far" or composed.locator(f"id={hash_[1:]}").count() == 1, name
    assert text["there"] != text["back"]
    assert composed.locator(f"id={text['there'][1:]}").text_content().startswith("After.")
    assert composed.locator("text=far").get_attribute("href") == "https://example.org/x"


def test_solutions_come_last_and_folded_code_stays_out(composed):
    said = " ".join(composed.locator("article").inner_text().split())
    order = ["Contents", "See there", "Ask.", "After.", "A still.", "Solutions", "Second", "Answer"]
    places = [said.rindex(words) for words in order]
    assert places == sorted(places)
    assert "folded" not in said
    assert "#" not in said


def test_a_film_is_shown_by_its_last_frame(program, book):
    fig, ax = new_figure(2.0)
    ax.set_axis_off()
    video = Video(fig, lambda n: fig.set_facecolor("black" if n else "white"), 5, "a film")
    path = book / "_build" / "html" / "b" / "second.html"
    path.write_text(path.read_text().replace("After.", video._repr_html_()))
    page = program.new_page()
    print_book.compose(page, book / "_build" / "html", "first.html")
    assert page.locator("video").count() == 0
    picture = page.get_by_alt_text("a film")
    light = picture.evaluate("""image => {
        const paper = document.createElement("canvas").getContext("2d");
        paper.drawImage(image, 0, 0);
        return paper.getImageData(10, 10, 1, 1).data[0];
    }""")
    assert light < 50


def test_a_picture_that_is_missing_is_named(program, book):
    path = book / "_build" / "html" / "b" / "second.html"
    path.write_text(path.read_text().replace("After.", '<img src="none.png">'))
    with pytest.raises(FileNotFoundError, match=r"pictures are missing: .*/b/none\.png"):
        print_book.compose(program.new_page(), book / "_build" / "html", "first.html")


def test_the_pdf_has_an_outline_and_the_first_page_offers_it(program, book):
    for _ in range(2):  # in a process of its own: playwright runs once in each
        command = [sys.executable, print_book.__file__, book]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    pdf = (book / "_build" / "html" / "assimilation.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Outlines" in pdf
    page = (book / "_build" / "html" / "first.html").read_text()
    assert page.count('href="assimilation.pdf"') == 1
    assert page.index("assimilation.pdf") > page.index("<article")


def test_without_pages_or_browser_the_error_says_what_to_do(book, tmp_path):
    for folder, words in [(book, "apt-get install chromium"), (tmp_path / "b", "run `make book`")]:
        command = [sys.executable, print_book.__file__, folder]
        surroundings = os.environ | {"CHROMIUM": "/nowhere/chrome"}
        result = subprocess.run(command, capture_output=True, text=True, env=surroundings)
        assert result.returncode == 1
        assert words in result.stderr
        assert "Traceback" not in result.stderr
