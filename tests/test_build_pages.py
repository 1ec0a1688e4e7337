"""What the pages say about the book: its repository, its address, a way to print it."""

import sys

import browser
import pytest
import repository
from test_build_book import build, cell

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
