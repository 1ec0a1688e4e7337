"""Published set-ups, their score, and the test of agreement."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assimilation as da


@pytest.mark.parametrize(
    ("setup", "size", "n_seen", "every", "dt", "variance"),
    [
        (da.lorenz63_sakov2012, 3, 3, 25, 0.01, 2.0),
        (da.lorenz96_sakov2008, 40, 40, 1, 0.05, 1.0),
        (da.lorenz96_sakov2012, 40, 40, 12, 0.05, 1.0),
        (da.lorenz96_bocquet2013, 40, 40, 4, 0.05, 1.0),
        (da.two_level_wilks2005, 264, 8, 10, 0.005, 0.1),
    ],
)
def test_set_ups_have_the_printed_settings(setup, size, n_seen, every, dt, variance):
    problem = jax.jit(lambda key: setup(key=key, n_cycles=3))(jax.random.key(0))
    assert (problem.D, problem.dt) == (size, dt)
    assert problem.observations.times == tuple(every * k for k in range(4))
    np.testing.assert_allclose(problem.observations.error, variance, rtol=1e-6)
    assert problem.observations.values.shape == (4, n_seen)
    np.testing.assert_array_equal(problem.obs_op(jnp.arange(size * 1.0)), np.arange(n_seen))
    rest = problem.truth[-1] - da.free_forecast(problem.forward, problem.truth[0], 3 * every)[-1]
    np.testing.assert_allclose(rest, 0, atol=1e-4)


def test_the_model_of_wilks_has_the_printed_climatology():
    """The score of the climatological mean is 0.93, and it is that of all 264 entries."""
    problem = da.two_level_wilks2005(key=jax.random.key(0), n_cycles=1)
    assert problem.climatology_std == pytest.approx(0.93, abs=0.03)


def test_the_score_is_the_mean_over_time_of_the_rmse_over_space():
    problem = da.lorenz63_sakov2012(key=jax.random.key(0), n_cycles=6)
    found = da.cycle(da.ETKF.of(problem, n_members=5), problem)
    errors = np.asarray(found.analyses.x0) - np.asarray(problem.truth)[::25]
    by_hand = np.mean([np.sqrt(np.mean(e**2)) for e in errors[2:]])
    np.testing.assert_allclose(da.cycled_rmse(found, problem, 2), by_hand, rtol=1e-5)
    broken = eqx.tree_at(lambda c: c.analyses.x0, found, found.analyses.x0.at[4].set(jnp.nan))
    assert jnp.isnan(da.cycled_rmse(broken, problem, 2))


def test_agreement_is_reached_as_often_as_its_level_says():
    """Of prints drawn as our scores are, and rounded: 95 % agree, or more by the rounding."""
    rng = np.random.default_rng(0)
    cases = ((6, 1.0, 0.93, 0.97), (6, 25.0, 0.93, 0.97), (2, 1.0, 0.95, 1.0))
    for digits, length, low, high in cases:
        agreed = [
            da.agreement(
                rng.normal(0.5, 0.01, 8),
                round(rng.normal(0.5, 0.01 / length**0.5), digits),
                digits,
                length=length,
            ).agrees
            for _ in range(2000)
        ]
        assert low < np.mean(agreed) < high
    wrong = [da.agreement(rng.normal(0.5, 0.01, 8), 0.56).agrees for _ in range(200)]
    assert np.mean(wrong) < 0.05


def test_what_sampling_does_not_explain_rounding_may():
    exact = da.agreement(np.array([0.5, 0.5]), 0.504, digits=2)
    assert exact.agrees
    assert exact.allowed == pytest.approx(0.005)
    assert not da.agreement(np.array([0.5, 0.5]), 0.506, digits=2).agrees
    spread = da.agreement(np.array([0.4, 0.6]), 0.5)
    # Student's t with one degree of freedom.
    assert spread.high - spread.low == pytest.approx(2 * 12.706 * 0.1, rel=1e-3)


def test_bad_arguments_name_the_fix(untyped):
    with pytest.raises(ValueError, match="scores has 1 entry: pass those of two seeds or more"):
        da.agreement([0.5], 0.5)
    with pytest.raises(ValueError, match="of runs that diverged: leave none in"):
        da.agreement([0.5, np.nan], 0.5)
    with pytest.raises(ValueError, match="level=95: pass a share between 0 and 1"):
        da.agreement([0.5, 0.6], 0.5, level=95)
    with pytest.raises(ValueError, match="digits=-1: pass a whole number"):
        da.agreement([0.5, 0.6], 0.5, digits=-1)
    for setup in (da.lorenz63_sakov2012, da.lorenz96_sakov2008, da.two_level_wilks2005):
        with pytest.raises(ValueError, match="n_cycles=0: pass a whole number, 1 or larger"):
            setup(key=jax.random.key(0), n_cycles=0)
        with pytest.raises(TypeError, match="key is 3: pass one JAX random key"):
            setup(key=3)
    problem = da.lorenz63_sakov2012(key=jax.random.key(0), n_cycles=2)
    found = da.cycle(da.ThreeDVar.of(problem), problem)
    with pytest.raises(ValueError, match="burn_in=3: pass less than the 3 windows there are"):
        da.cycled_rmse(found, problem, 3)
    with pytest.raises(TypeError, match="found is int"):
        da.cycled_rmse(3, problem, 0)
