"""Fixtures that several test files share."""

import jax
import pytest


@pytest.fixture
def float64():
    """Run a test in double precision."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def key():
    return jax.random.key(11)
