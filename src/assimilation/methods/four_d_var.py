"""What the 4DVars share, and the strong one: the model holds exactly."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.methods.analysis import Analysis
from assimilation.methods.growing_window import Minimiser, credible, grown, last_row
from assimilation.methods.levenberg_marquardt import Minimum, levenberg_marquardt
from assimilation.methods.method import Method, diagnostics, window_key
from assimilation.methods.window_cost import WindowCost
from assimilation.models.integrate import ForwardModel
from assimilation.observations.operators import ObsOperator
from assimilation.observations.window import Observations


class FourDVar(Method):
    """A 4DVar, but for its minimiser: see `StrongFourDVar` for the arguments."""

    forward: ForwardModel
    prior_mean: Float[Array, " D"]
    prior_cov_op: lx.AbstractLinearOperator
    obs_op: ObsOperator | None = None
    obs_cov_op: lx.AbstractLinearOperator | None = None
    rtol: float = eqx.field(default=1e-3, static=True)
    grow_window: bool = eqx.field(default=True, static=True)
    n_starts: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        require.forward_model(self.forward)
        self.check_background()
        require.count(n_starts=self.n_starts, max_steps=self.n_iterations)
        require.positive(rtol=self.rtol)
        require.key(key=self.key)

    @property
    @abstractmethod
    def n_iterations(self) -> int:
        """The largest number of steps of one minimisation."""

    @abstractmethod
    def minimiser(self, window: WindowCost) -> Minimiser:
        """How the cost of a window is minimised."""

    def window(self, observations: Observations) -> WindowCost:
        """The strong cost of a window."""
        self.check_observations(observations)
        root, inverse_root = square_root(self.prior_cov_op), observations.inverse_root()
        return WindowCost(self.forward, self.prior_mean, root, observations, inverse_root)

    @eqx.filter_jit
    def solve(
        self, observations: Observations, first_guess: Float[Array, " D"] | None = None
    ) -> Analysis:
        """The analysis of one window.

        A `first_guess` (D,) is an initial state to start from, with the whole window at
        once; where it does not lead to a credible cost, the other starts follow.
        """
        window = self.window(observations)
        best = self.best_of_starts(window, first_guess)
        return Analysis(window.initial_state(best.chi), diagnostics=diagnostics(best, observations))

    def best_of_starts(self, window: WindowCost, first_guess: Float[Array, " D"] | None) -> Minimum:
        """Try one start after another until the cost is credible; keep the lowest cost.

        The first start is the background, or else `first_guess` with the whole window at
        once; the others are drawn from the background.
        """
        mask = window.observations.mask
        key = window_key(self.key, window.observations.values)
        zero = jnp.zeros(window.root.in_size(), mask.dtype)
        first = zero if first_guess is None else window.control_of(first_guess)

        def another(carry):
            number, best, _ = carry
            drawn = jax.random.normal(jax.random.fold_in(key, number), zero.shape, zero.dtype)
            found = grown(
                window,
                self.minimiser(window),
                chi=jnp.where(number == 0, first, drawn),
                at_once=(number == 0) & (first_guess is not None) | (not self.grow_window),
                to_the_end=number == self.n_starts - 1,
                max_steps=self.n_iterations,
                rtol=self.rtol,
            )
            # At the same cost too: a start at its own minimum has converged there.
            better = found.cost <= best.cost
            chosen = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best)
            best = chosen._replace(
                iterations=best.iterations + found.iterations, runs=best.runs + found.runs
            )
            return number + 1, best, 2 * best.cost <= credible(mask.sum())

        nothing = Minimum.start(first, self.n_iterations, window.cost(first, last_row(mask)))
        start = (jnp.zeros((), jnp.int32), nothing, jnp.zeros((), bool))
        return jax.lax.while_loop(
            lambda carry: (carry[0] < self.n_starts) & ~carry[2], another, start
        )[1]


class StrongFourDVar(FourDVar):
    """Strong-constraint 4DVar with a window that grows, and several starts.

    Minimises the cost of Talagrand & Courtier (1987, eq. 2.1) with a background term,
    over the control variable chi: x_0 = x_b + L chi, B = L L^T, by damped Gauss-Newton
    steps that must lower the cost. Over a long window a chaotic model gives it many local
    minima. So the window grows by one observation time at a time, each minimum being the
    next first guess (Pires, Vautard & Talagrand 1996). At the right minimum 2 J is
    chi-square with one degree of freedom an observation: where it lies more than three
    standard deviations above its mean, the start is given up and another one drawn from
    the background, up to `n_starts` in all. The lowest cost wins.

    `prior_mean` (D,) is the background at the first time of the window, `prior_cov_op` its
    covariance B. `obs_op` and `obs_cov_op` say what the values of a dense batch are. One
    minimisation takes at most `max_steps` steps and ends when a step lowers the cost by
    less than a fraction `rtol`. `grow_window=False` goes for the whole window at once.
    `key`, with the window's observations, draws the further starts.
    """

    max_steps: int = eqx.field(default=60, static=True)

    @property
    def n_iterations(self) -> int:
        return self.max_steps

    def minimiser(self, window: WindowCost) -> Minimiser:
        return lambda chi, last, max_steps, rtol, damping: levenberg_marquardt(
            lambda chi: window.cost(chi, last),
            lambda chi: window.linearise(chi, last),
            chi,
            self.max_steps,
            max_steps,
            rtol,
            damping,
            linearisation_runs=1 + chi.size,
        )
