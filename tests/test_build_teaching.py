"""Teaching from one source: exercises, their stubs and checks, and what students must not see."""

import re
from pathlib import Path

import matplotlib
import pytest
from colab import SOLUTIONS, Context, to_notebook
from exercises import CELL, exercises

import assimilation as da

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
QUICK = ("two_gaussians", "backgrounds")  # chapters that run in a few seconds
WRONG = (None, 0, -1e9, "", "z", (), [1.0, 2.0], {}, lambda *arguments: None, lambda *arguments: 0)


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def leaks(source, shown):
    """Lines of code and sentences of the solutions in `shown` that only the solutions have."""
    rest = SOLUTIONS.sub("", source)
    said = []
    for one in exercises(source):
        said += [line.strip() for cell in CELL.finditer(one.solution) for line in lines(cell)]
        prose = re.sub(r"^\$\$.*?^\$\$", "", CELL.sub("", one.solution), flags=re.M | re.S)
        said += [line.strip() for line in prose.splitlines()]
    secrets = [part for part in said if len(part) > 8 and part not in rest]
    assert len(secrets) > len(exercises(source))  # else nothing would be looked for
    return [part for part in secrets if part in shown]


def lines(cell):
    return [line for line in cell["code"].splitlines() if line.strip()]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_solution_leaks_into_the_student_notebook(path):
    source = path.read_text()
    for student in (True, False):
        notebook = to_notebook(source, Context(), student=student)
        shown = "\n".join(cell.source for cell in notebook.cells)
        assert bool(leaks(source, shown)) is not student
        assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_waits_for_an_answer_and_checks_it(path):
    source = path.read_text()
    cells = code_of(to_notebook(source, Context(), student=True))
    found = exercises(source)
    assert len(found) == source.count("{exercise-start}") >= 4
    for one in found:
        check = one.call.split("(")[0]
        (where,) = [n for n, cell in enumerate(cells) if f"@da.self_check\ndef {check}(" in cell]
        stub = cells[where + 1]
        assert stub == one.stub.strip()
        assert stub.endswith(one.call)
        with pytest.raises(NotImplementedError, match=f"exercise {one.number} has no answer yet"):
            exec(stub, {})
        assert f"{check}(" in "".join(cell["code"] for cell in CELL.finditer(one.solution))


@pytest.fixture(params=QUICK)
def chapter(request, untyped, monkeypatch):
    """A quick chapter, run up to its exercises, as in the notebook."""
    matplotlib.use("agg")
    monkeypatch.setattr(da, "glue", lambda name, value: None)  # it would leave IPython running
    source = (ROOT / "notebooks" / f"{request.param}.md").read_text()
    cells = code_of(to_notebook(source, Context(), student=True))
    names = {}
    for cell in cells:
        if "NotImplementedError" not in cell:
            exec(cell, names)
    yield exercises(source), names
    matplotlib.pyplot.close("all")


def test_wrong_answers_are_refused_and_solutions_pass(chapter, capsys):
    found, names = chapter
    for one in found:
        check = names[one.call.split("(")[0]]
        for wrong in WRONG:
            with pytest.raises(AssertionError, match=r"^Not yet\. "):
                check(wrong)
        capsys.readouterr()
        for cell in CELL.finditer(one.solution):
            exec(cell["code"], names)
        assert "✓ Right.\n" in capsys.readouterr().out
