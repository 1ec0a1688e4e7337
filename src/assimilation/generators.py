"""The three test problems, each from one random key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from assimilation import checks
from assimilation.climatology import Climatology, Ring, climatology, spun_up
from assimilation.models.integrate import free_forecast
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.parameterisation import parameterise
from assimilation.problems import Problem, check_settings, observed_problem

MODELS = ("two_level", "parameterised")


def _start_l63(forward, key):
    # As wide as the attractor: states near one point need very long to spread over it.
    return jnp.array([0.0, 0.0, 25.0]) + 8.0 * jax.random.normal(key, (3,))


def _start_l96(forward, key):
    return forward.F + jax.random.normal(key, (forward.K,))


def _start_l96_2l(forward, key):
    rest = jnp.repeat(
        jnp.array([forward.F, 0.0]),
        jnp.array([forward.K, forward.K * forward.J]),
        total_repeat_length=forward.D,
    )
    return rest + 0.1 * jax.random.normal(key, (forward.D,))


def climatology_l63(forward: Lorenz63Forward) -> Climatology:
    """The climatology of Lorenz-63, computed once for each set of parameters."""
    return climatology(forward, _start_l63)


def climatology_l96(forward: Lorenz96Forward) -> Climatology:
    """The climatology of Lorenz-96, averaged over rotations of the ring."""
    return climatology(forward, _start_l96, Ring(forward.K, (1,)))


def climatology_l96_2l(forward: Lorenz96TwoLevelForward) -> Climatology:
    """The climatology of the two-level system, averaged over rotations of the ring."""
    return climatology(forward, _start_l96_2l, Ring(forward.K, (1, forward.J)))


def generate_problem(
    *,
    key: Array,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8.0 / 3.0,
    dt: float = 0.01,
    T_assim: int = 50,
    T_total: int = 1000,
    obs_every: int = 5,
    obs_std: float = 0.5,
    background: str = "climatology",
    spin_up: int = 1000,
) -> Problem:
    """A Lorenz-63 problem: x, y and z observed every `obs_every` steps.

    `obs_std` has the units of the state; `spin_up` counts steps before the window.
    `background` is "climatology" (mean and covariance of a long run) or "isotropic"
    (zero and 25 I). Works under `jit` and under `vmap` over `key`.
    Raises TypeError for a key that is not one and ValueError for a bad setting.
    """
    check_settings(key, background, T_assim, T_total, obs_every, 1, obs_std)
    checks.positive(sigma=sigma, rho=rho, beta=beta, dt=dt)
    checks.count(0, spin_up=spin_up)
    forward = Lorenz63Forward(sigma=sigma, rho=rho, beta=beta, dt=dt)
    k_start, k_noise = jax.random.split(key)
    return observed_problem(
        k_noise,
        free_forecast(forward, spun_up(forward, _start_l63(forward, k_start), spin_up), T_total),
        forward,
        climatology_l63(forward),
        background,
        T_assim,
        obs_every,
        slice(None),
        obs_std,
    )


def generate_l96_problem(
    *,
    key: Array,
    K: int = 40,
    F: float = 8.0,
    dt: float = 0.01,
    T_assim: int = 50,
    T_total: int = 500,
    obs_every: int = 5,
    site_every: int = 2,
    obs_std: float = 0.5,
    background: str = "climatology",
    spin_up: int = 2000,
) -> Problem:
    """A Lorenz-96 problem: every `site_every`-th site, every `obs_every` steps.

    Other arguments, errors and transformations as for `generate_problem`.
    """
    check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std)
    checks.positive(dt=dt, F=F)
    checks.count(0, spin_up=spin_up)
    forward = Lorenz96Forward(K=K, F=F, dt=dt)
    k_start, k_noise = jax.random.split(key)
    return observed_problem(
        k_noise,
        free_forecast(forward, spun_up(forward, _start_l96(forward, k_start), spin_up), T_total),
        forward,
        climatology_l96(forward),
        background,
        T_assim,
        obs_every,
        slice(None, None, site_every),
        obs_std,
    )


def generate_l96_2l_problem(
    *,
    key: Array,
    K: int = 8,
    J: int = 8,
    F: float = 20.0,
    h: float = 1.0,
    c: float = 10.0,
    b: float = 10.0,
    dt: float = 0.005,
    T_assim: int = 80,
    T_total: int = 200,
    obs_every: int = 10,
    site_every: int = 2,
    obs_std: float = 0.5,
    background: str = "climatology",
    spin_up: int = 2000,
    model: str = "two_level",
) -> Problem:
    """A two-level Lorenz-96 problem: some slow sites observed, the fast ones never.

    Every `site_every`-th slow site is observed every `obs_every` steps. `model` is
    "two_level" (the model that made the truth) or "parameterised": the assimilating
    model and the state are then the slow ring alone, with a polynomial in X_k for the
    effect of the fast one, and `problem.Q_op_state` is the covariance of its error.
    Other arguments, errors and transformations as for `generate_problem`.
    """
    check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std)
    checks.positive(dt=dt, F=F, c=c, b=b)
    checks.count(0, spin_up=spin_up)
    checks.one_of(MODELS, model=model)
    truth_model = Lorenz96TwoLevelForward(K=K, J=J, F=F, h=h, c=c, b=b, dt=dt)
    k_start, k_noise = jax.random.split(key)
    start = spun_up(truth_model, _start_l96_2l(truth_model, k_start), spin_up)
    truth = free_forecast(truth_model, start, T_total)
    if model == "two_level":
        forward, statistics, Q = truth_model, climatology_l96_2l(truth_model), None
    else:
        fitted = parameterise(truth_model, climatology_l96_2l, n_steps=obs_every)
        truth, forward = truth[:, :K], fitted.forward
        statistics, Q = fitted.slow, fitted.error_covariance
    return observed_problem(
        k_noise,
        truth,
        forward,
        statistics,
        background,
        T_assim,
        obs_every,
        slice(0, K, site_every),
        obs_std,
        Q,
    )
