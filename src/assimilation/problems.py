"""A problem: a model, a background and the observations of a window. No truth is in it."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.structured import EachTime
from assimilation.models.integrate import ForwardModel
from assimilation.observations.batch import Batch1D
from assimilation.observations.operators import ObsOperator
from assimilation.observations.window import Observations


class Background(eqx.Module):
    """What is expected of the first state of a window: its mean (D,), and B.

    Raises ValueError if they do not fit together or B is not positive definite.
    """

    mean: Float[Array, " D"] = eqx.field(converter=lambda mean: require.array("mean", mean))
    covariance: lx.AbstractLinearOperator

    def __check_init__(self):
        require.shape(("D",), mean=self.mean)
        require.finite(mean=self.mean)
        require.covariance("covariance", self.covariance, jnp.shape(self.mean))
        require.positive_definite("covariance", self.covariance)


class Problem(eqx.Module):
    """One assimilation problem: a model, what was expected, and what was seen.

    Times run in steps of the model from 0 to T_assim. `Q_op_state` is the covariance of
    the model error of one step, or None for a model taken as perfect. The parameters of
    the model can be read here too: `problem.F` is `problem.forward.F`.

    Raises TypeError for parts that are not what they should be.
    """

    forward: ForwardModel
    background: Background
    observations: Observations
    Q_op_state: lx.AbstractLinearOperator | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self):
        require.forward_model(self.forward)
        advice = "Background(mean, covariance)"
        require.is_a(Background, advice, background=self.background)
        advice = "Observations(times, values, operator, error)"
        require.is_a(Observations, advice, observations=self.observations)
        if jnp.ndim(self.background.mean) == 1:
            self.observations.check_state(self.D)
        if self.Q_op_state is not None:
            require.covariance("Q_op_state", self.Q_op_state, (self.D,))
            require.positive_definite("Q_op_state", self.Q_op_state)

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are not fields or properties of the problem.
        forward = self.__dict__.get("forward")
        if name not in getattr(forward, "__dataclass_fields__", ()):
            raise AttributeError(f"neither the problem nor its model has a parameter {name!r}.")
        return getattr(forward, name)

    @property
    def dt(self) -> float:
        """Time step, in model time units."""
        return self.forward.dt

    @property
    def D(self) -> int:
        """Length of the state vector."""
        return self.background.mean.shape[-1]

    @property
    def T_assim(self) -> int:
        """Last step of the assimilation window."""
        return self.observations.T_assim

    @property
    def T_assim_plus_1(self) -> int:
        """Number of states in the window, its first one included."""
        return self.T_assim + 1

    @property
    def obs(self) -> Float[Array, "*batch T_assim_plus_1 N"]:
        """The observations at all times of the window, zero where there are none."""
        return self.observations.dense()[0]

    @property
    def mask(self) -> Float[Array, "*batch T_assim_plus_1 N"]:
        """1 where there is an observation, 0 elsewhere."""
        return self.observations.dense()[1]

    @property
    def obs_op(self) -> ObsOperator:
        """From a state to the values of one time."""
        return self.observations.operator

    @property
    def prior_mean_state(self) -> Float[Array, "*batch D"]:
        """The background mean."""
        return self.background.mean

    @property
    def prior_mean(self) -> Float[Array, "*batch T_assim_plus_1 D"]:
        """The background mean, repeated at each time of the window."""
        mean = self.background.mean[..., None, :]
        return jnp.broadcast_to(mean, (*mean.shape[:-2], self.T_assim_plus_1, self.D))

    @property
    def B_op_state(self) -> lx.AbstractLinearOperator:
        """Background covariance."""
        return self.background.covariance

    @property
    def B_op(self) -> EachTime:
        """Background covariance over the window: the state's, nothing between times."""
        return EachTime(self.B_op_state, self.T_assim_plus_1)

    @property
    def R_op_state(self) -> lx.AbstractLinearOperator:
        """Observation error covariance at the first observed time."""
        first = self.observations.error[0]
        tag = lx.positive_semidefinite_tag
        if first.ndim == 2:
            return lx.MatrixLinearOperator(first, tag)
        return lx.TaggedLinearOperator(lx.DiagonalLinearOperator(first), tag)

    @property
    def R_op(self) -> EachTime:
        """The same at each time of the window."""
        return EachTime(self.R_op_state, self.T_assim_plus_1)

    def parts(self) -> dict[str, Any]:
        """What methods are built from, under the names of their arguments."""
        return {
            "forward": self.forward,
            "prior_mean": self.prior_mean_state,
            "prior_cov_op": self.B_op_state,
            "obs_op": self.obs_op,
            "obs_cov_op": self.R_op_state,
            "model_err_cov_op": self.Q_op_state,
        }


def assim_batch(problem: Problem) -> Batch1D:
    """The problem's window as a batch of one: what a method is allowed to see."""
    require.is_a(Problem, "a Problem, or what a generator returns", problem=problem)
    return problem.observations.batch()
