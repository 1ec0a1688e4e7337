"""Simulated training pairs: a pool of long runs, and windows drawn fresh from it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.covariances.ring import Ring, ring_or_one_site
from assimilation.covariances.roots import square_root
from assimilation.models.integrate import free_forecast, spun_up
from assimilation.observations.batch import Batch1D
from assimilation.observations.window import Observations
from assimilation.problems import Problem


class WindowPool(eqx.Module):
    """Long runs, and how a window of one is observed.

    `runs` (n_runs, n_times, D) train, `held_out_runs` validate. A window is observed as
    `observed` was, with errors of its own. Row s of `rotations` lists the entries of a
    state in an order that moves the ring and leaves the mask as it is; the first row moves
    nothing.
    """

    runs: Float[Array, "n_runs n_times D"]
    held_out_runs: Float[Array, "n_held_out n_times D"]
    observed: Observations
    rotations: Int[Array, "n_rotations D"]

    def draw(self, key: Array, size: int) -> Batch1D:
        """`size` windows with fresh places, rotations and errors; under `jit` too."""
        return self._draw(self.runs, key, size)

    def held_out(self, key: Array, size: int) -> Batch1D:
        """The same from the runs that `draw` never uses."""
        return self._draw(self.held_out_runs, key, size)

    def _draw(self, runs, key, size):
        k_run, k_time, k_turn, k_noise = jax.random.split(key, 4)
        n_runs, n_times, n_entries = runs.shape
        n_window = self.observed.T_assim + 1
        run = jax.random.randint(k_run, (size,), 0, n_runs)
        first = jax.random.randint(k_time, (size,), 0, n_times - n_window + 1)
        turn = jax.random.randint(k_turn, (size,), 0, len(self.rotations))
        # Only at the observed times: random numbers for all of them would take longer than
        # everything else here.
        white = jax.random.normal(k_noise, (size, *self.observed.values.shape), runs.dtype)
        times = jnp.array(self.observed.times)

        def window(run, first, turn, white):
            states = jax.lax.dynamic_slice(runs, (run, first, 0), (1, n_window, n_entries))[0]
            states = states[:, self.rotations[turn]]
            exact = jax.vmap(self.observed.operator)(states[times], times)
            exact = jnp.where(self.observed.mask > 0, exact, 0)
            seen = eqx.tree_at(lambda o: o.values, self.observed, exact).with_errors(white)
            return *seen.dense(), states

        return Batch1D(*jax.vmap(window)(run, first, turn, white))


class TrainingData(eqx.Module):
    """The settings of a pool, from which `simulate` makes it.

    Everything that a training set depends on, and nothing large: equal settings give an
    equal pool. Of `problem` it uses the model, the background, and how the window was
    observed. The runs start from draws of the background and are spun up for `n_spin_up`
    steps; `n_runs` of `n_steps` steps train, and `n_held_out` more validate. `key` draws
    the starts. With a `ring`, on which the state itself is observed, windows are turned by
    each rotation that leaves the mask as it is.
    """

    problem: Problem
    key: Array
    ring: Ring | None = eqx.field(default=None, static=True)
    n_runs: int = eqx.field(default=128, static=True)
    n_steps: int = eqx.field(default=4000, static=True)
    n_held_out: int = eqx.field(default=16, static=True)
    n_spin_up: int = eqx.field(default=2000, static=True)

    def __check_init__(self):
        problem = self.problem
        if not isinstance(problem, Problem) or jnp.ndim(problem.background.mean) != 1:
            raise TypeError(
                "problem is not one problem: pass what a generator returns for one key, "
                "such as generate_l96_2l_problem(key=jax.random.key(0))."
            )
        require.key(key=self.key)
        require.count(n_runs=self.n_runs, n_held_out=self.n_held_out)
        require.count(problem.T_assim, n_steps=self.n_steps)
        require.count(0, n_spin_up=self.n_spin_up)
        ring_or_one_site(self.ring, problem.D)
        n_values = problem.observations.values.shape[1]
        if self.ring is not None and n_values != problem.D:
            raise ValueError(
                f"ring turns windows of {problem.D} entries, and {n_values} values are observed "
                "at a time: pass ring=None."
            )

    @property
    def observed(self) -> Observations:
        """How a window is observed, with zeros for its values."""
        seen = self.problem.observations
        return eqx.tree_at(lambda o: o.values, seen, jnp.zeros_like(seen.values))

    def settings(self) -> tuple[Any, ...]:
        """What tells this training set from another one, without the problem's truth."""
        counts = (self.n_runs, self.n_steps, self.n_held_out, self.n_spin_up)
        problem = self.problem
        return (problem.forward, problem.background, self.observed, self.key, self.ring, counts)

    def simulate(self) -> WindowPool:
        """Run the model. Raises FloatingPointError if a run overflows."""
        forward, background = self.problem.forward, self.problem.background
        root = square_root(background.covariance)
        draws = (self.n_runs + self.n_held_out, root.in_size())
        controls = jax.random.normal(self.key, draws, background.mean.dtype)

        @jax.jit
        def run(controls):
            def one(chi):
                start = background.mean + root.mv(chi)
                start = spun_up(forward, start, self.n_spin_up)
                return free_forecast(forward, start, self.n_steps)

            return jax.vmap(one)(controls)

        runs = run(controls)
        if not bool(jnp.isfinite(runs[:, -1]).all()):
            raise FloatingPointError(
                "the training runs overflowed from draws of the background: pass a problem "
                "with background='climatology'."
            )
        still = np.arange(self.problem.D)[None]
        turns = still if self.ring is None else self.ring.rotations(self.problem.mask)
        held_out, train = runs[self.n_runs :], runs[: self.n_runs]
        return WindowPool(train, held_out, self.observed, jnp.asarray(turns))
