"""What the pages say about the book: its repository, its address, a way to print it."""

import re
import sys

import browser
import page_meta
import pytest
import repository
import yaml
from docutils import nodes
from test_build_book import ROOT, build, cell

# The repository


@pytest.mark.parametrize("name", ["owner/name", "An-Owner/a.name_2"])
def test_the_repository_is_that_of_the_environment(monkeypatch, name):
    monkeypatch.setenv("GITHUB_REPOSITORY", name)
    assert repository.repository() == name


def test_without_a_name_there_is_no_repository(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert repository.repository() is None
    monkeypatch.setenv("GITHUB_REPOSITORY", "")
    assert repository.repository() is None


@pytest.mark.parametrize(
    "name", ["name", "a/b/c", "a b/c", "https://github.com/a/b", "a/..", "-a/b", "a/b\n", 'a/"b']
)
def test_a_name_that_is_no_repository_is_an_error(monkeypatch, name):
    monkeypatch.setenv("GITHUB_REPOSITORY", name)
    with pytest.raises(ValueError, match="Set it to OWNER/NAME, or unset it"):
        repository.repository()


def test_such_a_name_stops_the_build_before_a_chapter_runs(monkeypatch, write_book):
    monkeypatch.setenv("GITHUB_REPOSITORY", "nobody")
    result = build(write_book(chapter=[cell("1")]))
    assert result.returncode == 1
    assert result.stderr.startswith("GITHUB_REPOSITORY is 'nobody'")
    assert "running" not in result.stdout


def test_the_book_is_at_home_where_github_serves_it():
    assert repository.home("An-Owner/Name") == "https://an-owner.github.io/Name/"
    assert repository.home("Owner/owner.github.io") == "https://owner.github.io/"


# What a page says about itself


def read(book, name):
    return (book / "_build" / "html" / name).read_text("utf-8")


def test_the_pages_follow_the_repository(monkeypatch, write_book):
    book = write_book(root=["Where to begin."], chapter=["First & last."])
    extensions = dict.fromkeys(("page_meta", "site_files"), str(ROOT / "tools"))
    config = {"title": "A book", "execute": {"execute_notebooks": "cache"}}
    (book / "_config.yml").write_text(
        yaml.safe_dump(config | {"sphinx": {"local_extensions": extensions}})
    )
    for name, home in [
        ("One/first", "https://one.github.io/first/"),
        ("two/second.x", "https://two.github.io/second.x/"),
        (None, None),
    ]:
        if name:
            monkeypatch.setenv("GITHUB_REPOSITORY", name)
        else:
            monkeypatch.delenv("GITHUB_REPOSITORY")
        result = build(book)
        assert result.returncode == 0, result.stderr
        page, lost = read(book, "chapter.html"), read(book, "404.html")
        assert '<meta name="description" content="First &amp; last." />' in page
        assert '<meta property="og:title" content="Chapter chapter" />' in page
        assert '<meta name="description" content="Where to begin." />' in read(book, "search.html")
        index = read(book, "index.html")
        assert '<meta property="og:title" content="A book" />' in index
        # Without one, a browser asks the host for /favicon.ico.
        assert all('<link rel="icon" href="data:," />' in text for text in (index, lost))
        assert not re.search(r"(fontawesome|searchtools|searchindex)\.js", page)
        assert "fontawesome.js" not in read(book, "search.html")
        assert 'src="searchindex.js"' in read(book, "search.html")
        files = book / "_build" / "html"
        if name:
            assert f'href="https://github.com/{name}/edit/main/chapter.md"' in page
            assert f"https://github.com/{name}/issues/new?" in page
            assert "Edit this page" in page
            assert "Report a problem" in page
            assert f'<meta property="og:url" content="{home}chapter.html" />' in page
            assert f'<link rel="canonical" href="{home}chapter.html"' in page
            picture = re.search(f'<meta property="og:image" content="{home}([^"]+)" />', page)[1]
            assert (files / picture).exists()
            assert f"<loc>{home}chapter.html</loc>" in read(book, "sitemap.xml")
            assert f'href="/{name.split("/")[1]}/chapter.html"' in lost
            assert "/edit/" not in read(book, "genindex.html") + read(book, "search.html")
        else:
            assert not re.search("github.com|github.io|og:image|og:url|canonical", page)
            assert not (files / "sitemap.xml").exists()
            assert 'href="chapter.html"' in lost


def box(title, text):
    return nodes.admonition("", nodes.title("", title), nodes.paragraph("", text))


def test_a_page_is_described_by_the_first_sentences_of_its_question():
    first, second, third = (letter * 119 + "?" for letter in "ABC")
    question = box("The question", f"{first}\n{second} {third}")
    page = nodes.section("", nodes.paragraph("", "Before."), box("Objectives", "Know."), question)
    assert page_meta.description(page) == f"{first} {second}"
    question.children.pop()
    page.children.pop()
    assert page_meta.description(page) == "Before."
    assert page_meta.description(nodes.section()) == ""


# The browser


@pytest.fixture
def no_browser(monkeypatch, tmp_path):
    """A machine on which no browser is installed."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(browser, "playwright_browser", lambda: str(tmp_path / "none"))
    return tmp_path


def program(path):
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_browser_the_error_says_how_to_install_one(no_browser):
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        browser.find_browser()


def test_a_browser_on_the_path_is_found_and_a_chosen_one_goes_before_it(no_browser, monkeypatch):
    chrome = program(no_browser / "google-chrome")
    assert browser.find_browser() == chrome
    chosen = program(no_browser / "another")
    monkeypatch.setenv("CHROMIUM", chosen)
    assert browser.find_browser() == chosen
    monkeypatch.setenv("CHROMIUM", "/nowhere/chrome")
    with pytest.raises(FileNotFoundError, match=r"'/nowhere/chrome', which is no program"):
        browser.find_browser()


def test_playwrights_own_browser_is_found(no_browser, monkeypatch):
    own = program(no_browser / "own")
    monkeypatch.setattr(browser, "playwright_browser", lambda: own)
    assert browser.find_browser() == own
