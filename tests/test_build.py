"""The repository itself: requirements in step, clean sources, an environment for each machine."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import chapters
import mutations
import pytest
import yaml
from colab import Context, to_notebook
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import assimilation

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


def test_what_mutations_break_stands_once_in_the_package():
    for mutation in mutations.table():
        source = (ROOT / "src" / "assimilation" / mutation.file).read_text()
        assert source.count(mutation.old) == 1, mutation


def test_the_contents_list_every_page():
    listed = {f"{name}.md" for name in chapters.parse_toc_yaml(ROOT / "_toc.yml")}
    pages = [*(ROOT / "book").glob("*.md"), *CHAPTERS]
    assert listed == {page.relative_to(ROOT).as_posix() for page in pages}


def test_no_outputs_are_kept():
    folders = [ROOT / name for name in ("book", "notebooks", "src", "tests", "tools")]
    assert not [path for folder in folders for path in folder.rglob("*.ipynb")]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("student", [False, True])
def test_a_chapter_reads_well_in_colab(path, student):
    notebook = to_notebook(path.read_text(), Context(), repository="owner/name", student=student)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.findall(r"^.*\{[\w:-]+\}`.*$|^[`:]{3,}\{.*$|^:\w+:.*$|^\(\S+\)=$", prose, re.M)
    assert not student or "**Solution" not in prose


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
    public = [
        name
        for name, thing in vars(assimilation).items()
        if not (name.startswith("_") or inspect.ismodule(thing))
    ]
    assert sorted(listed) == sorted(public)
