"""Covariance operators that keep their structure.

A covariance here is any lineax operator tagged positive semidefinite. The classes
below add structures that lineax lacks.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import AbstractCovariance, square_root


class EachTime(AbstractCovariance):
    """The same state covariance at each of `n_time` times, nothing between times.

    Identity in time (x) `state_op`, on trajectories (n_time, D). Stores one state
    covariance, never a (n_time D) x (n_time D) array.
    """

    state_op: lx.AbstractLinearOperator
    n_time: int = eqx.field(static=True)

    def __check_init__(self):
        require.operator(state_op=self.state_op)
        require.count(n_time=self.n_time)

    def mv(self, vector: Float[Array, "T D"]) -> Float[Array, "T D"]:
        return jax.vmap(self.state_op.mv)(vector)

    def in_structure(self):
        one = self.state_op.in_structure()
        return jax.ShapeDtypeStruct((self.n_time, *one.shape), one.dtype)

    def square_root(self) -> lx.AbstractLinearOperator:
        root = square_root(self.state_op)
        one = root.in_structure()
        return lx.FunctionLinearOperator(
            lambda controls: jax.vmap(root.mv)(controls),
            jax.ShapeDtypeStruct((self.n_time, *one.shape), one.dtype),
        )


class LowRank(AbstractCovariance):
    """B = L L^T with few columns: `factor` is L^T, one sample a row (n_samples, *state shape).

    The usual factor holds sampled anomalies, each divided by sqrt(n_samples - 1).
    """

    factor: Float[Array, "n_samples ..."]

    def __check_init__(self):
        if jnp.ndim(self.factor) < 2:
            raise ValueError(
                f"factor has shape {jnp.shape(self.factor)}: pass one with samples first and "
                "the state after them, such as (n_samples, D)."
            )

    @classmethod
    def from_samples(cls, samples: Float[Array, "n_samples ..."]) -> "LowRank":
        """The sample covariance of `samples` (first axis), as a low-rank operator."""
        samples = require.array("samples", samples)
        if samples.ndim < 2:
            raise ValueError(f"samples has shape {samples.shape}: pass one of (n_samples, D).")
        if samples.shape[0] < 2:
            raise ValueError(f"samples has {samples.shape[0]} member: pass two or more.")
        return cls((samples - samples.mean(axis=0)) / (samples.shape[0] - 1) ** 0.5)

    def mv(self, vector: Float[Array, "..."]) -> Float[Array, "..."]:
        root = self.square_root()
        return root.mv(root.T.mv(vector))

    def in_structure(self):
        return jax.ShapeDtypeStruct(self.factor.shape[1:], self.factor.dtype)

    def square_root(self) -> lx.AbstractLinearOperator:
        controls = jax.ShapeDtypeStruct(self.factor.shape[:1], self.factor.dtype)
        return lx.FunctionLinearOperator(
            lambda chi: jnp.tensordot(chi, self.factor, axes=1), controls
        )


for _property in (lx.is_symmetric, lx.is_positive_semidefinite):
    _property.register(AbstractCovariance, lambda operator: True)
for _property in (
    lx.has_unit_diagonal,
    lx.is_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_tridiagonal,
    lx.is_negative_semidefinite,
):
    _property.register(AbstractCovariance, lambda operator: False)
for _transform in (lx.linearise, lx.materialise, lx.conj):
    _transform.register(AbstractCovariance, lambda operator: operator)


@lx.is_diagonal.register
def _(operator: EachTime) -> bool:
    return lx.is_diagonal(operator.state_op)


@lx.diagonal.register
def _(operator: EachTime) -> Float[Array, " n"]:
    return jnp.tile(lx.diagonal(operator.state_op), operator.n_time)


def scaled_identity(variance: float, size: int) -> lx.AbstractLinearOperator:
    """`variance` times the identity on vectors of length `size`."""
    require.count(size=size)
    diagonal = lx.DiagonalLinearOperator(jnp.full(size, variance))
    return lx.TaggedLinearOperator(diagonal, lx.positive_semidefinite_tag)


def scaled(
    covariance: lx.AbstractLinearOperator, factor: float | Float[Array, ""]
) -> lx.AbstractLinearOperator:
    """`factor` times a covariance, tagged as one; a product alone loses its tag under `jit`.

    Raises ValueError if a known `factor` is not above zero.
    """
    require.operator(covariance=covariance)
    require.positive(factor=factor)
    return lx.TaggedLinearOperator(covariance * factor, lx.positive_semidefinite_tag)


def dense(matrix: Float[Array | np.ndarray, "D D"]) -> lx.AbstractLinearOperator:
    """A covariance matrix (D, D) as a tagged lineax operator.

    Raises ValueError if it is not square.
    """
    matrix = require.array("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}: pass a covariance (D, D).")
    return lx.MatrixLinearOperator(matrix, lx.positive_semidefinite_tag)
