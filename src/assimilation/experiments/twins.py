"""Twin experiments: the truth is a run of a model, and observed with known errors."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.free_runs import Climatology, climatology, constant
from assimilation.covariances.structured import dense, scaled_identity
from assimilation.models.integrate import ForwardModel, Parameter, free_forecast, spun_up
from assimilation.observations.operators import ObsOperator, check_operator
from assimilation.observations.window import Observations, error_array
from assimilation.problems import Background, Problem

BACKGROUNDS = ("climatology", "isotropic")


class Twin(Problem):
    """A problem with the truth behind it, which only scores look at.

    `truth` (T_total + 1, D) runs on after the window, into the forecast.
    `climatology_std` is the RMSE of the climatological mean.
    """

    truth: Float[Array, "T_total_plus_1 D"]
    climatology_std: float = eqx.field(static=True)

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


def twin(
    forward: ForwardModel,
    *,
    key: Array,
    start: Callable[[Array], Float[Array, " D"]],
    operator: ObsOperator,
    error: Parameter | lx.AbstractLinearOperator,
    T_assim: int,
    T_total: int,
    obs_every: int = 1,
    spin_up: int = 2000,
    statistics: Climatology | None = None,
) -> Twin:
    """A twin experiment with any forward model, in one call.

    A state `start(key)` (D,) is spun up for `spin_up` steps and run for `T_total` more:
    the truth. It is seen through `operator` at every `obs_every`-th step of the window,
    0 to `T_assim`, with normal errors: `error` is a standard deviation, or a covariance
    operator on (N,). The background is the `statistics`, a climatology (None: computed
    once from runs that begin with `start`). Works under `jit` and under `vmap` over `key`.

    Raises TypeError for a key that is not one, and ValueError for a bad setting.
    """
    require.forward_model(forward)
    check_window(key, T_assim, T_total, obs_every)
    require.count(0, spin_up=spin_up)
    require.start(start)
    check_operator(operator)
    if statistics is not None:
        advice = "climatology(...), or Climatology(mean, covariance, samples)"
        require.is_a(Climatology, advice, statistics=statistics)
    k_start, k_noise = jax.random.split(key)
    first = start(k_start)
    require.shape(("D",), **{"what start(key) gives": first})
    if statistics is not None:
        require.shape(first.shape, **{"statistics.mean": statistics.mean})
    shown = operator(first, 0)
    require.shape(("N",), **{"what operator(state, time) gives": shown})
    error_array(error, 1, shown.size)
    truth = free_forecast(forward, spun_up(forward, first, spin_up), T_total)
    observations = observe(k_noise, truth, operator, error, T_assim, obs_every)
    if statistics is None:
        statistics = climatology(forward, start)
    return twin_of(truth, observations, forward, statistics)


def observe(
    key: Array,
    truth: Float[Array, "T D"],
    operator: ObsOperator,
    error: Parameter | lx.AbstractLinearOperator,
    T_assim: int,
    obs_every: int,
    mask: Float[Array | np.ndarray, " N"] | None = None,
) -> Observations:
    """The truth at every `obs_every`-th step, seen with errors, and where `mask` (N,) is 1."""
    times = tuple(range(0, T_assim + 1, obs_every))
    values = jax.vmap(operator)(truth[jnp.array(times)], jnp.array(times))
    mask = None if mask is None else jnp.broadcast_to(jnp.asarray(mask, float), values.shape)
    exact = Observations(times, values, operator, error, mask=mask, T_assim=T_assim)
    # Drawn at all times: what is seen at one does not depend on how many others there are.
    white = jax.random.normal(key, (T_assim + 1, values.shape[1]), values.dtype)
    return exact.with_errors(white[jnp.array(times)])


def twin_of(
    truth: Float[Array, "T D"],
    observations: Observations,
    forward: ForwardModel,
    statistics: Climatology,
    background: str = "climatology",
    error_covariance: Float[Array | np.ndarray, "D D"] | None = None,
) -> Twin:
    """A twin with the `background` that `BACKGROUNDS` names."""
    if background == "climatology":
        expected = Background(constant(statistics.mean), dense(constant(statistics.covariance)))
    else:
        size = truth.shape[-1]
        expected = Background(jnp.zeros(size), scaled_identity(25.0, size))
    return Twin(
        forward,
        expected,
        observations,
        truth,
        statistics.std,
        Q_op_state=None if error_covariance is None else dense(constant(error_covariance)),
    )


def check_window(key: Array, T_assim: int, T_total: int, obs_every: int) -> None:
    """Raise unless the settings of a window fit together."""
    require.key(key=key)
    require.count(T_assim=T_assim, obs_every=obs_every)
    require.count(1, T_total=T_total)
    if T_assim > T_total:
        raise ValueError(
            f"T_assim={T_assim} is larger than T_total={T_total}: pass a window that "
            "ends no later than the truth does."
        )
    if obs_every > T_assim:
        raise ValueError(
            f"obs_every={obs_every} leaves one observed time in a window of {T_assim} steps: "
            f"pass {T_assim} or less."
        )
