"""Particle filters: weights instead of a gain, and no Gaussian anywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.methods.ensemble_filter import MemberFilter, Members, departures
from assimilation.observations.operators import Time, is_linear
from assimilation.observations.window import Observations


def effective_size(log_weights: Float[Array, " m"]) -> Float[Array, ""]:
    """How many equal weights these are worth: 1 / sum of the squared weights (Kong et al. 1994)."""
    return 1 / jnp.sum(jax.nn.softmax(log_weights) ** 2)


def systematic(
    log_weights: Float[Array, " m"], key: Array, n: int | None = None
) -> Int[Array, " n"]:
    """The indices (n,) of a systematic resampling: n points, equally far apart, on the weights.

    `n` is the number of weights, where none is given.

    Each particle is drawn as often as its weight says, but for less than one copy
    (Kitagawa 1996; Douc, Cappe & Moulines 2005).
    """
    m = len(log_weights)
    n = m if n is None else n
    ends = jnp.cumsum(jax.nn.softmax(log_weights))
    points = (jnp.arange(n) + jax.random.uniform(key, dtype=ends.dtype)) / n
    return jnp.minimum(jnp.searchsorted(ends, points * ends[-1]), m - 1)


class ParticleFilter(MemberFilter):
    """A particle filter, but for its proposal.

    Particles are weighted by how likely the observations are, and drawn anew by their
    weights where less than a share `resample_below` of them is effective. What was drawn
    is spread out: `jitter` times m^{-1 / (D + 4)} times the weighted standard deviations and
    correlations of the particles, the bandwidth that is best for a Gaussian density
    (Silverman 1986; the regularised filter of Musso, Oudjane & Le Gland 2001).
    """

    resample_below: float = eqx.field(default=0.5, static=True)
    jitter: float | Float[Array, ""] = 0.5

    def __check_init__(self):
        if not 0 <= self.resample_below <= 1:
            raise ValueError(
                f"resample_below={self.resample_below!r}: pass a share between 0 and 1."
            )
        if require.is_concrete(self.jitter) and not self.jitter >= 0:
            raise ValueError(f"jitter={self.jitter!r}: pass zero or a number above it.")

    def refreshed(self, members: Members, key: Array) -> Members:
        """Drawn by their weights, and jittered, where few are effective."""
        m, D = members.states.shape

        def draw(members):
            k_draw, k_jitter = jax.random.split(key)
            weights, mean = members.weights, members.mean
            anomalies = members.states - mean
            # Draws with the covariance of the particles, without forming it.
            white = jax.random.normal(k_jitter, (m, m) if m < D else (m, D), mean.dtype)
            # One effective particle alone has no spread: zero over zero, taken as zero.
            freedom = jnp.maximum(1 - jnp.sum(weights**2), jnp.finfo(mean.dtype).eps)
            scaled = jnp.sqrt(weights / freedom)[:, None] * anomalies
            if m < D:
                noise = white @ scaled
            else:
                # Particles that are all alike but for one direction have a singular covariance.
                values, vectors = jnp.linalg.eigh(scaled.T @ scaled)
                noise = (white * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T
            chosen = members.states[systematic(members.log_weights, k_draw)]
            return Members.alike(chosen + self.jitter * m ** (-1 / (D + 4)) * noise)

        few = effective_size(members.log_weights) < self.resample_below * m
        return jax.lax.cond(few, draw, lambda members: members, members)


class BootstrapParticleFilter(ParticleFilter):
    """The bootstrap particle filter: particles go where the model takes them.

    Only then are they weighted, w_i <- w_i p(y | x_i) (Gordon, Salmond & Smith 1993). It is
    exact in the limit of many particles, whatever model, operator and prior are.
    """

    def update(self, prior: Members, observations: Observations, row: Time, key: Array):
        seen = departures(prior.states, observations, row)
        log_weights = jax.nn.log_softmax(prior.log_weights - 0.5 * jnp.sum(seen**2, axis=1))
        return prior._replace(log_weights=log_weights), effective_size(log_weights)


class OptimalProposalFilter(ParticleFilter):
    """A particle filter whose last step to an observation knows of the observation.

    With a linear operator and a model error N(0, Q), a particle's state given where it
    comes from and the observation is Gaussian: it is drawn from there, and weighted by
    p(y | x_{t-1}) = N(y; H M(x_{t-1}), H Q H^T + R), which does not depend on the draw. Of all
    proposals that look at one particle this gives the weights the smallest variance
    (Doucet, Godsill & Andrieu 2000).

    So the error of a step to an observed time waits for the observation. This holds for
    the step that leads to the prior too: a state of the background gets an error of Q more.
    """

    def __check_init__(self):
        if self.model_err_cov_op is None:
            raise ValueError(
                "model_err_cov_op is None: pass the covariance Q of the error of one step. For "
                "an exact model the proposal is that of BootstrapParticleFilter."
            )

    def advance(self, states, key, seen_now):
        # The error of the last step comes first, unless an update has drawn it already.
        errors = jnp.where(seen_now, 0.0, 1.0) * self.model_errors(states, key)
        return jax.vmap(lambda x: self.forward.step(x, self.forward.dt))(states + errors)

    def update(self, prior: Members, observations: Observations, row: Time, key: Array):
        if not is_linear(observations.operator):
            raise TypeError(
                f"operator is {type(observations.operator).__name__}: pass LinearObs(H_mat=...), "
                "or use BootstrapParticleFilter."
            )
        seen = departures(prior.states, observations, row)
        inverse_root = observations.inverse_root()
        zero = jnp.zeros_like(prior.states[0])
        H = jax.jacfwd(lambda x: observations.departure(row, x, inverse_root))(zero)
        root = square_root(self.model_err_cov_op).as_matrix()
        A = H @ root
        # Given the observation, the whitened error has the covariance I - A^T S^{-1} A.
        factor = jnp.linalg.cholesky(A @ A.T + jnp.eye(len(A), dtype=A.dtype))
        k_error, k_noise = jax.random.split(key)
        # A draw of it: an unconditional error, corrected by a perturbed observation.
        error = jax.random.normal(k_error, (len(seen), root.shape[1]), seen.dtype)
        noise = jax.random.normal(k_noise, seen.shape, seen.dtype)
        expected = (error @ A.T + noise).T
        # Solved at once: batches of triangular solves side by side can block JAX 0.10 on CPUs.
        columns = jnp.concatenate([A, seen.T, expected], axis=1)
        solved = jax.scipy.linalg.solve_triangular(factor, columns, lower=True)
        half, innovations, expected = jnp.split(
            solved, [A.shape[1], A.shape[1] + len(seen)], axis=1
        )
        innovations = innovations.T
        error = error - (innovations + expected.T) @ half
        log_weights = jax.nn.log_softmax(prior.log_weights - 0.5 * jnp.sum(innovations**2, axis=1))
        return Members(prior.states + error @ root.T, log_weights), effective_size(log_weights)
