"""The inverse square root of a matrix, with a derivative at repeated eigenvalues too."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def inverse_square_root(matrix: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """A^{-1/2}, symmetric, of a symmetric and positive definite matrix A."""
    values, vectors = _positive_eigenvalues(matrix)
    return (vectors * values**-0.5) @ vectors.T


def _positive_eigenvalues(matrix: Float[Array, "m m"]) -> tuple[Array, Array]:
    """Eigenvalues and vectors; one that rounding has made negative is as small as it can tell."""
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.maximum(values, jnp.finfo(values.dtype).eps * values[-1]), vectors


@inverse_square_root.defjvp
def _(primals, tangents):
    """Daleckii and Krein's formula, with the divided differences of 1 / sqrt(a).

    The derivatives of single eigenvectors do not exist where eigenvalues coincide, as
    those of an ensemble do in all directions that were not seen.
    """
    (matrix,), (change,) = primals, tangents
    values, vectors = _positive_eigenvalues(matrix)
    roots = values**0.5
    divided = -1 / (roots[:, None] * roots * (roots[:, None] + roots))
    inside = vectors.T @ change @ vectors * divided
    return (vectors / roots) @ vectors.T, vectors @ inside @ vectors.T
