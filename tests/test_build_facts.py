"""What the book counts about itself, and the code of its chapters."""

import re

import book_facts
import format_chapters
import pytest
import yaml
from test_build_book import ROOT, build, cell

CLAIM = cell('from assimilation.book import check\ncheck("1 < 2 & 2 < 3", True)')
PAGE = """# Code

```{code-cell} ipython3
---
mystnb: {image: {alt: A line}}
tags: [hide-input]
---
x = [1,2]
plot(x);
```

```{code-cell} ipython3
:tags: [remove-input]

y=x
```
"""


def with_facts(book):
    extensions = {"book_facts": str(ROOT / "tools")}
    config = {"execute": {"execute_notebooks": "cache"}, "sphinx": {"local_extensions": extensions}}
    (book / "_config.yml").write_text(yaml.safe_dump(config))
    return book


def test_claims_are_found_in_the_outputs_and_words_in_the_prose(write_book):
    words = "word " * (3 * book_facts.WORDS_A_MINUTE)
    exercise = "```{exercise-start}\n:label: ex\n```\nAsk.\n```{exercise-end}\n```"
    solution = "```{solution-start} ex\n```\n" + 9 * words + "\n```{solution-end}\n```"
    book = write_book(chapter=[CLAIM, words, exercise, solution, cell(f"'{words}'")])
    build(book)  # the chapter runs; its exercise is of an extension that this book has not
    (found,) = book_facts.facts(book)
    ((anchor, sentence),) = found.claims
    assert sentence == "1 < 2 & 2 < 3"
    assert re.fullmatch(r"claim-\w{10}", anchor)
    assert found.seconds > 0
    assert (found.exercises, found.minutes) == (1, 3)


def test_a_chapter_that_has_not_run_has_no_claims(write_book):
    (found,) = book_facts.facts(write_book(chapter=[cell("1")]))
    assert (found.claims, found.seconds) == ([], 0)


def test_each_claim_is_a_link_to_its_place(write_book):
    listing = ["{count}`claims` claim", "```{claims}\n```"]
    book = with_facts(write_book(root=listing, chapter=[CLAIM]))
    assert build(book).returncode == 0
    page = (book / "_build" / "html" / "root.html").read_text()
    assert "1 claim" in page
    ((anchor, _),) = book_facts.facts(book)[1].claims
    assert f'href="chapter.html#{anchor}"' in page
    assert f'id="{anchor}"' in (book / "_build" / "html" / "chapter.html").read_text()


def test_a_claim_that_is_made_twice_is_named(write_book):
    book = with_facts(write_book(root=["```{claims}\n```"], chapter=[CLAIM, CLAIM]))
    result = build(book)
    assert result.returncode == 1
    assert "makes this claim twice: 1 < 2" in result.stderr


@pytest.mark.parametrize("check", [True, False])
def test_the_code_of_a_page_is_formatted(tmp_path, check, monkeypatch, capfd):
    monkeypatch.setattr(format_chapters, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert format_chapters.main(check, [page]) == check
    assert "page.md" in capfd.readouterr().out
    wanted = PAGE.replace("[1,2]", "[1, 2]").replace("y=x", "y = x")
    assert page.read_text() == (PAGE if check else wanted)


def test_the_code_of_a_page_is_linted(tmp_path, capfd):
    page = tmp_path / "page.md"
    page.write_text("```{code-cell} ipython3\nimport os\n```\n")
    assert format_chapters.main(True, [page])
    assert "F401" in capfd.readouterr().out
