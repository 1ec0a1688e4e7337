"""What all tests share: a quick compiler, and a few fixtures."""

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
