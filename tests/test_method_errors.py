"""Wrong calls of methods, runs and scores: each names the argument and what to pass."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from test_errors import EYE, KEY, LOPSIDED, NAN, NOT_PD, D, Decay, T, fails, observations, twin

import assimilation as da

pytestmark = pytest.mark.usefixtures("untyped")


def on_batches(**changes):
    parts = {"prior_mean": jnp.zeros(D), "prior_cov_op": EYE, "obs_op": da.LinearObs(jnp.eye(D))}
    return parts | {"obs_cov_op": da.scaled_identity(0.25, D)} | changes


METHODS = {
    "oi": da.OptimalInterpolation,
    "3dvar": da.ThreeDVar,
    "strong": lambda **parts: da.StrongFourDVar(Decay(), **parts),
    "incremental": lambda **parts: da.IncrementalFourDVar(Decay(), **parts),
    "weak": lambda **parts: da.WeakFourDVar(Decay(), model_err_cov_op=EYE, **parts),
}
PARTS = [
    ({"obs_op": jnp.eye(D)}, "obs_op is .*: .*pass"),
    ({"prior_mean": jnp.zeros((1, 1, D))}, r"prior_mean has shape \(1, 1, 4\): pass"),
    ({"prior_mean": [0.0] * D}, "prior_mean is list: pass an array"),
    ({"prior_mean": jnp.full(D, NAN)}, "prior_mean holds 4 entries"),
    ({"prior_cov_op": jnp.eye(D)}, "prior_cov_op is .*: pass a lineax operator"),
    ({"prior_cov_op": da.dense(jnp.eye(3))}, "prior_cov_op maps shape .*: pass a covariance"),
    ({"prior_cov_op": lx.MatrixLinearOperator(jnp.eye(D))}, "prior_cov_op carries no positive"),
    ({"prior_cov_op": NOT_PD}, "prior_cov_op is not positive definite .smallest eigenvalue -1.:"),
    ({"prior_cov_op": da.scaled_identity(-1.0, D)}, "prior_cov_op is not positive definite"),
    ({"prior_cov_op": LOPSIDED}, "prior_cov_op is not symmetric"),
    ({"obs_cov_op": jnp.eye(D)}, "obs_cov_op is .*: pass a lineax operator"),
    ({"obs_cov_op": da.scaled_identity(0.0, D)}, "obs_cov_op is not positive definite"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("changes", "message"), PARTS)
def test_methods_refuse_bad_parts(method, changes, message):
    fails(lambda: METHODS[method](**on_batches(**changes)), message)


BATCHES = [
    ({"input": jnp.zeros((T, D))}, r"input has shape \(5, 4\): pass .* \(B, T, N\)"),
    ({"mask": jnp.ones((1, T, 2))}, r"mask has shape .*: pass an array of shape \(1, 5, 4\)"),
    ({"input": jnp.full((1, T, D), NAN)}, "input holds 20 entries that are NaN"),
    ({"mask": jnp.zeros((1, T, D))}, "mask is empty in 1 of 1 windows: pass at least one"),
    ({"mask": jnp.full((1, T, D), 0.5)}, "mask holds values other than 0 and 1"),
    ({"target": jnp.zeros((2, T, D))}, "target has shape"),
    ({"target": jnp.full((1, T, D), NAN)}, "target holds 20 entries"),
]


@pytest.mark.parametrize(("changes", "message"), BATCHES)
def test_batches_refuse_bad_arrays(changes, message):
    fields = {"input": jnp.zeros((1, T, D)), "mask": jnp.ones((1, T, D))} | changes
    fails(lambda: da.Batch1D(**fields), message)


OPTIONS = [
    ("3dvar", {"max_steps": 0}, "max_steps=0: pass"),
    ("3dvar", {"rtol": -1.0}, "rtol=-1.0: pass"),
    ("strong", {"max_steps": 0}, "max_steps=0: pass"),
    ("strong", {"n_starts": 0}, "n_starts=0: pass"),
    ("strong", {"rtol": 0.0}, "rtol=0.0: pass"),
    ("strong", {"key": jnp.zeros(3)}, "key is .*: pass one JAX random key"),
    ("incremental", {"n_inner": 0}, "n_inner=0: pass"),
    ("incremental", {"inner_rtol": NAN}, "inner_rtol=nan: pass"),
    ("weak", {"max_steps": 2.5}, "max_steps=2.5: pass"),
]


@pytest.mark.parametrize(("method", "option", "message"), OPTIONS)
def test_methods_refuse_bad_options(method, option, message):
    fails(lambda: METHODS[method](**on_batches(), **option), message)


@pytest.mark.parametrize("method", METHODS)
def test_methods_refuse_what_they_cannot_analyse(method):
    built = METHODS[method](**on_batches())
    fails(lambda: built(jnp.zeros((1, T, D))), "batch is .*: pass a Batch1D")
    other = da.Batch1D(jnp.zeros((1, T, 3)), jnp.ones((1, T, 3)))
    fails(lambda: built(other), r"error acts on shape \(4,\): pass a covariance on \(3,\)")
    fails(lambda: built.solve(da.assim_batch(twin())), "observations is Batch1D: pass Observations")
    parts = on_batches(obs_op=None, obs_cov_op=None)
    fails(lambda: METHODS[method](**parts)(da.assim_batch(twin())), "obs_op is None: pass obs_op=")
    fails(lambda: da.ThreeDVar.of(3), "problem is int: pass a Problem")


def test_methods_refuse_what_does_not_fit_a_window():
    trajectory = jnp.zeros((T + 1, D))
    for method in (da.OptimalInterpolation, da.ThreeDVar):
        fails(
            lambda method=method: method(trajectory, EYE).solve(observations()),
            r"prior_mean has shape \(6, 4\): pass an array of shape \(5, D\)",
        )
    strong = da.StrongFourDVar.of(twin())
    guess = jnp.zeros(D + 1)
    fails(lambda: strong.solve(observations(), guess), r"initial state .* has shape \(5,\): pass")
    schedule = da.EachTime(EYE, 3)
    weak = da.WeakFourDVar.of(twin(), model_err_cov_op=schedule)
    fails(lambda: weak.solve(observations()), r"model_err_cov_op acts on shape \(3, 4\)")
    fails(lambda: da.WeakFourDVar.of(twin()), "model_err_cov_op is NoneType: pass a lineax")


def test_oi_refuses_what_only_3dvar_can_do():
    curved = da.NonlinearObs(jnp.tanh)
    fails(lambda: METHODS["oi"](**on_batches(obs_op=curved)), "obs_op is .*: pass LinearObs")
    both = da.Observations.combined(
        observations(), observations(values=jnp.ones((2, D)), operator=curved)
    )
    oi = da.OptimalInterpolation(jnp.zeros(D), EYE)
    fails(lambda: oi.solve(both), "operator is Together: pass LinearObs")
    fails(lambda: oi.analysis_covariance(observations()), "observations stand at 2 times: pass")


def test_instruments_must_share_a_window():
    a, b = observations(), observations(T_assim=T)
    fails(lambda: da.Observations.combined(), "instruments have T_assim=.*: pass")
    fails(lambda: da.Observations.combined(a, b), r"instruments have T_assim=\[4, 5\]: pass")
    fails(lambda: da.Observations.combined(a, observations(start=3)), r"start=\[0, 3\]: pass")
    fails(lambda: da.Observations.combined(a, 3), "instruments is int: pass Observations")


def other_errors():
    one, state = twin(), jnp.zeros(D)
    many = jax.vmap(lambda key: twin(key=key))(jax.random.split(KEY, 2))
    analysis = da.Analysis(state)
    truthless = da.Problem(one.forward, one.background, one.observations)
    samples = jnp.zeros((4, 3))
    decay, assemble = Decay(), da.assemble_full_trajectory
    strong = da.StrongFourDVar.of(one)
    return [
        (lambda: da.free_forecast(object(), state, 3), "forward is object: pass a forward model"),
        (lambda: da.free_forecast(decay, state, -1), "n_steps=-1: pass"),
        (lambda: da.free_forecast(decay, "warm", 1), "x0 is str: pass an array of numbers"),
        (lambda: da.forced_trajectory(decay, state, state), r"etas has shape \(4,\): pass"),
        (lambda: da.spun_up(decay, state, -1), "n_steps=-1: pass"),
        (lambda: da.spun_up(3, state, 1), "forward is int: pass"),
        (lambda: da.climatology(len, lambda key: state), "forward is .*: pass a forward model"),
        (lambda: da.climatology(decay, state), "start is .*: pass a function"),
        (lambda: da.climatology(decay, lambda key: state, n_runs=0), "n_runs=0: pass"),
        (lambda: da.climatology(decay, lambda key: state, ring=4), "ring is int: pass Ring"),
        (lambda: da.Ring(0, (1,)), "n_sites=0: pass"),
        (lambda: da.Ring(4, 1), "per_site=1: pass a tuple"),
        (lambda: da.Background(state, jnp.eye(D)), "covariance is .*: pass a lineax operator"),
        (lambda: da.Background(state, da.dense(jnp.eye(3))), r"covariance maps shape \(3,\)"),
        (lambda: da.Background(state, NOT_PD), "covariance is not positive definite"),
        (lambda: da.Background(state.at[0].set(NAN), EYE), "mean holds 1 entries"),
        (lambda: da.Background("warm", EYE), "mean is str: pass an array of numbers"),
        (lambda: da.dense(jnp.ones((3, 2))), r"matrix has shape \(3, 2\): pass a covariance"),
        (lambda: da.scaled(jnp.eye(3), 2.0), "covariance is .*: pass a lineax operator"),
        (lambda: da.scaled(EYE, -1.0), "factor=-1.0: pass"),
        (lambda: da.scaled_identity(1.0, 0), "size=0: pass"),
        (lambda: da.square_root(jnp.eye(3)), "covariance is .*: pass a lineax operator"),
        (lambda: da.EachTime(jnp.eye(3), 2), "state_op is .*: pass a lineax operator"),
        (lambda: da.EachTime(EYE, 0), "n_time=0: pass"),
        (lambda: da.LowRank(jnp.ones(3)), r"factor has shape \(3,\): pass"),
        (lambda: da.LowRank.from_samples(jnp.zeros((1, 3))), "samples has 1 member: pass two"),
        (lambda: da.LowRank.from_samples(jnp.zeros(3)), r"samples has shape \(3,\): pass"),
        (lambda: da.LinearObs(jnp.zeros(3)), r"H_mat has shape \(3,\): pass .* \(N, D\)"),
        (lambda: da.LinearObs(jnp.full((2, 2), NAN)), "H_mat holds 4 entries"),
        (lambda: da.NonlinearObs(3), "function is int: pass a function"),
        (lambda: da.assim_batch(3), "problem is int: pass a Problem"),
        (lambda: da.rmse(jnp.zeros(3), jnp.zeros(4)), "estimate has shape"),
        (lambda: da.valid_time(jnp.zeros(5), 0, 0.1, 0.0), "threshold=0.0: pass"),
        (lambda: da.valid_time(jnp.zeros(5), 9, 0.1, 1.0), "start=9: pass"),
        (lambda: da.mean_interval([1.0]), "values has shape .*: pass two"),
        (lambda: da.crps(samples, jnp.zeros(5)), "samples has shape .*: pass"),
        (lambda: da.spread_error_ratio(samples[:1], samples[0]), "samples has 1 members: pass 2"),
        (lambda: da.coverage(state, state - 1, state), "std holds values below zero: pass"),
        (lambda: da.rank_histogram(jnp.zeros(4, int), 4, 3), "n_bins=3 does not divide"),
        (lambda: da.rank_histogram(jnp.array([7]), 4, 5), "ranks must lie in"),
        (lambda: da.rank_histogram(jnp.zeros(4, int), 4, 5, level=2.0), "level=2.0: pass"),
        (lambda: da.glue("table", np.zeros(3)), "table has shape .*: glue one number"),
        (lambda: da.compare(), "results is empty: pass"),
        (lambda: da.compare(3), "results holds a int: pass"),
        (lambda: da.Analysis.of(state), r"states has shape \(4,\): pass .* \(T, D\)"),
        (lambda: analysis.trajectory(decay, -1), "n_steps=-1: pass"),
        (lambda: analysis.ensemble(decay, 1), "no members: pass one of an ensemble"),
        (lambda: da.run_method("a", 3, one), "fn is int: pass a function without arguments"),
        (lambda: da.run_method("a", lambda: "text", one), "fn returned is str: pass back an Ana"),
        (lambda: da.run_method("a", lambda: one.truth, one), "fn returned is .*: pass back an Ana"),
        (lambda: da.run_method("a", lambda: analysis, one, repeats=0), "repeats=0: pass"),
        (
            lambda: da.run_method("a", lambda: analysis, truthless),
            "problem is Problem: pass a Twin",
        ),
        (lambda: da.run_method("a", lambda: analysis, many), "problem.truth has shape .*: pass"),
        (lambda: da.sweep("a", 3, many), "fn is int: pass a function of a problem"),
        (
            lambda: da.sweep("a", lambda p: "text", many),
            "fn returned is str: pass back an Analysis",
        ),
        (
            lambda: da.sweep("a", lambda p: p.truth, many),
            "fn returned is .*: pass back an Analysis",
        ),
        (lambda: da.sweep("a", lambda p: analysis, one), "twins is not a batch of problems: pass"),
        (lambda: assemble(jnp.zeros(D + 1), one, decay), "analysis has shape"),
        (lambda: assemble(jnp.zeros((2, D)), one, decay), "analysis has shape"),
        (lambda: assemble(analysis, one, decay), "analysis is an Analysis: use"),
        (
            lambda: assemble(one.truth[:T], one, decay, etas=state),
            "etas come with an initial state",
        ),
        (lambda: assemble(state, one, decay, etas=jnp.zeros((9, D))), "etas has shape"),
        (lambda: assemble(state, one, object()), "forward is object: pass"),
        (lambda: assemble(state, truthless, decay), "problem is Problem: pass a Twin"),
        (lambda: da.cycle(3, one), "method is int: pass a method"),
        (lambda: da.cycle(strong, 3), "problem is int: pass a Problem"),
        (lambda: da.cycle(strong, one, 3), "n_steps=3 does not divide the 5 times"),
        (lambda: da.cycle(strong, one, key=3), "key is 3: pass one JAX random key"),
        (lambda: da.EnsembleOfFourDVars(da.ThreeDVar.of(one)), "method is ThreeDVar: pass"),
        (lambda: da.laplace_covariance(3, one.observations, state), "method is int: pass a Strong"),
        (lambda: da.EnsembleOfFourDVars(strong, n_members=1), "n_members=1: pass"),
    ]


def test_other_functions_refuse_bad_arguments():
    for call, message in other_errors():
        fails(call, message)


def test_a_false_claim_stops_the_build():
    da.check("one is one", True)
    with pytest.raises(AssertionError, match="one is two"):
        da.check("one is two", jnp.asarray(False))


def test_overflow_of_a_free_run_is_reported():
    class Explode(Decay):
        def step(self, state, dt):
            return state**2 + 2

    with pytest.raises(FloatingPointError, match="free runs of Explode overflowed: pass"):
        da.climatology(Explode(), lambda key: jnp.ones(2), n_runs=2, n_spin_up=50, n_samples=2)
