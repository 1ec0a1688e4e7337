"""Checks and layouts that the classical methods share."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import EachTime
from assimilation.observations import (
    Batch1D,
    LinearObs,
    NonlinearObs,
    observation_variance,
)


def check_ingredients(method: Any, whole_window: bool) -> None:
    """Raise unless the four ingredients of `method` fit together.

    `whole_window` says whether the background may be a trajectory (T, D).
    """
    if not isinstance(method.obs_op, LinearObs | NonlinearObs):
        raise TypeError(
            f"obs_op is {type(method.obs_op).__name__}: pass LinearObs(H_mat=...) or "
            "NonlinearObs(function)."
        )
    shape = jnp.shape(method.prior_mean)
    if len(shape) not in ((1, 2) if whole_window else (1,)):
        wanted = "(D,) or (T, D)" if whole_window else "(D,)"
        raise ValueError(f"prior_mean has shape {shape}: pass shape {wanted}.")
    checks.finite(prior_mean=method.prior_mean)
    cov = method.prior_cov_op
    if isinstance(cov, lx.AbstractLinearOperator):
        over_window = len(cov.in_structure().shape) == 2
        checks.covariance("prior_cov_op", cov, shape if over_window else shape[-1:])
    else:
        checks.covariance("prior_cov_op", cov, shape)
    checks.positive_definite("prior_cov_op", cov)
    if not isinstance(method.obs_cov_op, lx.AbstractLinearOperator):
        checks.covariance("obs_cov_op", method.obs_cov_op, ())
    observation_variance(method.obs_cov_op)


class Window(NamedTuple):
    """A background over a window, its covariance, and whether times stand apart."""

    mean: Float[Array, "T D"]
    covariance: lx.AbstractLinearOperator
    per_time: bool


def over_window(prior_mean: Array, prior_cov_op: Any, n_time: int) -> Window:
    """Lay a background out over `n_time` times."""
    if jnp.ndim(prior_mean) == 2:
        checks.shape((n_time, None), prior_mean=prior_mean)
    mean = jnp.broadcast_to(prior_mean, (n_time, jnp.shape(prior_mean)[-1]))
    if isinstance(prior_cov_op, EachTime):
        prior_cov_op = prior_cov_op.state_op
    per_time = len(prior_cov_op.in_structure().shape) == 1
    return Window(mean, prior_cov_op, per_time)


def check_batch(batch: Any, variance: Float[Array, " N"]) -> None:
    """Raise unless `batch` is a Batch1D whose observations R knows about."""
    if not isinstance(batch, Batch1D):
        raise TypeError(
            f"batch is {type(batch).__name__}: pass a Batch1D, such as assim_batch(problem)."
        )
    checks.shape((None, None, *variance.shape), **{"batch.input": batch.input})
