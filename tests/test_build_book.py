"""The build of the book: which chapters run, and when; what stops it, and what must not."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import build_book
import chapters
import pytest
import run_chapters
import yaml

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, ROOT / "tools" / "build_book.py"]


def cell(source):
    return f"```{{code-cell}} ipython3\n{source}\n```\n"


def build(book, *options):
    return subprocess.run([*PROGRAM, book, *options], capture_output=True, text=True)


def strict(book):
    """Gives a book this project's rules about what a cell may print."""
    rules = {"execute": yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]}
    (book / "_config.yml").write_text(yaml.safe_dump(rules))
    return book


# What stops it


def test_a_failing_cell_is_named_and_the_other_chapters_finish(write_book):
    failing = [cell("fine = 1"), cell("# the second cell\nfine / 0"), cell("2")]
    book = write_book(chapter=failing, other=[cell("1")])
    result = build(book)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "chapter.md, line 13: code cell 2 of 3 failed:\n    # the second cell" in result.stderr
    assert re.search(r"^other.md: ran in \d+ s", result.stdout, re.M)
    assert "other.md: unchanged" in build(book).stdout


def test_a_false_claim_is_named(write_book):
    claim = 'from assimilation.book import check\ncheck("one is two", 1 == 2)'
    result = build(write_book(chapter=[cell(claim)]))
    assert result.returncode == 1
    assert "This claim no longer holds: one is two" in result.stderr
    assert "chapter.md, line 9: code cell 1 of 1 failed" in result.stderr


def test_warnings_from_a_page_and_from_a_cell_are_named_each_time(write_book):
    blocks = cell("import sys\nprint('beware', file=sys.stderr)"), "See {ref}`nowhere`."
    book = strict(write_book(chapter=blocks))
    for _ in range(2):  # Sphinx would not repeat them by itself
        result = build(book)
        assert result.returncode == 1
        assert "chapter.md:13: WARNING: undefined label: 'nowhere'" in result.stderr
        assert "chapter.md:10: WARNING: stderr was found in the cell outputs" in result.stderr


def test_an_interrupt_ends_every_kernel(write_book):
    wait = cell("import os, time\nopen(f'{os.getpid()}.pid', 'w').close()\ntime.sleep(60)")
    book = write_book(one=[wait], two=[wait, cell("1")], three=[wait, cell("2")])
    with subprocess.Popen([*PROGRAM, book], stderr=subprocess.PIPE, text=True) as process:
        while len(kernels := list(book.glob("*.pid"))) < min(3, run_chapters.AT_A_TIME):
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()  # SIGINT, which does the same, a shell may have told us to ignore
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(r"one.md(, two.md)?(, three.md)?: interrupted\n", said)
    assert kernels == list(book.glob("*.pid"))
    for kernel in kernels:
        with pytest.raises(ProcessLookupError):
            os.kill(int(kernel.stem), 0)


# Which chapters run, and when

MEET = """
import time
from pathlib import Path
Path("{me}.here").touch()
until = time.time() + 60
while not Path("{you}.here").exists():
    assert time.time() < until, "no chapter {you} meanwhile"
    time.sleep(0.1)
time.sleep(0.5)
Path("{me}.here").unlink()
"""
ALONE = """
from pathlib import Path
assert not list(Path().glob("*.here"))
"""


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core runs one chapter at a time")
def test_chapters_run_side_by_side_but_one_that_times_something_runs_alone(write_book):
    book = write_book(
        timed=[cell(ALONE)],
        short=[cell(MEET.format(me="short", you="long"))],
        long=[cell(MEET.format(me="long", you="short"))],
        build={"timed": "{alone: true, seconds: 500}", "long": "{seconds: 100}"},
    )
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"(\w+).md: running", result.stdout) == ["long", "short", "timed"]
    assert result.stdout.index("timed.md: ran in") > result.stdout.index("short.md: ran in")


def test_what_a_chapter_says_about_its_run_is_checked(write_book):
    result = build(write_book(chapter=[cell("1")], build={"chapter": "{alnoe: true}"}))
    assert result.returncode == 1
    assert "chapter.md: build: in the front matter knows alone and seconds" in result.stderr


def test_a_chapter_runs_again_when_it_or_the_package_changes_and_only_then(write_book):
    def ran(*blocks, **others):
        book = write_book(chapter=blocks, other=[cell("3")])
        cache = chapters.open_cache(book)
        wanted = chapters.fingerprint(book, package=True)
        every = chapters.chapters(book, cache)
        due = [one for one in every if chapters.ran_with(one, cache) != wanted]
        (page := book / "_build" / ".doctrees" / "chapter.doctree").parent.mkdir(exist_ok=True)
        page.touch()
        assert not run_chapters.run_chapters(book, due, cache, wanted)
        assert page.exists() == (every[0] not in due)  # Sphinx reads it again
        return [chapter.title for chapter in due], book

    assert ran(cell("1 + 1"))[0] == ["chapter", "other"]
    assert ran(cell("1 + 1"))[0] == []
    names, book = ran("A sentence.", cell("1 + 1"))
    assert names == []
    assert ran(cell("1 + 2"))[0] == ["chapter"]
    (book / "src" / "package.py").write_text("changed = True")
    assert ran(cell("1 + 2"))[0] == ["chapter", "other"]


def test_one_chapter_can_run_by_name(write_book):
    blocks = [cell("from myst_nb import glue\nglue('x', 2.5, display=False)"), "{glue:text}`x:.4f`"]
    book = write_book(first=blocks, second=[*blocks, cell("1")])
    result = build(book, "--chapter", "second")
    assert result.returncode == 0, result.stderr
    assert re.findall(r"(\w+).md: running", result.stdout) == ["second"]
    assert "first.md: has no outputs, it has not run" in result.stdout
    pages = book / "_build" / "html"
    assert "2.5000" in (pages / "second.html").read_text()
    assert "2.5000" not in (pages / "first.html").read_text()
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"(\w+).md: running", result.stdout) == ["first"]
    assert "2.5000" in (pages / "first.html").read_text()
    result = build(book, "--chapter", "third")
    assert result.returncode == 1
    assert result.stderr == "There is no chapter third. The chapters are: first, second.\n"


def test_a_sound_book_is_built_and_runs_once(write_book):
    book = write_book(chapter=[cell("print('once', file=open('runs.txt', 'a'))")])
    result = build(book)
    assert result.returncode == 0, result.stderr
    assert (index := book / "_build" / "html" / "index.html").exists()
    assert index.as_uri() in result.stdout
    assert (book / "runs.txt").read_text() == "once\n"


# What is kept

COMPILE = """
import os, jax
from pathlib import Path
assert len(jax.devices()) == os.cpu_count()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
square = lambda x: x**2
assert jax.jit(square)(3.0) == 9
folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
compiled = list(folder.glob("*-cache"))
assert compiled
"""
AGAIN = """
for state in ("sound", "corrupt"):
    jax.clear_caches()
    assert jax.jit(square)(3.0) == 9
    for file in compiled:
        file.write_bytes(b"garbage")
jax.clear_caches()
assert jax.jit(square)(3.0) == 9
"""
FOLDERS = """
build = Path("_build").resolve()
assert build / ".compiled" in folder.parents
assert Path(os.environ["ASSIMILATION_CACHE"]) == build / ".weights"
"""


def test_chapters_keep_compiled_code_and_weights_and_survive_when_it_is_corrupt(write_book):
    result = build(strict(write_book(chapter=map(cell, (COMPILE, AGAIN, FOLDERS)))))
    assert result.returncode == 0, result.stderr


def test_what_was_used_longest_ago_is_dropped(tmp_path):
    for age, name in enumerate(["new", "middle", "old"]):
        (tmp_path / name).write_bytes(b"12345")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    chapters.drop_oldest(tmp_path, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new"]


# The pages


def test_requests_to_other_sites_are_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://example.org/a">fine</a><link rel="canonical" href="https://example.org/b">'
        '<script src="local.js"></script><script src="https://example.org/c.js"></script>'
        '<link rel="stylesheet" href="//example.org/d.css">'
    )
    (tmp_path / "style.css").write_text("@import url('https://example.org/e.css');")
    found = build_book.third_party_requests(tmp_path)
    assert [line.split("/")[-1] for line in found] == ["c.js", "d.css", "e.css"]
