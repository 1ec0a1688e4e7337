"""The finite-size ensemble filter: it allows for the sampling error of its own members."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.methods.ensemble_kalman import ETKF, rotated
from assimilation.methods.inverse_square_root import inverse_square_root
from assimilation.models.integrate import Parameter

N_GRID = 100
N_NEWTON = 5
WIDEST = 10


class EnKFN(ETKF):
    """The finite-size ensemble Kalman filter (EnKF-N), without an inflation to tune.

    Mean and covariance of the forecast are taken as unknown, with Jeffreys' prior, and
    integrated out: what is left is not a Gaussian but a t-like distribution, whose mode is
    found in the space of the members (Bocquet 2011). Its dual is a search in one number
    zeta (Bocquet, Raanes & Hannart 2015): the smallest value of

        D(zeta) = d^T (I + S^T S / zeta)^{-1} d + eps zeta - (m + 1) log zeta,

    eps = 1 + 1 / m, gives the weights (S S^T + zeta I)^{-1} S d. So zeta takes the place of
    m - 1 in the transform filter, and the inflation is the root of (m - 1) / zeta: it is
    large where the departures d are larger than the members expect.

    The anomalies get the curvature at that mode. It can all but vanish in one direction; the
    variance stays below `WIDEST` times that of the transform filter with this inflation.

    `inflation` and `relaxation` are for model error, which the method does not know of.
    """

    def analysed(self, ensemble, key):
        X, S = ensemble.anomalies, ensemble.seen
        m = len(X)
        values, vectors = jnp.linalg.eigh(S @ S.T)
        # What rounding cannot tell from zero is not seen: there are such directions always.
        floor = 8 * jnp.finfo(S.dtype).eps * values[-1]
        seen = jnp.where(values > floor, vectors.T @ (S @ ensemble.departure), 0)
        values = jnp.maximum(values, 0)
        zeta = dual_minimum(values, seen**2, 1 + 1 / m, 1.0 + m)
        along = seen / (values + zeta)
        weights = -vectors @ along
        # With G = S S^T + zeta I, the Hessian G - c w w^T is at least G / 10 if c w^T G^{-1} w
        # is at most 9 / 10.
        most = (1 - 1 / WIDEST) / jnp.maximum(jnp.sum(along**2 / (values + zeta)), 1e-30)
        radial = jnp.minimum(2 * zeta**2 / (m + 1), most)
        hessian = S @ S.T + zeta * jnp.eye(m) - radial * jnp.outer(weights, weights)
        # What rounding may have made negative.
        hessian += floor * jnp.eye(m)
        T = jnp.sqrt(m - 1.0) * inverse_square_root(hessian)
        mean = ensemble.mean + weights @ X
        # The Hessian has the weights in it, so the transformed anomalies have a mean.
        anomalies = (rotated(T, key) if self.rotate else T) @ X
        return mean, anomalies - anomalies.mean(axis=0)


def dual_minimum(
    values: Float[Array, " m"],
    squares: Float[Array, " m"],
    eps: Parameter,
    power: Parameter,
) -> Float[Array, ""]:
    """The zeta in (0, power / eps] with the smallest D, for the eigenvalues of S S^T.

    `power` is the factor of log zeta in D, m + 1 there. `squares` are those of the
    components of S d. Up to a constant,
    d^T (I + S^T S / zeta)^{-1} d = - sum squares / (values + zeta). The grid finds the right
    valley where there are two; Newton's steps in log zeta, kept between its neighbours on the
    grid, go to its bottom.
    """
    top = jnp.log(jnp.asarray(power / eps, values.dtype))

    def dual(log_zeta):
        zeta = jnp.exp(log_zeta)
        return eps * zeta - power * log_zeta - jnp.sum(squares / (values + zeta))

    grid = jnp.linspace(top - 12, top, N_GRID)
    best = grid[jnp.argmin(jax.vmap(dual)(grid))]
    width = grid[1] - grid[0]
    slope = jax.grad(dual)

    def newton(_, log_zeta):
        curvature = jnp.maximum(jax.grad(slope)(log_zeta), 1e-6)
        new = log_zeta - slope(log_zeta) / curvature
        return jnp.clip(new, best - width, jnp.minimum(best + width, top))

    return jnp.exp(jax.lax.fori_loop(0, N_NEWTON, newton, best))
