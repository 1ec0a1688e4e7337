"""The test problems: a hidden truth, sparse noisy observations and a background."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.climatology import (
    Climatology,
    Ring,
    background_state,
    climatology,
    spun_up,
)
from assimilation.covariances import EachTime, dense, scaled_identity
from assimilation.models.integrate import free_forecast
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.observations import Batch1D, LinearObs

BACKGROUNDS = ("climatology", "isotropic")


class Problem(eqx.Module):
    """One assimilation problem: what happened, what was seen, what was expected.

    Times run from 0 to T_assim in the window and on to T_total in the forecast. The
    truth is for scoring; methods are given the rest. The parameters of the system
    (K, F, ...) are read from `forward`, so `problem.F` is `problem.forward.F`.
    """

    truth: Float[Array, "T_total_plus_1 D"]
    obs: Float[Array, "T_assim_plus_1 D"]
    mask: Float[Array, "T_assim_plus_1 D"]
    prior_mean_state: Float[Array, " D"]
    B_op_state: lx.AbstractLinearOperator
    R_op_state: lx.AbstractLinearOperator
    forward: Any
    climatology_std: float = eqx.field(static=True)

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are not fields or properties of the problem.
        if name.startswith("_") or name == "forward":
            raise AttributeError(name)
        try:
            return getattr(self.forward, name)
        except AttributeError:
            raise AttributeError(
                f"neither the problem nor its forward model has {name!r}."
            ) from None

    @property
    def dt(self) -> float:
        """Time step, in model time units."""
        return self.forward.dt

    @property
    def D(self) -> int:
        """Length of the state vector."""
        return self.truth.shape[-1]

    @property
    def T_assim(self) -> int:
        """Last step of the assimilation window."""
        return self.obs.shape[-2] - 1

    @property
    def T_assim_plus_1(self) -> int:
        """Number of states in the window, its first one included."""
        return self.T_assim + 1

    @property
    def T_total(self) -> int:
        """Last step of the truth."""
        return self.truth.shape[-2] - 1

    @property
    def T_total_plus_1(self) -> int:
        """Number of states of the truth, its first one included."""
        return self.T_total + 1

    @property
    def T_forecast(self) -> int:
        """Number of forecast steps after the window."""
        return self.T_total - self.T_assim

    @property
    def prior_mean(self) -> Float[Array, "T_assim_plus_1 D"]:
        """The background state, repeated at each time of the window."""
        return jnp.broadcast_to(self.prior_mean_state, self.obs.shape)

    @property
    def B_op(self) -> EachTime:
        """Background covariance over the window: the state's, nothing between times."""
        return EachTime(self.B_op_state, self.T_assim_plus_1)

    @property
    def R_op(self) -> EachTime:
        """Observation error covariance over the window."""
        return EachTime(self.R_op_state, self.T_assim_plus_1)

    @property
    def obs_op(self) -> LinearObs:
        """The state itself is observed; the mask says which entries."""
        structure = jax.ShapeDtypeStruct((self.D,), self.obs.dtype)
        return LinearObs(lx.IdentityLinearOperator(structure))

    @property
    def ingredients(self) -> dict[str, Any]:
        """What every classical method is built from, ready for its constructor."""
        return {
            "obs_op": self.obs_op,
            "prior_mean": self.prior_mean_state,
            "prior_cov_op": self.B_op_state,
            "obs_cov_op": self.R_op_state,
        }


def assim_batch(problem: Problem) -> Batch1D:
    """The problem's window as a batch of one: what a method is allowed to see."""
    return Batch1D(input=problem.obs[None], mask=problem.mask[None])


def _check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std):
    checks.key(key=key)
    checks.count(T_assim=T_assim, obs_every=obs_every, site_every=site_every)
    checks.count(1, T_total=T_total)
    if T_assim > T_total:
        raise ValueError(
            f"T_assim={T_assim} is larger than T_total={T_total}: pass a window that "
            "ends no later than the truth does."
        )
    checks.positive(obs_std=obs_std)
    checks.one_of(BACKGROUNDS, background=background)


def _observed_problem(
    key: Array,
    truth_from: Float[Array, " D"],
    forward: Any,
    statistics: Climatology,
    background: str,
    T_assim: int,
    T_total: int,
    obs_every: int,
    observed_sites: Any,
    obs_std: float,
) -> Problem:
    """Integrate the truth, observe it with noise, and attach a background."""
    truth = free_forecast(forward, truth_from, T_total)
    shape = (T_assim + 1, truth.shape[-1])
    mask = jnp.zeros(shape, truth.dtype).at[::obs_every, observed_sites].set(1.0)
    noise = obs_std * jax.random.normal(key, shape, truth.dtype)
    size = shape[1]
    if background == "climatology":
        mean = background_state(statistics.mean)
        covariance = dense(background_state(statistics.covariance))
    else:
        mean, covariance = jnp.zeros(size), scaled_identity(25.0, size)
    return Problem(
        truth=truth,
        obs=mask * (truth[: T_assim + 1] + noise),
        mask=mask,
        prior_mean_state=mean,
        B_op_state=covariance,
        R_op_state=scaled_identity(obs_std**2, size),
        forward=forward,
        climatology_std=statistics.std,
    )


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
    _check_settings(key, background, T_assim, T_total, obs_every, 1, obs_std)
    checks.positive(sigma=sigma, rho=rho, beta=beta, dt=dt)
    checks.count(0, spin_up=spin_up)
    forward = Lorenz63Forward(sigma=sigma, rho=rho, beta=beta, dt=dt)
    k_start, k_noise = jax.random.split(key)
    return _observed_problem(
        k_noise,
        spun_up(forward, _start_l63(forward, k_start), spin_up),
        forward,
        climatology_l63(forward),
        background,
        T_assim,
        T_total,
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
    _check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std)
    checks.positive(dt=dt, F=F)
    checks.count(0, spin_up=spin_up)
    forward = Lorenz96Forward(K=K, F=F, dt=dt)
    k_start, k_noise = jax.random.split(key)
    return _observed_problem(
        k_noise,
        spun_up(forward, _start_l96(forward, k_start), spin_up),
        forward,
        climatology_l96(forward),
        background,
        T_assim,
        T_total,
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
) -> Problem:
    """A two-level Lorenz-96 problem: some slow sites observed, the fast ones never.

    Every `site_every`-th slow site is observed every `obs_every` steps. Other
    arguments, errors and transformations as for `generate_problem`.
    """
    _check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std)
    checks.positive(dt=dt, F=F, c=c, b=b)
    checks.count(0, spin_up=spin_up)
    forward = Lorenz96TwoLevelForward(K=K, J=J, F=F, h=h, c=c, b=b, dt=dt)
    k_start, k_noise = jax.random.split(key)
    return _observed_problem(
        k_noise,
        spun_up(forward, _start_l96_2l(forward, k_start), spin_up),
        forward,
        climatology_l96_2l(forward),
        background,
        T_assim,
        T_total,
        obs_every,
        slice(0, K, site_every),
        obs_std,
    )
