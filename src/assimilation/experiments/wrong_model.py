"""A model that is wrong on purpose: fast variables replaced by a fitted polynomial."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assimilation.covariances.free_runs import Climatology
from assimilation.covariances.ring import Ring, symmetrised
from assimilation.models.integrate import spun_up
from assimilation.models.lorenz96_parameterised import ParameterisedLorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward


class Parameterisation(NamedTuple):
    """A model of the slow ring, its climatology (the truth's), and its error per step.

    `error_covariance` (K, K) is Q, the covariance of independent errors of one step.
    """

    forward: ParameterisedLorenz96Forward
    slow: Climatology
    error_covariance: np.ndarray


def parameterise(
    forward: Lorenz96TwoLevelForward,
    statistics: Climatology,
    degree: int = 4,
    n_steps: int = 10,
) -> Parameterisation:
    """Fit the effect of the fast ring on the slow one, and the error that is left.

    From the samples of `statistics`, the climatology of `forward`, a polynomial of the
    given `degree` in X_k is fitted by least squares to -(h c / b) sum_j Y_{j,k}
    (Wilks 2005).

    The error of the fitted model is correlated over several steps, but 4DVar takes the
    errors of two steps as independent. What matters to it is how far the error gets
    between two observations. So Q is the covariance of the difference between truth and
    model, both started from the truth and run for `n_steps` steps, divided by `n_steps`.
    """
    samples = statistics.samples
    K, J = forward.K, forward.J
    slow = samples[:, :K]
    coupling = float(forward.h * forward.c / forward.b)
    effect = -coupling * samples[:, K:].reshape(-1, K, J).sum(axis=2)
    fitted = np.polynomial.Polynomial.fit(slow.ravel(), effect.ravel(), degree).convert()
    coefficients = tuple(float(a) for a in fitted.coef)
    model = ParameterisedLorenz96Forward(K, forward.F, coefficients, forward.dt)
    # A generator may be traced by jit or vmap; this is a constant all the same.
    with jax.core.eval_context():

        def drift(state):
            truth = spun_up(forward, state, n_steps)[:K]
            return truth - spun_up(model, state[:K], n_steps)

        drifts = np.asarray(jax.jit(jax.vmap(drift))(jnp.asarray(samples)))
    ring = Ring(K, (1,))
    error = symmetrised(drifts, ring)[1] / n_steps
    return Parameterisation(model, Climatology(*symmetrised(slow, ring), slow), error)
