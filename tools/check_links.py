"""Asks for every address on another site that the book links to, and names those that fail.

python tools/check_links.py [FOLDER]

FOLDER holds _config.yml and _toc.yml (default: this repository). No chapter is executed.
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

DOI = "https://doi.org/"
SETTINGS = {
    "linkcheck_retries": 3,
    "linkcheck_timeout": 30,
    # Headings of other sites are theirs to rename, and scripts make many of them.
    "linkcheck_anchors": False,
}


def setup(app):
    app.connect("linkcheck-process-uri", ask_the_registry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def ask_the_registry(app, uri):
    """A DOI is looked up where it is registered: its publisher turns programs away."""
    return uri.replace(DOI, f"{DOI}api/handles/", 1) if uri.startswith(DOI) else None


def main(book: Path) -> int:
    config = yaml.safe_load((book / "_config.yml").read_text("utf-8"))
    config["execute"] = {"execute_notebooks": "off"}
    sphinx = config.setdefault("sphinx", {})
    extensions = sphinx.setdefault("local_extensions", {})
    # Relative folders would be looked for beside the file that is written here.
    extensions.update({name: str(book / folder) for name, folder in extensions.items()})
    extensions["check_links"] = str(Path(__file__).parent)
    sphinx["config"] = sphinx.get("config", {}) | SETTINGS
    out = book / "_build" / "links"
    out.mkdir(parents=True, exist_ok=True)
    own = out / "_config.yml"
    own.write_text(yaml.safe_dump(config), "utf-8")

    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", str(book), "--builder", "linkcheck", "--all", "-q"]
    command += ["--config", str(own), "--path-output", str(out)]
    report = out / "_build" / "html" / "output.json"
    report.unlink(missing_ok=True)
    result = subprocess.run(command, capture_output=True, text=True)
    if not report.exists():
        print(result.stdout, result.stderr, sep="\n", file=sys.stderr)
        return 1
    links = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    broken = [link for link in links if link["status"] in ("broken", "timeout")]
    for link in broken:
        print(f"{link['filename']}:{link['lineno']}: {link['uri']}\n    {link['info']}")
    asked = [link for link in links if link["status"] not in ("unchecked", "local", "ignored")]
    print(f"{len(asked)} links to other sites, {len(broken)} of them broken")
    return 1 if broken or not asked else 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2] or [Path(__file__).parents[1]]).resolve()))
