"""Wrong calls: each raises an error that names the argument and what to pass, at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import assimilation as da
from assimilation import require
from assimilation.covariances.free_runs import Climatology

D, N, T = 4, 3, 5
KEY = jax.random.key(0)
NAN = float("nan")

pytestmark = pytest.mark.usefixtures("untyped", "at_once")


@pytest.fixture
def at_once(monkeypatch):
    """No long computation is begun before the error is found."""

    def too_early(*args):
        pytest.fail("computes before it checks")

    for name in ("experiments.generators.spun_up", "experiments.twins.spun_up"):
        monkeypatch.setattr(f"assimilation.{name}", too_early)
    monkeypatch.setattr("assimilation.covariances.free_runs._free_runs", too_early)


class Decay(eqx.Module):
    dt: float = eqx.field(default=0.1, static=True)

    def step(self, state, dt):
        return (1 - dt) * state


def fails(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def matrix(values):
    return lx.MatrixLinearOperator(jnp.asarray(values, float), lx.positive_semidefinite_tag)


EYE = da.dense(jnp.eye(D))
NOT_PD = matrix(np.diag([1.0, 1.0, 1.0, -1.0]))
LOPSIDED = matrix(np.eye(D) + np.eye(D, k=1))


def observations(**changes):
    parts = {"times": (0, 3), "values": jnp.ones((2, N)), "operator": da.LinearObs(jnp.eye(N, D))}
    return da.Observations(**{**parts, "error": 0.5, "T_assim": T - 1, **changes})


def background(**changes):
    return da.Background(**{"mean": jnp.zeros(D), "covariance": EYE, **changes})


def problem(**changes):
    parts = {"forward": Decay(), "background": background(), "observations": observations()}
    return da.Problem(**{**parts, **changes})


def twin(**changes):
    """A twin of T steps, with a forecast of as many."""
    parts = {"start": lambda key: jnp.ones(D), "operator": da.LinearObs(jnp.eye(D))}
    parts |= {"error": 0.5, "T_assim": T - 1, "T_total": 2 * T, "spin_up": 0, "forward": Decay()}
    statistics = Climatology(np.zeros(D), np.eye(D), np.zeros((2, D)))
    return da.twin(**{**parts, "key": KEY, "statistics": statistics, **changes})


MODELS = [
    (da.Lorenz63Forward, {"dt": -0.01}, "dt=-0.01: pass a finite number above zero"),
    (da.Lorenz63Forward, {"rho": "28"}, "rho='28': pass finite numbers"),
    (da.Lorenz96Forward, {"F": NAN}, "F=nan: pass finite numbers"),
    (da.Lorenz96Forward, {"K": 2}, "K=2: pass a whole number, 4 or larger"),
    (da.Lorenz96TwoLevelForward, {"K": 8.0}, "K=8.0: pass a whole number"),
    (da.Lorenz96TwoLevelForward, {"J": 0}, "J=0: pass a whole number, 1 or larger"),
    (da.ParameterisedLorenz96Forward, {"coefficients": 0.5}, "coefficients=0.5: pass a tuple"),
    (da.ParameterisedLorenz96Forward, {"coefficients": ()}, r"coefficients=\(\): pass a tuple"),
]


@pytest.mark.parametrize(("model", "settings", "message"), MODELS)
def test_models_refuse_bad_parameters(model, settings, message):
    fails(lambda: model(**settings), message)


@pytest.mark.parametrize(
    "model", dict.fromkeys(each for each, _, _ in MODELS), ids=lambda m: m.__name__
)
def test_models_refuse_states_of_another_length(model):
    fails(lambda: model().step(jnp.ones(model().D + 1), 0.01), r"state has shape \(\d+,\): pass")


OBSERVATIONS = [
    ({"times": (3, 0)}, r"times=\(3, 0\): pass .* in increasing order"),
    ({"times": (3, 3)}, r"times=\(3, 3\): pass .* in increasing order"),
    ({"times": (-1, 3)}, "times=.*: pass .* from 0 to T_assim=4"),
    ({"times": (0, T)}, "times=.*: pass .* from 0 to T_assim=4"),
    ({"times": (0, 0.5)}, "times=.*: pass a sequence of whole numbers"),
    ({"times": 3}, "times=3: pass a sequence of whole numbers"),
    ({"times": (), "values": jnp.ones((0, N))}, "times=.*: pass at least one step"),
    ({"T_assim": -1}, "T_assim=-1: pass a whole number"),
    ({"start": "now"}, "start='now': pass a whole number"),
    ({"values": jnp.ones(N)}, r"values has shape \(3,\): pass an array of shape \(2, N\)"),
    ({"values": jnp.full((2, N), NAN)}, "values holds 6 entries that are NaN"),
    ({"values": "warm"}, "values is str: pass an array of numbers"),
    ({"mask": jnp.ones((N, 2))}, r"mask has shape \(3, 2\): pass an array of shape \(2, 3\)"),
    ({"mask": jnp.full((2, N), 0.5)}, "mask holds values other than 0 and 1"),
    ({"mask": jnp.zeros((2, N))}, "mask is empty: pass at least one"),
    ({"operator": jnp.eye(N, D)}, "operator is .*: pass LinearObs"),
    ({"operator": lambda state: state}, "operator takes no state and time: pass LinearObs"),
    ({"error": -0.5}, "error=-0.5: pass a finite number above zero"),
    ({"error": 0}, "error=0: pass"),
    ({"error": None}, "error=None: pass"),
    ({"error": jnp.zeros((2, N))}, "error has a variance of 0: pass error variances above zero"),
    ({"error": jnp.full((2, N), NAN)}, "error holds 6 entries"),
    ({"error": jnp.ones(N)}, r"error has shape \(3,\): pass a standard deviation, a covariance"),
    ({"error": jnp.ones((N, N))}, r"error has shape \(3, 3\): pass an array of shape \(2, 3\)"),
    ({"error": -jnp.tile(jnp.eye(N), (2, 1, 1))}, "error has a variance of -1: pass"),
    ({"error": jnp.tile(jnp.eye(N) + jnp.eye(N, k=1), (2, 1, 1))}, "error is not symmetric"),
    ({"error": EYE}, r"error acts on shape \(4,\): pass a covariance on \(3,\) or on \(2, 3\)"),
    ({"error": da.EachTime(da.dense(jnp.eye(N)), T)}, r"error acts on shape \(5, 3\): pass"),
    ({"error": da.LowRank(jnp.ones((4, 2, N)))}, "error links several times: pass"),
    ({"error": lx.MatrixLinearOperator(jnp.ones((N, N)))}, "error carries no positive"),
]


@pytest.mark.parametrize(("changes", "message"), OBSERVATIONS)
def test_observations_refuse_bad_parts(changes, message):
    fails(lambda: observations(**changes), message)


PROBLEMS = [
    ({"forward": "l63"}, "forward is str: pass a forward model"),
    ({"background": None}, "background is NoneType: pass Background"),
    ({"observations": None}, "observations is NoneType: pass Observations"),
    ({"observations": jnp.ones((2, N))}, "observations is .*: pass Observations"),
    ({"Q_op_state": jnp.eye(D)}, "Q_op_state is .*: pass a lineax operator"),
    ({"Q_op_state": matrix(np.eye(N))}, "Q_op_state maps shape .*: pass a covariance"),
    ({"Q_op_state": NOT_PD}, "Q_op_state is not positive definite"),
]


@pytest.mark.parametrize(("changes", "message"), PROBLEMS)
def test_problems_refuse_bad_parts(changes, message):
    fails(lambda: problem(**changes), message)


OPERATORS = [
    (da.LinearObs(jnp.eye(N, D + 1)), r"H_mat acts on states \(5,\), and the state has shape \(4,"),
    (da.LinearObs(lambda time: jnp.eye(N, D + 1)), r"H_mat\(time\) gives has shape \(3, 5\): pass"),
    (
        da.NonlinearObs(lambda x: x),
        r"operator gives \(4,\) from a state \(4,\), and values .*: pass",
    ),
    (da.NonlinearObs(lambda x: (x, x)), "operator gives tuple from a state .*: pass"),
]


@pytest.mark.parametrize(("operator", "message"), OPERATORS)
def test_operators_must_fit_states_and_values(operator, message):
    seen = observations(operator=operator)
    fails(lambda: problem(observations=seen), message)
    fails(lambda: da.ThreeDVar(jnp.zeros(D), EYE).solve(seen), message)


GENERATORS = (da.generate_problem, da.generate_l96_problem, da.generate_l96_2l_problem)
SETTINGS = [
    ({"T_assim": 60, "T_total": 50}, "T_assim=60 is larger than T_total=50: pass"),
    ({"T_assim": 0}, "T_assim=0: pass a whole number"),
    ({"obs_every": 0}, "obs_every=0: pass a whole number"),
    ({"obs_every": 2.5}, "obs_every=2.5: pass a whole number"),
    ({"obs_every": 100}, "obs_every=100 leaves one observed time .*: pass .* or less"),
    ({"obs_std": 0.0}, "obs_std=0.0: pass a finite number above zero"),
    ({"obs_std": float("inf")}, "obs_std=inf: pass"),
    ({"dt": -0.01}, "dt=-0.01: pass"),
    ({"spin_up": -1}, "spin_up=-1: pass"),
    ({"background": "flat"}, "background='flat': pass one of 'climatology', 'isotropic'"),
    ({"key": 0}, "key is 0: pass one JAX random key"),
    ({"key": jnp.zeros(3)}, "key is an array .*: pass one JAX random key"),
    ({"key": jax.random.split(KEY, 2)}, "key is an array .*: pass one JAX random key"),
]


@pytest.mark.parametrize("generate", GENERATORS, ids=lambda g: g.__name__)
@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_generators_refuse_bad_settings(generate, settings, message):
    fails(lambda: generate(**{"key": KEY, **settings}), message)


SITES = [
    (da.generate_l96_problem, {"site_every": 0}, "site_every=0"),
    (da.generate_l96_problem, {"K": 8, "site_every": 9}, "site_every=9 leaves one of 8 .*: pass 7"),
    (da.generate_l96_2l_problem, {"site_every": 8}, "site_every=8 leaves one of 8 sites"),
    (da.generate_l96_2l_problem, {"site_every": 9}, "site_every=9 leaves one of 8 sites"),
    (da.generate_l96_2l_problem, {"b": 0.0}, "b=0.0: pass"),
    (da.generate_l96_2l_problem, {"h": NAN}, "h=nan: pass"),
    (da.generate_l96_2l_problem, {"model": "one"}, "model='one': pass one of 'two_level'"),
]


@pytest.mark.parametrize(("generate", "settings", "message"), SITES)
def test_ring_generators_refuse_bad_rings(generate, settings, message):
    fails(lambda: generate(key=KEY, **settings), message)


def test_a_raw_key_is_a_key():
    require.key(key=jax.random.PRNGKey(0))


TWINS = [
    ({"forward": 3}, "forward is int: pass a forward model"),
    ({"key": 3}, "key is 3: pass one JAX random key"),
    ({"start": jnp.ones(D)}, "start is .*: pass a function from a random key"),
    ({"start": lambda key: jnp.ones((2, D))}, r"start\(key\) gives has shape \(2, 4\): pass"),
    ({"operator": jnp.eye(D)}, "operator is .*: pass LinearObs"),
    ({"operator": lambda state: state}, "operator takes no state and time"),
    ({"operator": lambda state, time: state[0]}, r"gives has shape \(\): pass an array of .*\(N,"),
    ({"operator": da.LinearObs(jnp.eye(3))}, r"H_mat acts on states \(3,\)"),
    ({"error": -1.0}, "error=-1.0: pass"),
    ({"error": matrix(np.eye(3))}, r"error acts on shape \(3,\): pass"),
    ({"error": NOT_PD}, "error has a variance of -1: pass"),
    ({"obs_every": T}, "obs_every=5 leaves one observed time in a window of 4 steps"),
    ({"T_total": 3}, "T_assim=4 is larger than T_total=3"),
    ({"statistics": 3}, "statistics is int: pass climatology"),
]


@pytest.mark.parametrize(("changes", "message"), TWINS)
def test_twins_refuse_bad_settings(changes, message):
    fails(lambda: twin(**changes), message)


def test_twins_refuse_statistics_of_another_model():
    other = Climatology(np.zeros(3), np.eye(3), np.zeros((2, 3)))
    fails(lambda: twin(statistics=other), r"statistics.mean has shape \(3,\): pass .*\(4,\)")
