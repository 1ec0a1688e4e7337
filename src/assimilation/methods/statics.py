"""What OI and 3DVar share: backgrounds over a window, and no model."""

from typing import NamedTuple

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.structured import EachTime
from assimilation.methods.analysis import Analysis
from assimilation.methods.method import Method
from assimilation.observations.window import Observations


class Window(NamedTuple):
    """A background over a window, its covariance, and whether times stand apart."""

    mean: Float[Array, "T D"]
    covariance: lx.AbstractLinearOperator
    per_time: bool


class Static(Method):
    """A method without a model, with a background (D,) or (T, D)."""

    def answer(self, analysis: Analysis) -> Float[Array, "B T D"]:
        """The analysed trajectories (B, T, D) of a batch."""
        return analysis.states

    def check_background(self) -> None:
        """As for all methods, but the background may be a trajectory."""
        shape = np.shape(self.prior_mean)
        if len(shape) != 2:
            return super().check_background()
        require.finite(prior_mean=self.prior_mean)
        cov = self.prior_cov_op
        per_time = isinstance(cov, lx.AbstractLinearOperator) and len(cov.in_structure().shape) == 1
        require.covariance("prior_cov_op", cov, shape[1:] if per_time else shape)
        require.positive_definite("prior_cov_op", cov)

    def over_window(self, observations: Observations) -> Window:
        """The background, laid out over the times of the window."""
        self.check_observations(observations)
        n_time = observations.T_assim + 1
        if jnp.ndim(self.prior_mean) == 2:
            require.shape((n_time, "D"), prior_mean=self.prior_mean)
        mean = jnp.broadcast_to(self.prior_mean, (n_time, jnp.shape(self.prior_mean)[-1]))
        cov = self.prior_cov_op
        cov = cov.state_op if isinstance(cov, EachTime) else cov
        return Window(mean, cov, len(cov.in_structure().shape) == 1)
