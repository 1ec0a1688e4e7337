"""Square roots of covariances: all that the control variable transform asks of B."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import require


class AbstractCovariance(lx.AbstractLinearOperator):
    """A symmetric, positive semidefinite operator on arrays of one shape."""

    @abstractmethod
    def square_root(self) -> lx.AbstractLinearOperator:
        """An operator L, from controls to states, with L L^T equal to this one."""

    def transpose(self):
        return self

    def as_matrix(self) -> Float[Array, "n n"]:
        structure = self.in_structure()
        rows = jnp.eye(structure.size, dtype=structure.dtype)
        columns = jax.vmap(lambda row: self.mv(row.reshape(structure.shape)).ravel())
        return columns(rows).T

    def out_structure(self):
        return self.in_structure()


def square_root(covariance: lx.AbstractLinearOperator) -> lx.AbstractLinearOperator:
    """An operator L with L L^T = `covariance`: its own, a diagonal's, or Cholesky's."""
    require.operator(covariance=covariance)
    if isinstance(covariance, AbstractCovariance):
        return covariance.square_root()
    if isinstance(covariance, lx.TaggedLinearOperator):
        return square_root(covariance.operator)
    if isinstance(covariance, lx.MulLinearOperator):
        return square_root(covariance.operator) * jnp.sqrt(covariance.scalar)
    if lx.is_diagonal(covariance):
        return lx.DiagonalLinearOperator(jnp.sqrt(lx.diagonal(covariance)))
    return lx.MatrixLinearOperator(jnp.linalg.cholesky(covariance.as_matrix()))
