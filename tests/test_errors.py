"""Wrong calls: each raises an error that names the argument and the fix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import lineax as lx
import numpy as np
import pytest

import assimilation as da
from assimilation import checks
from assimilation.metrics import valid_time

D, N, T = 4, 3, 5


@pytest.fixture(autouse=True)
def _as_a_reader_calls():
    """Readers have no type checker, which would otherwise speak before the package."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Decay(eqx.Module):
    dt: float = eqx.field(default=0.1, static=True)

    def step(self, state, dt):
        return (1 - dt) * state


class Stub:
    """What scoring asks of a problem, and no more."""

    truth = jnp.zeros((T, D))
    T_assim, T_assim_plus_1, T_total, T_forecast, D, dt = 2, 3, 4, 2, D, 0.1


def batch(**changes):
    fields = {"input": jnp.zeros((1, T, D)), "mask": jnp.ones((1, T, D))} | changes
    return da.Batch1D(**fields)


def ingredients(**changes):
    return {
        "obs_op": da.LinearObs(jnp.eye(D)),
        "prior_mean": jnp.zeros(D),
        "prior_cov_op": da.dense(jnp.eye(D)),
        "obs_cov_op": da.scaled_identity(0.25, D),
    } | changes


def matrix(values):
    return lx.MatrixLinearOperator(jnp.asarray(values), lx.positive_semidefinite_tag)


KEY = jax.random.key(0)
GENERATORS = (da.generate_problem, da.generate_l96_problem, da.generate_l96_2l_problem)
BAD_SETTINGS = [
    ({"T_assim": 60, "T_total": 50}, "T_assim=60 is larger than T_total=50: pass"),
    ({"T_assim": 0}, "T_assim=0: pass a whole number"),
    ({"obs_every": 0}, "obs_every=0: pass a whole number"),
    ({"obs_every": 2.5}, "obs_every=2.5: pass a whole number"),
    ({"obs_std": -0.5}, "obs_std=-0.5: pass a finite number above zero"),
    ({"obs_std": 0.0}, "obs_std=0.0: pass"),
    ({"obs_std": float("nan")}, "obs_std=nan: pass"),
    ({"dt": -0.01}, "dt=-0.01: pass"),
    ({"spin_up": -1}, "spin_up=-1: pass"),
    ({"background": "flat"}, "background='flat': pass one of 'climatology', 'isotropic'"),
]


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS)
def test_generators_refuse_bad_settings(generate, setting, message):
    with pytest.raises(ValueError, match=message):
        generate(key=KEY, **setting)


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize("key", [0, jnp.zeros(3), jax.random.split(KEY, 2), None])
def test_generators_refuse_what_is_not_one_key(generate, key):
    with pytest.raises(TypeError, match=r"key is .*: pass one JAX random key"):
        generate(key=key)


def test_a_raw_key_is_a_key():
    checks.key(key=jax.random.PRNGKey(0))


SITE_SETTINGS = [
    (da.generate_l96_problem, {"site_every": 0}, "site_every=0"),
    (da.generate_l96_problem, {"K": 3}, "K=3: pass a whole number, 4 or larger"),
    (da.generate_l96_2l_problem, {"J": 0}, "J=0: pass a whole number, 1 or larger"),
    (da.generate_l96_2l_problem, {"b": 0.0}, "b=0.0: pass"),
]


@pytest.mark.parametrize(("generate", "setting", "message"), SITE_SETTINGS)
def test_ring_generators_refuse_bad_rings(generate, setting, message):
    with pytest.raises(ValueError, match=message):
        generate(key=KEY, **setting)


def test_models_refuse_rings_that_are_too_short():
    for model in (da.Lorenz96Forward, da.Lorenz96TwoLevelForward):
        with pytest.raises(ValueError, match="K=2: pass"):
            model(K=2)


BAD_BATCHES = [
    ({"input": jnp.zeros((T, D))}, r"input has shape \(5, 4\): pass an array of shape"),
    ({"mask": jnp.ones((1, T, 2))}, r"mask has shape .*: pass an array of shape \(1, 5, 4\)"),
    ({"input": jnp.full((1, T, D), jnp.nan)}, "input holds 20 entries that are NaN"),
    ({"input": jnp.full((1, T, D), jnp.inf)}, "input holds 20 entries"),
    ({"mask": jnp.zeros((1, T, D))}, "mask is empty in 1 of 1 windows: pass at least one"),
    ({"mask": jnp.full((1, T, D), 0.5)}, "mask holds values other than 0 and 1"),
    ({"target": jnp.zeros((2, T, D))}, "target has shape"),
    ({"target": jnp.full((1, T, D), jnp.nan)}, "target holds 20 entries"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_BATCHES)
def test_batches_refuse_bad_arrays(fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        batch(**fields)


METHODS = {
    "oi": da.OptimalInterpolation,
    "3dvar": da.ThreeDVar,
    "strong": lambda **kwargs: da.StrongFourDVar(forward=Decay(), **kwargs),
}
not_positive = np.diag([1.0, 1.0, 1.0, -1.0]).astype(np.float32)
lopsided = np.eye(D, dtype=np.float32) + np.eye(D, k=1, dtype=np.float32)
BAD_INGREDIENTS = [
    ({"obs_op": jnp.eye(D)}, "obs_op is .*: .*pass"),
    ({"prior_mean": jnp.zeros((1, 1, D))}, r"prior_mean has shape \(1, 1, 4\): pass"),
    ({"prior_mean": jnp.full(D, jnp.nan)}, "prior_mean holds 4 entries"),
    ({"prior_cov_op": jnp.eye(D)}, "prior_cov_op is .*: pass a lineax operator"),
    ({"prior_cov_op": da.dense(jnp.eye(3))}, "prior_cov_op maps shape .*: pass a covariance"),
    (
        {"prior_cov_op": lx.MatrixLinearOperator(jnp.eye(D))},
        "prior_cov_op carries no positive semidefinite tag: pass",
    ),
    (
        {"prior_cov_op": matrix(not_positive)},
        "prior_cov_op is not positive definite .smallest eigenvalue -1.: pass",
    ),
    ({"prior_cov_op": da.scaled_identity(-1.0, D)}, "prior_cov_op is not positive definite"),
    ({"prior_cov_op": matrix(lopsided)}, "prior_cov_op is not symmetric"),
    ({"obs_cov_op": jnp.eye(D)}, "obs_cov_op is .*: pass a lineax operator"),
    ({"obs_cov_op": matrix(np.eye(D))}, "obs_cov_op is not diagonal: pass"),
    ({"obs_cov_op": da.scaled_identity(0.0, D)}, "obs_cov_op holds a variance of zero"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("changes", "message"), BAD_INGREDIENTS)
def test_methods_refuse_bad_ingredients(method, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        METHODS[method](**ingredients(**changes))


@pytest.mark.parametrize("method", METHODS)
def test_methods_refuse_bad_batches(method):
    built = METHODS[method](**ingredients())
    with pytest.raises(TypeError, match=r"batch is .*: pass a Batch1D"):
        built(jnp.zeros((1, T, D)))
    other = batch(input=jnp.zeros((1, T, N)), mask=jnp.ones((1, T, N)))
    with pytest.raises(ValueError, match=r"batch.input has shape .*: pass an array of shape"):
        built(other)


def test_oi_and_3dvar_refuse_a_background_of_another_length():
    for method in (da.OptimalInterpolation, da.ThreeDVar):
        built = method(**ingredients(prior_mean=jnp.zeros((T + 1, D))))
        with pytest.raises(ValueError, match="prior_mean has shape"):
            built(batch())


def test_oi_refuses_what_only_3dvar_can_do():
    with pytest.raises(TypeError, match="OI is linear, pass LinearObs"):
        da.OptimalInterpolation(**ingredients(obs_op=da.NonlinearObs(jnp.tanh)))
    oi = da.OptimalInterpolation(**ingredients())
    with pytest.raises(ValueError, match="mask has shape"):
        oi.analysis_covariance(jnp.ones((T, D)))


BAD_OPTIONS = [
    (da.OptimalInterpolation, {"max_obs": 0}, "max_obs=0: pass"),
    (da.ThreeDVar, {"max_steps": 0}, "max_steps=0: pass"),
    (da.ThreeDVar, {"rtol": -1.0}, "rtol=-1.0: pass"),
    (METHODS["strong"], {"max_steps": 0}, "max_steps=0: pass"),
    (METHODS["strong"], {"n_starts": 0}, "n_starts=0: pass"),
    (METHODS["strong"], {"rtol": 0.0}, "rtol=0.0: pass"),
    (METHODS["strong"], {"key": jnp.zeros(3)}, "key is .*: pass one JAX random key"),
]


@pytest.mark.parametrize(("method", "option", "message"), BAD_OPTIONS)
def test_methods_refuse_bad_options(method, option, message):
    with pytest.raises((ValueError, TypeError), match=message):
        method(**ingredients(), **option)


def other_errors():
    problem = Stub()
    state = jnp.zeros(D)
    return {
        "forecast_model": (
            lambda: da.free_forecast(object(), state, 3),
            "forward is object: pass a forward model",
        ),
        "forecast_steps": (lambda: da.free_forecast(Decay(), state, -1), "n_steps=-1: pass"),
        "strong_model": (
            lambda: da.StrongFourDVar(forward=object(), **ingredients()),
            "forward is object: pass a forward model",
        ),
        "climatology_model": (
            lambda: da.climatology(len, lambda forward, key: state),
            "forward is .*: pass a forward model",
        ),
        "climatology_count": (
            lambda: da.climatology(Decay(), lambda forward, key: state, n_runs=0),
            "n_runs=0: pass",
        ),
        "rmse": (lambda: da.rmse(jnp.zeros(3), jnp.zeros(4)), "estimate has shape"),
        "valid_time": (
            lambda: valid_time(jnp.zeros(5), 0, 0.1, 0.0),
            "threshold=0.0: pass",
        ),
        "linear_obs": (
            lambda: da.LinearObs(jnp.zeros(3)),
            r"H_mat has shape \(3,\): pass an array of shape",
        ),
        "nonlinear_obs": (lambda: da.NonlinearObs(3), "function is int: pass a function"),
        "low_rank": (
            lambda: da.LowRank.from_samples(jnp.zeros((1, 3))),
            "samples has 1 member: pass two or more",
        ),
        "mean_interval": (lambda: da.mean_interval([1.0]), "values has shape .*: pass two"),
        "glue": (lambda: da.glue("table", np.zeros(3)), "table has shape .*: glue one number"),
        "compare": (lambda: da.compare(), "results is empty: pass"),
        "compare_type": (lambda: da.compare(3), "results holds a int: pass"),
        "run_method": (lambda: da.run_method("a", 3, problem), "fn is int: pass a function"),
        "run_method_repeats": (
            lambda: da.run_method("a", lambda: problem.truth, problem, repeats=0),
            "repeats=0: pass",
        ),
        "run_method_shape": (
            lambda: da.run_method("a", lambda: jnp.zeros((2, D)), problem),
            "trajectory has shape",
        ),
        "sweep": (
            lambda: da.sweep("a", lambda p: p.truth, problem),
            "problems is not a batch of problems: pass",
        ),
        "assemble_shape": (
            lambda: da.assemble_full_trajectory(jnp.zeros(D + 1), problem, Decay()),
            "analysis has shape",
        ),
        "assemble_length": (
            lambda: da.assemble_full_trajectory(jnp.zeros((2, D)), problem, Decay()),
            "analysis has shape",
        ),
        "assemble_etas": (
            lambda: da.assemble_full_trajectory(
                jnp.zeros((3, D)), problem, Decay(), etas=jnp.zeros((2, D))
            ),
            "etas come with an initial state: pass",
        ),
        "assemble_etas_shape": (
            lambda: da.assemble_full_trajectory(state, problem, Decay(), etas=jnp.zeros((5, D))),
            "etas has shape",
        ),
        "assemble_model": (
            lambda: da.assemble_full_trajectory(state, problem, object()),
            "forward is object: pass",
        ),
    }


@pytest.mark.parametrize("name", other_errors())
def test_other_functions_refuse_bad_arguments(name):
    call, message = other_errors()[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_false_claim_stops_the_build():
    da.check("one is one", True)
    with pytest.raises(AssertionError, match="no longer holds: one is two"):
        da.check("one is two", jnp.asarray(False))


def test_overflow_of_a_free_run_is_reported():
    class Explode(Decay):
        def step(self, state, dt):
            return state**2 + 2

    with pytest.raises(FloatingPointError, match="free runs of Explode overflowed: pass"):
        da.climatology(Explode(), lambda forward, key: jnp.ones(2), n_spin_up=50)
