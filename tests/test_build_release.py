"""The release: what is in the wheel and the sdist, that they work, and what is said of them."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from release_notes import notes, versions

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAME = f"assimilation-{VERSION}"

USE = """
import assimilation as da
import jax

print(da.__file__)
problem = da.generate_problem(key=jax.random.key(0))
analysis = da.ThreeDVar.of(problem).solve(problem.observations)
assert jax.numpy.isfinite(analysis.trajectory(problem.forward, problem.T_total)).all()
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with the wheel and the sdist, made from a copy of the sources without a network."""
    folder = tmp_path_factory.mktemp("release")
    left_out = shutil.ignore_patterns(".*", "_build", "*.egg-info", "__pycache__", "shared")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    result = subprocess.run([*command, folder / "source"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_wheel_holds_the_package_and_its_licence_alone(packages):
    with zipfile.ZipFile(packages / f"{NAME}-py3-none-any.whl") as wheel:
        inside = set(wheel.namelist())
        metadata = wheel.read(f"{NAME}.dist-info/METADATA").decode()
    sources = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.py")}
    information = {name for name in inside if name.startswith(f"{NAME}.dist-info/")}
    assert inside - information == {path.as_posix() for path in sources}
    assert f"{NAME}.dist-info/licenses/LICENSE" in information
    assert f"\nVersion: {VERSION}\n" in metadata
    assert "\nRequires-Dist: jax>=" in metadata


def test_the_sdist_holds_what_builds_the_wheel(packages):
    with tarfile.open(packages / f"{NAME}.tar.gz") as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    files = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert files <= inside
    assert "src/assimilation/__init__.py" in inside
    assert {name.partition("/")[0] for name in inside} == {
        *files,
        *("", "MANIFEST.in", "PKG-INFO", "setup.cfg", "src"),
    }


def test_the_installed_wheel_analyses(packages, tmp_path):
    # The wheel was built from the sdist, so this tries both.
    install = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--quiet"]
    install += ["--python", sys.executable, "--target", tmp_path / "site"]
    subprocess.run([*install, packages / f"{NAME}-py3-none-any.whl"], check=True)
    # -P and the path that comes first: neither this folder nor the sources are found.
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{USE}"
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "site" / "assimilation" / "__init__.py")


# What is said of it


def test_one_version_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION
    assert next(iter(versions((ROOT / "CHANGELOG.md").read_text()))) == VERSION


def test_every_version_in_the_change_log_has_a_heading_of_one_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading.partition(" - ")[0] for heading in headings] == list(versions(text))
    for heading in headings:
        assert re.fullmatch(r"\d+\.\d+\.\d+ - (\d{4}-\d\d-\d\d|Unreleased)", heading), heading


def test_the_citation_file_is_valid(tmp_path):
    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema"]
    check += ["vendor.citation-file-format", "--default-filetype", "yaml"]
    text = (ROOT / "CITATION.cff").read_text()
    assert subprocess.run([*check, ROOT / "CITATION.cff"], capture_output=True).returncode == 0
    broken = tmp_path / "CITATION.cff"
    broken.write_text(text.replace("authors:", "author:"))
    assert subprocess.run([*check, broken], capture_output=True).returncode == 1


CHANGES = """# Changelog

## 0.3.0 - Unreleased

### Added

- Three.

## 0.2.0 - 2026-05-01

### Fixed

- Two.

## 0.1.0 - 2026-04-01
"""


def test_notes_are_those_of_one_version():
    assert notes(CHANGES, "0.2.0") == "### Fixed\n\n- Two."


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.4.0", r"has no version 0\.4\.0, it has 0\.3\.0, 0\.2\.0, 0\.1\.0: add '## 0\.4\.0 -"),
        ("0.3.0", r"gives 0\.3\.0 the date Unreleased: write the day of its release"),
        ("0.1.0", r"says nothing of 0\.1\.0: write what is new"),
    ],
)
def test_a_version_without_notes_is_an_error_that_says_what_to_write(version, words):
    with pytest.raises(ValueError, match=words):
        notes(CHANGES, version)


def test_the_command_prints_its_error_and_no_traceback():
    command = [sys.executable, ROOT / "tools" / "release_notes.py", "99.0.0"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("CHANGELOG.md has no version 99.0.0")
