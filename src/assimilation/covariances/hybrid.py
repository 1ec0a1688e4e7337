"""Covariances of ensembles, localised and mixed with a static one; never a matrix."""

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import AbstractCovariance, square_root
from assimilation.models.integrate import Parameter


class HybridCovariance(AbstractCovariance):
    """(1 - w) B + w (P o C): a static covariance and a localised ensemble's, mixed.

    P = X^T X / (m - 1) is the covariance of the `anomalies` X (m, D), o the product entry
    by entry with the correlations C (Hamill & Snyder 2000; Lorenc 2003 for the control
    variable). `static` is B on (D,), `correlation` is C on (D,), such as a
    `RingCovariance` of a taper; None leaves P as it is, of rank m - 1. `weight` w, 0 to 1, is a
    leaf.

    The root is [(1 - w)^{1/2} B^{1/2}, w^{1/2} diag(x_1) C^{1/2} / (m - 1)^{1/2}, ...], one
    block a member, so the control has as many blocks more as there are members, and a
    product costs m products of the root of C.
    """

    static: lx.AbstractLinearOperator
    anomalies: Float[Array, "m D"]
    weight: Parameter = 0.5
    correlation: lx.AbstractLinearOperator | None = None

    def __check_init__(self):
        require.shape(("m", "D"), anomalies=self.anomalies)
        if len(self.anomalies) < 2:
            raise ValueError(f"anomalies has {len(self.anomalies)} member: pass two or more.")
        shape = jnp.shape(self.anomalies)[1:]
        require.covariance("static", self.static, shape)
        if self.correlation is not None:
            require.covariance("correlation", self.correlation, shape)
        if require.is_concrete(self.weight) and not 0 <= self.weight <= 1:
            raise ValueError(f"weight={self.weight!r}: pass a share between 0 and 1.")

    @classmethod
    def from_members(cls, static, members: Float[Array, "m D"], weight=0.5, correlation=None):
        """From members (m, D) instead of anomalies."""
        require.shape(("m", "D"), members=members)
        return cls(static, members - members.mean(axis=0), weight, correlation)

    def mv(self, vector: Float[Array, " D"]) -> Float[Array, " D"]:
        X = self.anomalies / (len(self.anomalies) - 1) ** 0.5
        if self.correlation is None:
            sampled = (X @ vector) @ X
        else:
            sampled = jnp.sum(X * jax.vmap(self.correlation.mv)(X * vector), axis=0)
        return (1 - self.weight) * self.static.mv(vector) + self.weight * sampled

    def in_structure(self):
        return jax.ShapeDtypeStruct(self.anomalies.shape[1:], self.anomalies.dtype)

    def square_root(self) -> lx.AbstractLinearOperator:
        m = len(self.anomalies)
        X = self.anomalies * jnp.sqrt(self.weight / (m - 1))
        static = square_root(self.static)
        n = static.in_size()
        local = None if self.correlation is None else square_root(self.correlation)
        size = m if local is None else m * local.in_size()

        def root(chi):
            first = jnp.sqrt(1 - self.weight) * static.mv(
                chi[:n].reshape(static.in_structure().shape)
            )
            if local is None:
                return first + chi[n:] @ X
            blocks = chi[n:].reshape(m, *local.in_structure().shape)
            return first + jnp.sum(X * jax.vmap(local.mv)(blocks), axis=0)

        structure = jax.ShapeDtypeStruct((n + size,), self.anomalies.dtype)
        return lx.FunctionLinearOperator(root, structure)
