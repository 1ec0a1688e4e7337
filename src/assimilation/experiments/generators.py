"""The three test problems, each from one random key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.free_runs import Climatology, climatology
from assimilation.covariances.ring import Ring
from assimilation.experiments.twins import BACKGROUNDS, Twin, check_window, observe, twin_of
from assimilation.experiments.wrong_model import parameterise
from assimilation.models.integrate import Parameter, free_forecast, spun_up
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.observations.operators import identity

MODELS = ("two_level", "parameterised")


def start_l63(key: Array) -> Float[Array, "3"]:
    """A state to spin up from: as wide as the attractor, which takes long to spread over."""
    return jnp.array([0.0, 0.0, 25.0]) + 8.0 * jax.random.normal(key, (3,))


class RestOfRing(NamedTuple):
    """Slow sites at `level` and fast ones at zero, with a small perturbation of size `std`."""

    level: float
    ring: Ring
    std: float

    def __call__(self, key: Array) -> Float[Array, " D"]:
        """A state to spin up from."""
        slow = jnp.arange(self.ring.size) < self.ring.n_sites
        return self.level * slow + self.std * jax.random.normal(key, (self.ring.size,))


def climatology_l63(forward: Lorenz63Forward) -> Climatology:
    """The climatology of Lorenz-63, computed once for each set of parameters."""
    return climatology(forward, start_l63)


def climatology_l96(forward: Lorenz96Forward) -> Climatology:
    """The climatology of Lorenz-96, averaged over rotations of the ring."""
    return climatology(forward, start_on_ring(forward), Ring.of(forward))


def climatology_l96_2l(forward: Lorenz96TwoLevelForward) -> Climatology:
    """The climatology of the two-level system, averaged over rotations of the ring."""
    return climatology(forward, start_on_ring(forward), Ring.of(forward))


def start_on_ring(forward: Lorenz96Forward | Lorenz96TwoLevelForward) -> RestOfRing:
    """Where a model on a ring is spun up from: its forcing at all slow sites."""
    return RestOfRing(forward.F, Ring.of(forward), 0.1 if hasattr(forward, "J") else 1.0)


def generate_problem(
    *,
    key: Array,
    sigma: Parameter = 10.0,
    rho: Parameter = 28.0,
    beta: Parameter = 8.0 / 3.0,
    dt: float = 0.01,
    T_assim: int = 50,
    T_total: int = 1000,
    obs_every: int = 5,
    obs_std: Parameter = 0.5,
    background: str = "climatology",
    spin_up: int = 1000,
) -> Twin:
    """A Lorenz-63 problem: x, y and z observed every `obs_every` steps.

    `obs_std` has the units of the state; `spin_up` counts steps before the window.
    `background` is "climatology" (mean and covariance of a long run) or "isotropic"
    (zero and 25 I). Works under `jit` and under `vmap` over `key`.
    Raises TypeError for a key that is not one and ValueError for a bad setting.
    """
    check_window(key, T_assim, T_total, obs_every)
    require.positive(sigma=sigma, rho=rho, beta=beta, dt=dt, obs_std=obs_std)
    require.count(0, spin_up=spin_up)
    require.one_of(BACKGROUNDS, background=background)
    forward = Lorenz63Forward(sigma=sigma, rho=rho, beta=beta, dt=dt)
    k_start, k_noise = jax.random.split(key)
    truth = free_forecast(forward, spun_up(forward, start_l63(k_start), spin_up), T_total)
    observations = observe(k_noise, truth, identity(3), obs_std, T_assim, obs_every)
    return twin_of(truth, observations, forward, climatology_l63(forward), background)


def generate_l96_problem(
    *,
    key: Array,
    K: int = 40,
    F: Parameter = 8.0,
    dt: float = 0.01,
    T_assim: int = 50,
    T_total: int = 500,
    obs_every: int = 5,
    site_every: int = 2,
    obs_std: Parameter = 0.5,
    background: str = "climatology",
    spin_up: int = 2000,
) -> Twin:
    """A Lorenz-96 problem: every `site_every`-th site, every `obs_every` steps.

    Other arguments, errors and transformations as for `generate_problem`.
    """
    check_window(key, T_assim, T_total, obs_every)
    require.positive(dt=dt, F=F, obs_std=obs_std)
    require.count(0, spin_up=spin_up)
    require.one_of(BACKGROUNDS, background=background)
    forward = Lorenz96Forward(K=K, F=F, dt=dt)
    mask = _every(site_every, K, K)
    k_start, k_noise = jax.random.split(key)
    truth = free_forecast(
        forward, spun_up(forward, start_on_ring(forward)(k_start), spin_up), T_total
    )
    observations = observe(k_noise, truth, identity(K), obs_std, T_assim, obs_every, mask)
    return twin_of(truth, observations, forward, climatology_l96(forward), background)


def generate_l96_2l_problem(
    *,
    key: Array,
    K: int = 8,
    J: int = 8,
    F: Parameter = 20.0,
    h: Parameter = 1.0,
    c: Parameter = 10.0,
    b: Parameter = 10.0,
    dt: float = 0.005,
    T_assim: int = 80,
    T_total: int = 200,
    obs_every: int = 10,
    site_every: int = 2,
    obs_std: Parameter = 0.5,
    background: str = "climatology",
    spin_up: int = 2000,
    model: str = "two_level",
) -> Twin:
    """A two-level Lorenz-96 problem: some slow sites observed, the fast ones never.

    Every `site_every`-th slow site is observed every `obs_every` steps. `model` is
    "two_level" (the model that made the truth) or "parameterised": the assimilating
    model and the state are then the slow ring alone, with a polynomial in X_k for the
    effect of the fast one, and `problem.Q_op_state` is the covariance of its error.
    Other arguments, errors and transformations as for `generate_problem`.
    """
    check_window(key, T_assim, T_total, obs_every)
    require.positive(dt=dt, F=F, c=c, b=b, obs_std=obs_std)
    require.count(0, spin_up=spin_up)
    require.one_of(BACKGROUNDS, background=background)
    require.one_of(MODELS, model=model)
    forward = Lorenz96TwoLevelForward(K=K, J=J, F=F, h=h, c=c, b=b, dt=dt)
    size = K if model == "parameterised" else forward.D
    mask = _every(site_every, K, size)
    statistics, Q = climatology_l96_2l(forward), None
    k_start, k_noise = jax.random.split(key)
    truth = free_forecast(
        forward, spun_up(forward, start_on_ring(forward)(k_start), spin_up), T_total
    )
    if model == "parameterised":
        fitted = parameterise(forward, statistics, n_steps=obs_every)
        truth, forward = truth[:, :K], fitted.forward
        statistics, Q = fitted.slow, fitted.error_covariance
    observations = observe(k_noise, truth, identity(size), obs_std, T_assim, obs_every, mask)
    return twin_of(truth, observations, forward, statistics, background, Q)


def _every(site_every: int, n_sites: int, size: int) -> Float[np.ndarray, " D"]:
    """A mask (D,) of every `site_every`-th of the first `n_sites` entries."""
    require.count(site_every=site_every)
    if site_every >= n_sites:
        raise ValueError(
            f"site_every={site_every} leaves one of {n_sites} sites observed: pass "
            f"{n_sites - 1} or less."
        )
    entry = np.arange(size)
    return ((entry < n_sites) & (entry % site_every == 0)).astype(float)
