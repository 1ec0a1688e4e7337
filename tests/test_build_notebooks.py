"""`make colab`: the notebooks beside the pages run as a reader would run them."""

import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
import try_notebooks
from nbformat.v4 import new_code_cell, new_notebook

INSTALL = "%pip install --quiet nothing-that-exists"
CLAIM = "import assimilation as da\nda.check('one is two', 1 == 2)"
FIGURE = "from IPython.display import HTML\nHTML('<video></video>')"


@pytest.fixture
def try_all(tmp_path, monkeypatch, capsys):
    """Writes notebooks, each keyword with its cells, tries them, and gives status and rows."""
    monkeypatch.setattr(try_notebooks, "PAGES", tmp_path)
    (tmp_path / "notebooks").mkdir()

    def run(*options, **cells):
        for name, sources in cells.items():
            notebook = new_notebook(cells=[*map(new_code_cell, sources)])
            nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
        monkeypatch.setattr(sys, "argv", ["try_notebooks.py", *options])
        status = try_notebooks.main()
        rows = capsys.readouterr().out.splitlines()[2:]
        return status, {row.split()[0]: row.split(maxsplit=6)[1:] for row in rows}

    return run


def test_a_claim_that_does_not_hold_is_counted_and_a_cell_that_fails_is_a_failure(try_all):
    status, rows = try_all(good=[INSTALL, CLAIM, FIGURE, CLAIM], bad=["1 / 0"])
    assert status == 1
    seconds, figure, claims, fetched, trained, end = rows["good"]
    assert float(seconds) >= float(figure) > 0
    assert (claims, fetched, trained, end) == ("2", "0", "0", "end")
    assert rows["bad"][1:] == ["-", "0", "0", "0", "FAILED: ZeroDivisionError: division by zero"]
    status, rows = try_all("good")
    assert (status, list(rows)) == (0, ["good"])


def test_what_sliders_show_is_seen(try_all):
    """And no message about it goes to the kernel, which could hide the reply that is awaited."""
    view = "import ipywidgets\nipywidgets.interact(lambda x: display(HTML('<video></video>')), x=1)"
    status, rows = try_all(sliders=["from IPython.display import HTML, display", view])
    assert (status, rows["sliders"][-1]) == (0, "end")
    assert float(rows["sliders"][1]) >= 0


def test_student_notebooks_wait_for_their_students(try_all):
    status, rows = try_all(**{"one": ["1"], "one-student": ["raise NotImplementedError"]})
    assert (status, list(rows)) == (0, ["one"])


def test_a_name_that_is_no_notebook_is_an_error(try_all):
    with pytest.raises(SystemExit, match="make book first"):
        try_all()
    with pytest.raises(SystemExit, match=r"There is no notebook other. There are: one"):
        try_all("other", one=["1"])


def test_what_is_installed_is_what_the_first_cell_installs():
    found = try_notebooks.requirements("0.1.2", Path("/a/checkout"))
    assert found == ["jax==0.1.2", "assimilation @ file:///a/checkout"]


def test_a_first_cell_that_changes_jax_is_an_error(monkeypatch):
    found = iter([{"jax": "1"}, {"jax": "2"}])
    monkeypatch.setattr(try_notebooks, "versions", lambda python: next(found))
    monkeypatch.setattr(try_notebooks.subprocess, "run", lambda *args, **options: None)
    with pytest.raises(SystemExit, match="the first cell changes what is installed"):
        try_notebooks.install("python")


def test_versions_are_those_of_the_interpreter():
    assert try_notebooks.versions(sys.executable)["numpy"] == version("numpy")
