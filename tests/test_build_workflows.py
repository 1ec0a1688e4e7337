"""The workflows: well formed, pinned, with no more rights than they need. No network is asked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
BIN = Path(sys.executable).parent
BASH = ["bash", "--noprofile", "--norc", "-e", "-c"]


def lint(folder):
    """What zizmor or else a schema has to say of a .github folder; nothing if it is well."""
    workflows = sorted(folder.glob("workflows/*.yml"))
    schema = [BIN / "check-jsonschema", "--builtin-schema"]
    commands = [
        [BIN / "zizmor", "--offline", "--persona=pedantic", "--no-progress", "--quiet", folder],
        [*schema, "vendor.github-workflows", *workflows],
        [*schema, "custom.github-workflows-require-timeout", *workflows],
        [*schema, "vendor.dependabot", folder / "dependabot.yml"],
    ]
    for command in commands:
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            return result.stdout + result.stderr
    return ""


def test_the_workflows_are_well():
    assert lint(GITHUB) == ""


FAULTS = {
    "an action without a digest": (
        r"actions/checkout@\w{40} # v\S+",
        "actions/checkout@v7",
        "unpinned-uses",
    ),
    "no word on rights": (r"permissions:\n  contents: read\n", "", "excessive-permissions"),
    "more rights than needed": (r"contents: read", "contents: write", "excessive-permissions"),
    "credentials that stay": (r"persist-credentials: false", "clean: true", "artipacked"),
    "text of a stranger in a script": (
        r"run: make lowest",
        "run: echo ${{ github.head_ref }}",
        "template-injection",
    ),
    "a misspelt key": (r"runs-on:", "run-on:", "run-on"),
    "no end in time": (r"    timeout-minutes: 25\n", "", "timeout-minutes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(tmp_path, fault):
    pattern, replacement, finding = FAULTS[fault]
    folder = shutil.copytree(GITHUB, tmp_path / ".github")
    workflow = folder / "workflows" / "ci.yml"
    text, count = re.subn(pattern, replacement, workflow.read_text(), count=1)
    assert count == 1
    workflow.write_text(text)
    assert finding in lint(folder)


def script(workflow, job, step):
    """The commands of a step of a workflow."""
    jobs = yaml.safe_load((GITHUB / "workflows" / f"{workflow}.yml").read_text())["jobs"]
    (found,) = [one["run"] for one in jobs[job]["steps"] if one.get("name") == step]
    return found


def test_what_the_workflows_make_can_be_made():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    made = set()
    for workflow in GITHUB.glob("workflows/*.yml"):
        made |= set(re.findall(r"\bmake (\w+)", re.sub(r"#.*", "", workflow.read_text())))
    assert {"book", "upgrade"} <= made
    assert made <= targets
    assert (ROOT / "tools" / "try_notebooks.py").exists()


def git(*arguments, cwd):
    return subprocess.check_output(["git", *arguments], cwd=cwd, text=True).strip()


def test_pages_replace_what_was_published(tmp_path):
    remote = tmp_path / "owner" / "project"
    remote.mkdir(parents=True)
    git("init", "--quiet", "--bare", cwd=remote)
    environment = os.environ | {
        "GITHUB_SERVER_URL": tmp_path.as_uri(),
        "GITHUB_REPOSITORY": "owner/project",
        "GITHUB_SHA": "0a1b2c",
    }
    for page in ("old.html", "new.html"):
        work = tmp_path / page
        html = work / "_build" / "html"
        (html / "downloads").mkdir(parents=True)
        (html / page).write_text("")
        (html / ".nojekyll").write_text("")
        (html / "downloads" / "chapter.ipynb").write_text("{}")  # which Colab opens
        command = [*BASH, script("pages", "publish", "Publish")]
        subprocess.run(command, check=True, cwd=work, env=environment)
    files = git("ls-tree", "-r", "--name-only", "gh-pages", cwd=remote).split()
    assert files == [".nojekyll", "downloads/chapter.ipynb", "new.html"]
    assert git("log", "--format=%s", "gh-pages", cwd=remote) == "The book at 0a1b2c"


@pytest.mark.parametrize("base_is_known", [True, False])
def test_changed_notebooks_are_run(tmp_path, base_is_known):
    git("init", "--quiet", cwd=tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "Makefile").write_text("colab:\n\t@echo 'ran $(NOTEBOOKS)'\n")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "m")
    for name in ("kept", "gone", "changed"):
        (tmp_path / "notebooks" / f"{name}.md").write_text("before")
    git("add", "--all", cwd=tmp_path)
    git(*author, cwd=tmp_path)
    base = git("rev-parse", "HEAD", cwd=tmp_path) if base_is_known else 40 * "0"
    for name in ("changed", "new"):
        (tmp_path / "notebooks" / f"{name}.md").write_text("after")
    (tmp_path / "notebooks" / "gone.md").unlink()
    git("add", "--all", cwd=tmp_path)
    git(*author, cwd=tmp_path)
    command = [*BASH, script("ci", "book", "Run the notebooks that differ, with Colab's versions")]
    # Below another make, as in `make test`, this one would say which folder it enters.
    above = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    env = above | {"BASE": base}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ("ran changed new\n" if base_is_known else "ran changed kept new\n")
