"""A problem: a hidden truth, sparse noisy observations and a background."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.climatology import Climatology, background_state
from assimilation.covariances import EachTime, dense, scaled_identity
from assimilation.observations import Batch1D, LinearObs

BACKGROUNDS = ("climatology", "isotropic")


class Problem(eqx.Module):
    """One assimilation problem: what happened, what was seen, what was expected.

    Times run from 0 to T_assim in the window and on to T_total in the forecast. The
    truth is for scoring; methods are given the rest. The parameters of the system
    (K, F, ...) are read from `forward`, so `problem.F` is `problem.forward.F`.
    `Q_op_state` is the covariance of the model error of one step, or None where the
    model made the truth.
    """

    truth: Float[Array, "T_total_plus_1 D"]
    obs: Float[Array, "T_assim_plus_1 D"]
    mask: Float[Array, "T_assim_plus_1 D"]
    prior_mean_state: Float[Array, " D"]
    B_op_state: lx.AbstractLinearOperator
    R_op_state: lx.AbstractLinearOperator
    forward: Any
    climatology_std: float = eqx.field(static=True)
    Q_op_state: lx.AbstractLinearOperator | None = None

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


def check_settings(key, background, T_assim, T_total, obs_every, site_every, obs_std):
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


def observed_problem(
    key: Array,
    truth: Float[Array, "T_total_plus_1 D"],
    forward: Any,
    statistics: Climatology,
    background: str,
    T_assim: int,
    obs_every: int,
    observed_sites: Any,
    obs_std: float,
    error_covariance: Any = None,
) -> Problem:
    """Observe a truth with noise, and attach a background."""
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
        Q_op_state=None if error_covariance is None else dense(background_state(error_covariance)),
    )
