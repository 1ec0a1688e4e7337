"""Forecast differences against a model whose forecasts are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import forecast_differences


class Doubling(eqx.Module):
    """A model that doubles the state in each step."""

    dt: float = eqx.field(default=1.0, static=True)

    def step(self, state, dt):
        return 2 * state


def test_forecasts_of_two_ages_meet_at_one_time():
    analyses = jax.random.normal(jax.random.key(0), (6, 3))
    found = forecast_differences(Doubling(), analyses, n_steps=2, short=1, long=3)
    expected = [2.0**6 * analyses[i] - 2.0**2 * analyses[i + 2] for i in range(4)]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


def test_perfect_analyses_differ_nowhere():
    states = 2.0 ** (3 * jnp.arange(5.0))[:, None] * jnp.array([1.0, -2.0])
    found = forecast_differences(Doubling(), states, n_steps=3)
    assert found.shape == (4, 2)
    assert jnp.all(found == 0)


@pytest.mark.usefixtures("untyped")
def test_bad_input_is_named():
    analyses = jnp.ones((3, 2))
    with pytest.raises(ValueError, match="long=1"):
        forecast_differences(Doubling(), analyses, 1, short=1, long=1)
    with pytest.raises(ValueError, match=r"analyses has 3 rows: pass more than long - short = 4"):
        forecast_differences(Doubling(), analyses, 1, short=1, long=5)
    with pytest.raises(TypeError, match="forward is int"):
        forecast_differences(3, analyses, 1)
