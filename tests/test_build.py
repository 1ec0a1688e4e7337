"""The repository itself: requirements in step, clean sources, a build that fails when it must."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import build_book
import jupytext
import pytest
import yaml
from colab import Context, to_notebook
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import assimilation

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
KERNEL = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python 3}\n---\n"


def cell(source):
    return f"```{{code-cell}} ipython3\n{source}\n```\n"


def direct_requirements():
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for line in sum(extras, PROJECT["dependencies"])]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"\w", line)]


# Requirements


def test_every_requirement_is_pinned_within_its_bounds():
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins()}
    for requirement in direct_requirements():
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_every_requirement_has_a_lower_bound():
    # Otherwise the run on the lowest versions would start from the first release ever made.
    for requirement in direct_requirements():
        assert {clause.operator for clause in requirement.specifier} <= {">=", "=="}, requirement
        assert len(requirement.specifier) == 1, requirement


def test_the_tests_run_on_the_pinned_versions():
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(version(pin.name)), pin


def test_conda_installs_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    extras = ",".join(sorted(PROJECT["optional-dependencies"]))
    assert pip == {"pip": ["--constraint constraints.txt", f"--editable .[{extras}]"]}
    allowed = SpecifierSet(python.removeprefix("python"))
    declared = SpecifierSet(PROJECT["requires-python"])
    shell = (ROOT / "tools" / "environment.sh").read_text()
    for minor in range(9, 16):
        offered = f"python3.{minor} " in shell
        assert allowed.contains(f"3.{minor}") == offered, minor
        assert declared.contains(f"3.{minor}") or not offered, minor


# Sources


def test_the_contents_list_every_page():
    listed = {f"{name}.md" for name in build_book.parse_toc_yaml(ROOT / "_toc.yml")}
    pages = [*(ROOT / "book").glob("*.md"), *CHAPTERS]
    assert listed == {page.relative_to(ROOT).as_posix() for page in pages}


def test_no_outputs_are_kept():
    folders = [ROOT / name for name in ("book", "notebooks", "src", "tests", "tools")]
    assert not [path for folder in folders for path in folder.rglob("*.ipynb")]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_its_parts(path):
    text = path.read_text()
    assert jupytext.reads(text, fmt="md:myst").metadata["kernelspec"]["name"] == "python3"
    # myst-nb executes a page only if it begins this way.
    assert text.startswith("---\nfile_format: mystnb\n")
    lower = text.lower()
    for part in ("objectives", "prerequisites", "reading", "run time"):
        assert part in lower.split("\n## ")[0], f"the opening does not mention {part}"
    headings = re.findall(r"^## (.*)$", text, re.M)
    for part in ("exercises", "summary", "references"):
        assert any(part in heading.lower() for heading in headings), f"no heading for {part}"
    assert "{solution" in text


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("student", [False, True])
def test_a_chapter_reads_well_in_colab(path, student):
    notebook = to_notebook(path.read_text(), Context(), repository="owner/name", student=student)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.findall(r"^.*\{[\w:-]+\}`.*$|^[`:]{3,}\{.*$|^:\w+:.*$|^\(\S+\)=$", prose, re.M)
    assert not student or "**Solution" not in prose


# The notebook for Colab

CHAPTER = (
    KERNEL
    + r"""
(a-label)=
# Title

% a comment
An {term}`analysis <x>` of {glue:text}`error:.2f`, {math}`x^2` in {eq}`cost`,
{ref}`double`, {cite:t}`a`.
See [notation](../book/notation.md) and [elsewhere](https://example.org).

$$
J(x)
$$ (cost)

```{admonition} Objectives
:class: tip
Know {term}`it`.
```

"""
    + cell(":tags: [hide-input]\n\nx = {'{ref}`double`': 1}")
    + """
```{exercise} Doubling
:label: double
Double it.
```

````{solution} double
```python
secret
```
````

```{exercise-start}
:label: triple
```
Triple it.
```{exercise-end}
```

```{solution-start} triple
:class: dropdown
```
"""
    + cell("secret")
    + """
```{solution-end}
```

See {numref}`fig-x` and {footcite:p}`b`.

"""
    + cell("---\nmystnb:\n  figure:\n    name: fig-x\n    caption: What {term}`x` is.\n---\nplot()")
    + """
```{footbibliography}
```
"""
)


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_a_notebook_has_plain_markdown():
    context = Context(
        glued={"error:.2f": "0.25"}.get,
        cited=lambda role, keys: f"{role} {keys}",
        references=lambda keys: f"- {keys}",
        address=lambda target: f"https://example.org/{target}",
    )
    notes, text, code, exercise, solution, *end = sources(to_notebook(CHAPTER, context))
    assert "needs the package" in notes
    assert text == (
        "# Title\n\n"
        "An analysis of 0.25, $x^2$ in (1),\nexercise 1, cite:t a.\n"
        "See [notation](https://example.org/../book/notation.md) and [elsewhere](https://example.org)."
        "\n\n$$\nJ(x) \\tag{1}\n$$\n\n> **Objectives**\n>\n> Know it."
    )
    assert code == "x = {'{ref}`double`': 1}"  # code stays as it is
    assert exercise.startswith("> **Exercise 1: Doubling**\n>\n> Double it.\n\n> **Solution of")
    assert exercise.endswith("**Exercise 2**\n\nTriple it.\n\n**Solution of exercise 2**")
    assert solution == "secret"
    assert end == [
        "See figure 1 and cite:p b.",
        "plot()",
        "**Figure 1.** What x is.",
        "- ['a', 'b']",
    ]


def test_a_notebook_without_what_the_book_knows_is_still_readable():
    text = sources(to_notebook(CHAPTER, Context()))[1]
    assert "analysis of (see the output)" in text
    assert "See notation and" in text


def test_a_notebook_installs_the_package_and_keeps_jax():
    install = to_notebook(CHAPTER, Context(), repository="owner/name").cells[0]
    assert install.cell_type == "code"
    assert (
        '"jax=={jax_version}" "assimilation @ git+https://github.com/owner/name"' in install.source
    )


def test_the_student_notebook_has_a_cell_in_the_place_of_each_solution():
    cells = sources(to_notebook(CHAPTER, Context(), student=True))
    assert "secret" not in "".join(cells)
    assert cells.count("# Your solution") == 2
    assert cells[-3] == "plot()"


def test_a_block_without_end_is_an_error():
    with pytest.raises(ValueError, match="has no end"):
        to_notebook(f"{KERNEL}\n```{{note}}\nopen\n", Context())


# The build


@pytest.fixture
def small_book(tmp_path):
    """A book with one chapter; the fixture writes the chapter."""
    (tmp_path / "_config.yml").write_text("execute: {execute_notebooks: cache}\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapter\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "package.py").write_text("")

    def write(*blocks):
        (tmp_path / "chapter.md").write_text(f"{KERNEL}\n# Chapter\n\n" + "\n".join(blocks))
        return tmp_path

    return write


def build(book):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "build_book.py", book], capture_output=True, text=True
    )


def test_a_failing_cell_is_named(small_book):
    result = build(small_book(cell("fine = 1"), cell("# the second cell\nfine / 0"), cell("2")))
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "chapter.md, line 13: code cell 2 of 3 failed:\n    # the second cell" in result.stderr


def test_a_false_claim_is_named(small_book):
    claim = 'from assimilation.book import check\ncheck("one is two", 1 == 2)'
    result = build(small_book(cell(claim)))
    assert result.returncode == 1
    assert "This claim no longer holds: one is two" in result.stderr
    assert "chapter.md, line 9: code cell 1 of 1 failed" in result.stderr


def test_warnings_from_a_page_and_from_a_cell_are_named_each_time(small_book):
    book = small_book(cell("import sys\nprint('beware', file=sys.stderr)"), "See {ref}`nowhere`.")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]
    (book / "_config.yml").write_text(yaml.safe_dump({"execute": config}))
    for _ in range(2):  # Sphinx would not repeat them by itself
        result = build(book)
        assert result.returncode == 1
        assert "chapter.md:13: WARNING: undefined label: 'nowhere'" in result.stderr
        assert "chapter.md:10: WARNING: stderr was found in the cell outputs" in result.stderr


def test_a_chapter_runs_again_when_it_or_the_package_changes_and_only_then(small_book, capsys):
    book = small_book(cell("1 + 1"))

    def outcome():
        failure = build_book.execute(book / "chapter.md", "chapter", build_book.open_cache(book))
        assert failure is None
        return "ran" if "ran in" in capsys.readouterr().out else "unchanged"

    assert outcome() == "ran"
    assert outcome() == "unchanged"
    small_book("A sentence.", cell("1 + 1"))
    assert outcome() == "unchanged"
    (book / "src" / "package.py").write_text("changed = True")
    assert outcome() == "ran"
    small_book(cell("1 + 2"))
    assert outcome() == "ran"


def test_a_sound_book_is_built_and_runs_once(small_book):
    book = small_book(cell("with open('runs.txt', 'a') as file:\n    file.write('once ')"))
    result = build(book)
    assert result.returncode == 0, result.stderr
    index = book / "_build" / "html" / "index.html"
    assert index.as_uri() in result.stdout
    assert index.exists()
    assert (book / "runs.txt").read_text() == "once "


def test_requests_to_other_sites_are_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://example.org/a">fine</a><link rel="canonical" href="https://example.org/b">'
        '<script src="local.js"></script><script src="https://example.org/c.js"></script>'
        '<link rel="stylesheet" href="//example.org/d.css">'
    )
    (tmp_path / "style.css").write_text("@import url('https://example.org/e.css');")
    found = build_book.third_party_requests(tmp_path)
    assert [line.split("/")[-1] for line in found] == ["c.js", "d.css", "e.css"]


# The environment


@pytest.fixture
def bare_checkout(tmp_path):
    """A checkout on a machine with hardly a program."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cat", "cksum", "rm", "sh"):
        (programs / name).symlink_to(shutil.which(name))

    def make_environment(**variables):
        return subprocess.run(
            ["sh", ROOT / "tools" / "environment.sh"],
            cwd=tmp_path,
            env={"PATH": str(programs), "HOME": str(tmp_path), **variables},
            capture_output=True,
            text=True,
        )

    return programs, make_environment


def test_without_python_there_is_one_sentence(bare_checkout):
    programs, make_environment = bare_checkout
    stub = programs / "python3"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    result = make_environment()
    assert result.returncode == 1
    assert result.stderr == (
        "make: Python 3.11, 3.12, 3.13 or 3.14 is needed, and none was found.\n"
    )


def test_without_a_network_there_is_one_sentence(bare_checkout):
    programs, make_environment = bare_checkout
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": os.devnull}
    result = make_environment(**unreachable)
    assert result.returncode == 1
    assert re.fullmatch("make: the packages could not be installed.*\n", result.stderr)


def test_the_api_page_lists_every_public_name():
    page = (ROOT / "book" / "api.md").read_text()
    listed = re.findall(r"^\.\. auto(?:class|function):: (\w+)$", page, re.M)
    assert sorted(listed) == sorted(assimilation.__all__)
