"""What is observed: operators from state to observations, and batches of them."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import EachTime


class LinearObs(eqx.Module):
    """Linear observations H x, with `H_mat` a lineax operator (or a matrix (N, D)).

    The operator acts on a state (D,), giving N values. An identity on whole
    trajectories (T, D) is accepted too and means "the state itself, at each time".
    """

    H_mat: lx.AbstractLinearOperator

    def __init__(self, H_mat: lx.AbstractLinearOperator | Float[Array, "N D"]):
        if not isinstance(H_mat, lx.AbstractLinearOperator):
            checks.shape((None, None), H_mat=H_mat)
            H_mat = lx.MatrixLinearOperator(jnp.asarray(H_mat))
        shape = H_mat.in_structure().shape
        if isinstance(H_mat, lx.IdentityLinearOperator) and len(shape) == 2:
            state = jax.ShapeDtypeStruct(shape[1:], H_mat.in_structure().dtype)
            H_mat = lx.IdentityLinearOperator(state)
        if len(H_mat.in_structure().shape) != 1:
            raise ValueError(f"H_mat acts on shape {shape}: pass an operator on one state (D,).")
        self.H_mat = H_mat

    def __call__(self, state: Float[Array, " D"]) -> Float[Array, " N"]:
        """The observations (N,) of a state (D,), without noise."""
        return self.H_mat.mv(state)

    def rows(self, index: Array) -> Float[Array, "n D"]:
        """The rows of H that `index` (n,) names."""
        unit = jax.nn.one_hot(index, self.H_mat.out_size(), dtype=self.dtype)
        return jax.vmap(self.H_mat.transpose().mv)(unit)

    @property
    def dtype(self):
        """The float type of H."""
        return self.H_mat.out_structure().dtype


class NonlinearObs(eqx.Module):
    """Nonlinear observations h(x): any differentiable function of one state (D,)."""

    function: Callable[[Float[Array, " D"]], Float[Array, " N"]]

    def __check_init__(self):
        if not callable(self.function):
            raise TypeError(
                f"function is {type(self.function).__name__}: pass a function from a "
                "state (D,) to its observations (N,)."
            )

    def __call__(self, state: Float[Array, " D"]) -> Float[Array, " N"]:
        """The observations (N,) of a state (D,), without noise."""
        return self.function(state)


ObsOperator = LinearObs | NonlinearObs


class Batch1D(eqx.Module):
    """Observed windows: values, where they are, and (for training) the truth.

    `input` (B, T, N) holds the observations, `mask` (B, T, N) is 1 where there is one
    and 0 elsewhere, `target` (B, T, D) is the true trajectory or None.
    Raises ValueError if shapes differ, a value is not finite, a mask entry is neither
    0 nor 1, or a window holds no observation at all.
    """

    input: Float[Array, "B T N"]
    mask: Float[Array, "B T N"]
    target: Float[Array, "B T D"] | None = None

    def __check_init__(self):
        checks.shape((None, None, None), input=self.input)
        checks.shape(self.input.shape, mask=self.mask)
        checks.finite(input=self.input)
        if self.target is not None:
            checks.shape((*self.input.shape[:2], None), target=self.target)
            checks.finite(target=self.target)
        if checks.is_concrete(self.mask):
            mask = np.asarray(self.mask)
            if not np.isin(mask, (0, 1)).all():
                raise ValueError("mask holds values other than 0 and 1: pass only those.")
            if not mask.any(axis=(1, 2)).all():
                empty = int(np.sum(~mask.any(axis=(1, 2))))
                raise ValueError(
                    f"mask is empty in {empty} of {len(mask)} windows: pass at least "
                    "one observation (a 1) in each window."
                )


def observation_variance(obs_cov_op: lx.AbstractLinearOperator) -> Float[Array, " N"]:
    """The error variances (N,) on the diagonal of R, over one observation vector.

    A covariance over the whole window counts as the state's, repeated at each time.
    Raises ValueError if R is not diagonal or a variance is not above zero.
    """
    if isinstance(obs_cov_op, EachTime):
        obs_cov_op = obs_cov_op.state_op
    if not lx.is_diagonal(obs_cov_op):
        raise ValueError(
            "obs_cov_op is not diagonal: pass independent observation errors, such as "
            "lx.DiagonalLinearOperator(variances)."
        )
    variance = lx.diagonal(obs_cov_op)
    if checks.is_concrete(variance) and not (np.asarray(variance) > 0).all():
        raise ValueError("obs_cov_op holds a variance of zero or less: pass only larger.")
    return variance
