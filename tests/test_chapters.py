"""The form of every chapter: a question, short cells, claims, exercises that can be checked."""

import re
from pathlib import Path

import jupytext
import pytest
from colab import OUT_OF_SIGHT, SOLUTIONS

CHAPTERS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.md"))
LONGEST_CELL = 25  # lines
MOST_CODE = 0.40  # of the lines of a page
EXERCISE = re.compile(
    r"^```\{exercise-start\}.*?\n:label: (?P<label>\S+)\n```\n(?P<text>.*?)"
    r"^```\{solution-start\} (?P=label)\n(?P<solution>.*?)^```\{solution-end\}",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def text(request):
    return request.param.read_text("utf-8")


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


def visible_code(cells):
    code = [cell for cell in cells if cell.cell_type == "code"]
    return [cell for cell in code if not OUT_OF_SIGHT & set(cell.metadata.get("tags", ()))]


def test_a_chapter_has_its_parts(text):
    # myst-nb executes a page only if it begins this way.
    assert text.startswith("---\nfile_format: mystnb\n")
    assert jupytext.reads(text, fmt="md:myst").metadata["kernelspec"]["name"] == "python3"
    first = text.split("\n## ")[0]
    assert "{admonition} The question" in first
    assert first.index("{admonition} The question") < first.index("{admonition} Objectives")
    assert "**Prerequisites**" in first
    for part in ("Exercises", "Summary", "References"):
        assert f"\n## {part}\n" in text, part
    assert "**The answer.**" in text.split("\n## Summary\n")[1]


def test_cells_are_short_and_pages_are_mostly_prose(text):
    cells = jupytext.reads(SOLUTIONS.sub("", text), fmt="md:myst").cells
    code = [lines(cell.source) for cell in visible_code(cells)]
    prose = [line for cell in cells if cell.cell_type == "markdown" for line in lines(cell.source)]
    for cell in code:
        assert len(cell) <= LONGEST_CELL, "\n".join(cell)
    amount = sum(map(len, code))
    assert amount <= MOST_CODE * (amount + len(prose))
    for cell in visible_code(jupytext.reads(text, fmt="md:myst").cells):
        assert len(lines(cell.source)) <= LONGEST_CELL, cell.source


def test_bookkeeping_is_out_of_sight(text):
    for cell in visible_code(jupytext.reads(text, fmt="md:myst").cells):
        assert not re.search(r"\b(glue|check)\(", cell.source), cell.source
        imports = [line for line in lines(cell.source) if re.match(r"(import|from)\b", line)]
        assert len(imports) <= 8, cell.source


def test_a_chapter_stands_by_ten_claims(text):
    claims = re.findall(r"\bda\.check\(\s*f?\"", text)
    assert len(claims) >= 10


def test_an_answer_to_an_exercise_can_be_checked(text):
    exercises = list(EXERCISE.finditer(text))
    assert len(exercises) == text.count("{exercise-start}") >= 4
    for exercise in exercises:
        names = re.findall(r"^def (check_\w+)\(", exercise["text"], re.MULTILINE)
        assert names, f"{exercise['label']} has no function check_..."
        for name in names:
            assert f"{name}(" in exercise["solution"], f"the solution does not call {name}"


def test_every_figure_is_described(text):
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        if cell.cell_type == "code" and re.search(r"\bnew_figure\(|plt\.subplots\(", cell.source):
            if re.match(r"def |@", cell.source.strip()) and "    fig" in cell.source:
                continue  # a function that draws, called elsewhere
            assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt") or (
                "Video(" in cell.source
            ), cell.source
            assert cell.metadata.get("mystnb", {}).get("figure", {}).get("caption") or (
                "Video(" in cell.source
            ), cell.source
