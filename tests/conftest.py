"""What all tests share: a quick compiler, and a few fixtures."""

import json
import os

import jax
import jaxtyping
import pytest

# Most of a test's time is compilation, and what is compiled runs for milliseconds.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
).strip()
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled():
    """Give back the memory of what the tests of one file have compiled."""
    yield
    jax.clear_caches()


@pytest.fixture
def float64():
    """Run a test in double precision."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def untyped():
    """Call as readers do: without the type checker, which would speak before the package."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def key():
    return jax.random.key(11)


KERNEL = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python 3}\n"


@pytest.fixture
def write_book(tmp_path):
    """Writes a book: each keyword names a chapter and gives its blocks; the first is its root."""
    (tmp_path / "_config.yml").write_text("execute: {execute_notebooks: cache}\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "package.py").write_text("")

    def write(*, build=None, **blocks):
        first, *others = blocks
        contents = {"format": "jb-book", "root": first}
        if others:
            contents["chapters"] = [{"file": name} for name in others]
        (tmp_path / "_toc.yml").write_text(json.dumps(contents))
        for name, parts in blocks.items():
            said = f"build: {build[name]}\n" if name in (build or {}) else ""
            text = "\n".join([f"{KERNEL}{said}---\n\n# Chapter {name}\n", *parts])
            (tmp_path / f"{name}.md").write_text(text)
        return tmp_path

    return write
