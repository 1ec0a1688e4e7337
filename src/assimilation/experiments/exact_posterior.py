"""The exact posterior of one window: weighted particles, and long chains where these fail."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.methods.ensemble import hessian_factor
from assimilation.methods.ensemble_filter import Members
from assimilation.methods.four_d_var import StrongFourDVar
from assimilation.methods.growing_window import grown, last_row
from assimilation.methods.particles import effective_size, systematic
from assimilation.methods.window_cost import WindowCost, controls_adjacent
from assimilation.models.integrate import free_forecast
from assimilation.problems import Problem


class ExactPosterior(NamedTuple):
    """Weighted particles (n, D) at the first time of a window, for p(x_0 | all observations).

    `effective_size` says how many independent draws they are worth: 1 / sum of the squared
    weights. It cannot know of a part of the posterior that no particle has met. `modes`
    (k, D) are the minima that the search began from, `costs` (k,) theirs.
    """

    members: Members
    effective_size: Float[Array, ""]
    modes: Float[Array, "k D"]
    costs: Float[Array, " k"]

    @property
    def mean(self) -> Float[Array, " D"]:
        """The posterior mean."""
        return self.members.mean

    @property
    def covariance(self) -> Float[Array, "D D"]:
        """The posterior covariance."""
        X = self.members.states - self.mean
        return (self.members.weights[:, None] * X).T @ X

    def draws(self, key: Array, n: int) -> Float[Array, "n D"]:
        """`n` states that count alike, drawn by their weights, in random order."""
        require.count(n=n)
        k_draw, k_order = jax.random.split(key)
        chosen = systematic(self.members.log_weights, k_draw, n)
        return self.members.states[jax.random.permutation(k_order, chosen)]


class _Proposal(NamedTuple):
    """In control space, t distributions about `centres` with precisions U^T U; and the prior."""

    centres: Float[Array, "k n"]
    factors: Float[Array, "k n n"]
    log_shares: Float[Array, " k_plus_1"]
    degrees: float = 5.0

    def draw(self, key: Array, m: int) -> Float[Array, "m n"]:
        k_which, k_normal, k_scale = jax.random.split(key, 3)
        which = jax.random.categorical(k_which, self.log_shares, shape=(m,))
        last = len(self.centres)
        about = jnp.minimum(which, last - 1)
        normal = jax.random.normal(k_normal, (m, self.centres.shape[1]), self.centres.dtype)
        chi2 = 2 * jax.random.gamma(k_scale, self.degrees / 2, (m, 1), normal.dtype)
        inverses = jax.vmap(lambda U: jax.scipy.linalg.solve_triangular(U, jnp.eye(len(U))))
        t = jnp.einsum("mij,mj->mi", inverses(self.factors)[about], normal)
        t = self.centres[about] + t * jnp.sqrt(self.degrees / chi2)
        return jnp.where((which == last)[:, None], normal, t)

    def log_density(self, chi: Float[Array, "m n"]) -> Float[Array, " m"]:
        """Without (2 pi)^(-n / 2), which all components and the posterior share."""
        k, n = self.centres.shape
        nu, gammaln = self.degrees, jax.scipy.special.gammaln
        constant = gammaln((nu + n) / 2) - gammaln(nu / 2) - n / 2 * jnp.log(nu / 2)
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.factors, axis1=1, axis2=2))), axis=1)
        away = (self.factors.reshape(k * n, n) @ chi.T).reshape(k, n, -1)
        away = away - jnp.einsum("kij,kj->ki", self.factors, self.centres)[:, :, None]
        t = constant + log_det[:, None] - (nu + n) / 2 * jnp.log1p(jnp.sum(away**2, axis=1) / nu)
        prior = -0.5 * jnp.sum(chi**2, axis=1)
        parts = jnp.concatenate([t, prior[None]]) + self.log_shares[:, None]
        return jax.scipy.special.logsumexp(parts, axis=0)


@eqx.filter_jit
def exact_posterior(
    problem: Problem,
    n_particles: int = 100_000,
    *,
    key: Array,
    n_starts: int = 16,
    n_rounds: int = 3,
    n_centres: int = 48,
    prior_share: float = 0.05,
    batch: int = 10_000,
) -> ExactPosterior:
    """p(x_0 | all observations) of one window with a perfect model, by importance sampling.

    Exact in the limit of many particles, whatever model and operator are. Half of the
    proposal are t distributions about the minima that 4DVar finds from `n_starts` starts, with
    the covariances of Laplace; the other half, about `n_centres` states drawn in `n_rounds`
    pilot rounds, follow a posterior that is bent. A share `prior_share` are draws from the
    background, so that no weight is more than the likelihood over this share; with 1 there is
    nothing else.

    Particles are run `batch` at a time. Meant for small states: in many dimensions
    `effective_size` is close to one, which says so. Raises ValueError for a problem with
    model errors, and for numbers of particles that are no multiple of `batch`.
    """
    _check(problem, key)
    require.count(
        n_starts=n_starts, n_rounds=n_rounds, n_centres=n_centres, n_particles=n_particles
    )
    if n_particles % batch:
        raise ValueError(f"n_particles={n_particles}: pass a multiple of batch={batch}.")
    if not 0 < prior_share <= 1:
        raise ValueError(f"prior_share={prior_share!r}: pass a share above 0, at most 1.")
    method = StrongFourDVar.of(problem, n_starts=1)
    window, last = method.window(problem.observations), last_row(problem.observations.mask)
    size = window.root.in_size()
    k_starts, k_rounds, k_draws = jax.random.split(key, 3)
    starts = jax.random.normal(k_starts, (n_starts, size), jnp.result_type(window.prior_mean))

    def minimum(chi):
        no = jnp.zeros((), bool)
        minimise = method.minimiser(window)
        found = grown(window, minimise, chi, no, ~no, method.max_steps, method.rtol)
        return found.chi, found.cost, hessian_factor(window, found.chi)

    modes, costs, curvatures = jax.lax.map(minimum, starts.at[0].set(0.0))
    # A minimum is worth the mass of its Gaussian; but some particles go to each.
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(curvatures, axis1=1, axis2=2))), axis=1)
    worth = 0.9 * jax.nn.softmax(-costs - log_det) + 0.1 / n_starts
    # The bandwidth of a kernel density estimate, with the shape that each place has.
    bandwidth = n_centres ** (-1 / (size + 4))

    def proposal(centres, local, prior_share):
        shares = jnp.append(worth, jnp.ones(n_centres) / n_centres) / 2
        return _Proposal(
            jnp.concatenate([modes, centres]),
            jnp.concatenate([curvatures / 1.2, local / bandwidth]),
            jnp.log(jnp.append((1 - prior_share) * shares, prior_share)),
        )

    def particles(proposal, key, n_batches):
        def some(key):
            chi = proposal.draw(key, batch)
            cost = jax.vmap(lambda c: window.cost(c, last))(controls_adjacent(chi))
            return chi, -cost - proposal.log_density(chi)

        chi, log_weights = jax.lax.map(some, jax.random.split(key, n_batches))
        return chi.reshape(-1, size), log_weights.ravel()

    def pilot(number, found):
        k_particles, k_chosen = jax.random.split(jax.random.fold_in(k_rounds, number))
        chi, log_weights = particles(proposal(*found, max(0.5, prior_share)), k_particles, 1)
        centres = chi[systematic(log_weights, k_chosen, n_centres)]
        return centres, jax.lax.map(lambda c: hessian_factor(window, c), centres)

    first = jnp.arange(n_centres) % n_starts
    found = jax.lax.fori_loop(0, n_rounds, pilot, (modes[first], curvatures[first]))
    chi, log_weights = particles(proposal(*found, prior_share), k_draws, n_particles // batch)
    log_weights = jax.nn.log_softmax(log_weights)
    states = jax.vmap(window.initial_state)
    members = Members(states(chi), log_weights)
    return ExactPosterior(members, effective_size(log_weights), states(modes), costs)


class Chains(NamedTuple):
    """Markov chains (n_steps, n_chains, D) in the posterior of a window's first state.

    `step` is the size of their steps, in standard deviations of the Gaussian at the mode;
    `acceptance` how many of them were taken.
    """

    states: Float[Array, "n_steps n_chains D"]
    step: Float[Array, ""]
    acceptance: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, " D"]:
        """The mean over all chains."""
        return self.states.mean(axis=(0, 1))

    def _variances(self) -> tuple[Array, Array, int]:
        """Within half chains, and of their means, for each entry of the state."""
        half = len(self.states) // 2
        halves = jnp.concatenate([self.states[:half], self.states[half : 2 * half]], axis=1)
        within = halves.var(axis=0, ddof=1).mean(axis=0)
        return within, halves.mean(axis=0).var(axis=0, ddof=1), half

    @property
    def r_hat(self) -> Float[Array, " D"]:
        """The split R-hat of each entry, near 1 if all chains agree (Vehtari et al. 2021)."""
        within, between, half = self._variances()
        return jnp.sqrt((half - 1) / half + between / within)

    @property
    def effective_size(self) -> Float[Array, " D"]:
        """Of each entry how many independent draws the mean is worth (Gelman & Rubin 1992)."""
        within, between, half = self._variances()
        return 2 * self.states.shape[1] * (within * (half - 1) / half + between) / between


@eqx.filter_jit
def long_chains(
    problem: Problem,
    n_steps: int = 500,
    *,
    key: Array,
    n_chains: int = 16,
    n_leaps: int = 6,
    acceptance: float = 0.8,
) -> Chains:
    """Hamiltonian Monte Carlo in the posterior of one window (Duane et al. 1987).

    Each chain begins at a 4DVar of its own, with perturbed background and observations, in
    whatever valley that finds, unless that valley is too high to be likely to have mass.
    Steps of `n_leaps` leaps go along the gradient of the cost, in a control space in which the
    Gaussian at the mode is the standard one. The first half of the `n_steps`, in which the
    step size settles at an `acceptance`, is not kept. Whether the chains have met is for
    `r_hat` to say: do not use them where it is far above 1. Raises as `exact_posterior` does.
    """
    _check(problem, key)
    # Half chains of what is kept have two states or more, and so a variance.
    require.count(8, n_steps=n_steps)
    require.count(2, n_chains=n_chains)
    require.count(n_leaps=n_leaps)
    method = StrongFourDVar.of(problem)
    window = method.window(problem.observations)
    k_members, k_steps = jax.random.split(key)
    mode = method.solve(problem.observations).x0
    centre = window.control_of(mode)
    U, lowest = hessian_factor(window, centre), _cost(window, centre)

    def first(key):
        k_background, k_noise = jax.random.split(key)
        draw = jax.random.normal(k_background, centre.shape, centre.dtype)
        noise = jax.random.normal(k_noise, problem.observations.values.shape, centre.dtype)
        own = replace(method, prior_mean=window.initial_state(draw), n_starts=1)
        seen = problem.observations.with_errors(noise)
        # Each grows its window from its own background, and may end in a valley of its own.
        chi = window.control_of(own.solve(seen).x0)
        # The cost of a draw lies half its chi-square above the minimum. Higher there is hardly
        # any mass, if the valleys are about as wide.
        half = centre.size / 2
        return jax.lax.cond(
            _cost(window, chi) < lowest + half + 3 * half**0.5,
            lambda: chi,
            lambda: window.control_of(own.solve(seen, mode).x0),
        )

    starts = jax.lax.map(first, jax.random.split(k_members, n_chains))

    def control(z):
        return centre + jax.scipy.linalg.solve_triangular(U, z)

    slope = jax.vmap(jax.value_and_grad(lambda z: _cost(window, control(z))))

    def step(carry, number_and_key):
        (number, key), (z, cost, gradient, log_size) = number_and_key, carry
        k_velocity, k_size, k_accept = jax.random.split(key, 3)
        # Sizes that differ keep the leaps from closing a circle.
        size = jnp.exp(log_size) * jax.random.uniform(k_size, minval=0.7, maxval=1.3)

        def leap(_, moving):
            z, v, _, gradient = moving
            v = v - size / 2 * gradient
            z = z + size * v
            cost, gradient = slope(z)
            return z, v - size / 2 * gradient, cost, gradient

        v = jax.random.normal(k_velocity, z.shape, z.dtype)
        z_new, v_new, cost_new, gradient_new = jax.lax.fori_loop(
            0, n_leaps, leap, (z, v, cost, gradient)
        )
        lost = cost_new - cost + 0.5 * jnp.sum(v_new**2 - v**2, axis=1)
        chance = jnp.where(jnp.isfinite(lost), jnp.exp(-jnp.maximum(lost, 0)), 0)
        taken = jax.random.uniform(k_accept, chance.shape, z.dtype) < chance
        z = jnp.where(taken[:, None], z_new, z)
        gradient = jnp.where(taken[:, None], gradient_new, gradient)
        settling = (chance.mean() - acceptance) / jnp.sqrt(1.0 + number)
        log_size = log_size + jnp.where(number < n_steps // 2, settling, 0)
        return (z, jnp.where(taken, cost_new, cost), gradient, log_size), (z, chance.mean())

    z = (starts - centre) @ U.T
    start = (z, *slope(z), jnp.log(jnp.asarray(0.3, z.dtype)))
    keys = jax.random.split(k_steps, n_steps)
    end, (z, chances) = jax.lax.scan(step, start, (jnp.arange(n_steps), keys))
    kept = n_steps // 2
    states = jax.vmap(jax.vmap(lambda z: window.initial_state(control(z))))(z[kept:])
    return Chains(states, jnp.exp(end[3]), chances[kept:].mean())


def _cost(window: WindowCost, chi: Float[Array, " n"]) -> Float[Array, ""]:
    """The cost of the whole window, by loops that can be differentiated backwards."""
    times = window.observations.times
    states = free_forecast(window.forward, window.initial_state(chi), times[-1])
    d = jax.vmap(window.departure)(jnp.arange(len(times)), states[jnp.array(times)])
    return 0.5 * chi @ chi + 0.5 * jnp.sum(d**2)


def _check(problem: Problem, key: Array) -> None:
    require.is_a(Problem, "a Problem, or what a generator returns", problem=problem)
    require.key(key=key)
    if problem.Q_op_state is not None:
        raise ValueError(
            "problem.Q_op_state is a covariance of model errors: pass a problem with a perfect "
            "model, whose first state says all."
        )
