"""What builds keep for each other: published weights, and what happens to damaged files."""

import hashlib
import json

import pytest
import weights
from test_build_book import build, cell

TRAIN = """
import json, os
from pathlib import Path
folder = Path(os.environ["ASSIMILATION_CACHE"])
assert "ASSIMILATION_WEIGHTS" not in os.environ
(folder / os.environ["ASSIMILATION_BOOK"]).mkdir(parents=True)
(folder / "net-{0}.eqx").write_text("{0}")
note = {{"name": "net", "file": "net-{0}.eqx", "bytes": 1, "sha256": "{1}"}}
(folder / os.environ["ASSIMILATION_BOOK"] / "net-{0}.json").write_text(json.dumps(note))
"""


def train(letter):
    return cell(TRAIN.format(letter, hashlib.sha256(letter.encode()).hexdigest()))


def published(book):
    folder = book / "_build" / "html" / "weights"
    index = json.loads((folder / "index.json").read_text())
    assert sorted(note["file"] for note in index) == sorted(p.name for p in folder.glob("*.eqx"))
    return sorted(note["file"] for note in index)


def test_weights_of_the_last_run_of_each_chapter_are_published(write_book, monkeypatch):
    monkeypatch.setenv("ASSIMILATION_WEIGHTS", "file:///nowhere")
    book = write_book(one=[train("a")], two=[train("b")])
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert published(book) == ["net-a.eqx", "net-b.eqx"]
    assert "weights of 2 networks lie beside the pages" in result.stdout
    build(write_book(one=[train("c")], two=[train("b")]))
    assert published(book) == ["net-b.eqx", "net-c.eqx"]


@pytest.mark.parametrize("damage", [lambda p: p.write_text("garbage"), lambda p: p.unlink()])
def test_damaged_weights_are_named_and_their_chapter_runs_again(write_book, damage):
    book = write_book(one=[train("a")], two=[train("b")])
    build(book)
    damage(weights.kept(book) / "net-b.eqx")
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert "two.md: net-b.eqx is damaged, and is trained anew" in result.stdout
    assert "one.md: unchanged" in result.stdout
    assert published(book) == ["net-a.eqx", "net-b.eqx"]


def test_a_damaged_record_of_the_chapters_is_made_anew(write_book):
    book = write_book(chapter=[cell("1")])
    build(book)
    (book / "_build" / ".jupyter_cache" / "global.db").write_text("garbage" * 999)
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert "the kept outputs of the chapters are damaged: all chapters run again" in result.stdout
    assert "chapter.md: ran in" in result.stdout
    assert "chapter.md: unchanged" in build(book).stdout


@pytest.mark.parametrize("content", ["", "garbage", "{}"])
def test_a_chapter_whose_kept_outputs_are_damaged_runs_again(write_book, content):
    book = write_book(one=[cell("1")], two=[cell("2")])
    build(book)
    cache = book / "_build" / ".jupyter_cache"
    damaged = next(p for p in cache.rglob("*.ipynb") if '"2"' in p.read_text())
    damaged.write_text(content)
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert "two.md: its kept outputs are damaged, it runs again" in result.stdout
    assert "one.md: unchanged" in result.stdout
    assert "two.md: ran in" in result.stdout
