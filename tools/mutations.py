"""Break the package on purpose, in one place at a time, and see whether a test notices.

    python tools/mutations.py [pattern]

makes each mutation of `mutation_table.py` whose line, file or test contains `pattern` (all
without one), alone, in a copy of the sources; runs the test that must notice; and reports. A test
that says nothing about the code would pass with the code broken.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from mutation_table import TABLE

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """In `file`, `old`, which stands there once, becomes `new`; `test` must fail.

    `test` is a file or one test of it, or ends with `-k` and words as for pytest.
    """

    file: str
    old: str
    new: str
    test: str

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"


def table() -> list[Mutation]:
    """All mutations of the table."""
    return [Mutation(file, *row) for file, rows in TABLE.items() for row in rows]


def passes(tests: list[str], source: Path) -> bool:
    """Whether `tests` pass on the package in `source`."""
    where = {**os.environ, "PYTHONPATH": str(source)}
    options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "--no-header"]
    parts = [test.partition(" -k ") for test in tests]
    if len(tests) == 1 and parts[0][2]:
        options += ["-k", parts[0][2]]
    files = sorted({f"tests/{file}" for file, _, _ in parts})
    command = [sys.executable, "-m", "pytest", *options, *files]
    found = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True)
    if found.returncode not in (0, 1):
        raise SystemExit(found.stdout[-2000:] + found.stderr[-2000:])
    return found.returncode == 0


def notices(mutation: Mutation, source: Path) -> bool:
    """Whether the test of a mutation fails on a package in `source` that has it."""
    path = source / "assimilation" / mutation.file
    before = path.read_text()
    if before.count(mutation.old) != 1:
        raise SystemExit(f"{mutation}: stands {before.count(mutation.old)} times in the file.")
    path.write_text(before.replace(mutation.old, mutation.new))
    try:
        return not passes([mutation.test], source)
    finally:
        path.write_text(before)


def main(pattern: str = "") -> None:
    chosen = [m for m in table() if any(pattern in text for text in (str(m), m.test))]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(shutil.copytree(ROOT / "src", Path(folder) / "src"))
        tests = sorted({mutation.test for mutation in chosen})
        if not passes(tests, source):
            raise SystemExit("a test fails on the package as it is: mend that first.")
        missed = 0
        for mutation in chosen:
            started = time.perf_counter()
            noticed = notices(mutation, source)
            missed += not noticed
            seconds = time.perf_counter() - started
            word = "noticed    " if noticed else "NOT NOTICED"
            print(f"{word} {seconds:4.0f} s  {mutation}  [{mutation.test}]", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed.")
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main(*sys.argv[1:])
