"""Simulated training pairs: a pool of long runs, and windows drawn fresh from it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation import checks
from assimilation.climatology import Ring, spun_up
from assimilation.covariances import square_root
from assimilation.models.integrate import free_forecast
from assimilation.observations import Batch1D, observation_variance
from assimilation.problems import Problem


class WindowPool(eqx.Module):
    """Long runs, and how a window of one is observed.

    `runs` (n_runs, n_times, D) train, `held_out_runs` validate. A window is as long as
    `mask` (T, D); each value that the mask shows gets a normal error of standard
    deviation `obs_std` (D,). Row s of `rotations` lists the entries of a state in an
    order that moves the ring and leaves the mask as it is; the first row moves nothing.
    """

    runs: Float[Array, "n_runs n_times D"]
    held_out_runs: Float[Array, "n_held_out n_times D"]
    mask: Float[Array, "T D"]
    obs_std: Float[Array, " D"]
    rotations: Int[Array, "n_rotations D"]

    def draw(self, key: Array, size: int) -> Batch1D:
        """`size` windows with fresh places, rotations and errors; under `jit` too."""
        return self._draw(self.runs, key, size)

    def held_out(self, key: Array, size: int) -> Batch1D:
        """The same from the runs that `draw` never uses."""
        return self._draw(self.held_out_runs, key, size)

    def _draw(self, runs, key, size):
        k_run, k_time, k_turn, k_noise = jax.random.split(key, 4)
        n_runs, n_times, _ = runs.shape
        shape = self.mask.shape
        run = jax.random.randint(k_run, (size,), 0, n_runs)
        first = jax.random.randint(k_time, (size,), 0, n_times - shape[0] + 1)
        turn = jax.random.randint(k_turn, (size,), 0, len(self.rotations))

        def window(run, first, turn):
            states = jax.lax.dynamic_slice(runs, (run, first, 0), (1, *shape))[0]
            return states[:, self.rotations[turn]]

        target = jax.vmap(window)(run, first, turn)
        noise = self.obs_std * jax.random.normal(k_noise, target.shape, target.dtype)
        mask = jnp.broadcast_to(self.mask, target.shape)
        return Batch1D(input=mask * (target + noise), mask=mask, target=target)


class TrainingData(eqx.Module):
    """The settings of a pool, from which `simulate` makes it.

    Everything that a training set depends on, and nothing large: equal settings give an
    equal pool. Of `problem` it uses what a method may see: the model, the background,
    the mask and the observation errors. The runs start from draws of the background and
    are spun up for `n_spin_up` steps; `n_runs` of `n_steps` steps train, and `n_held_out`
    more validate. `key` draws the starts. With a `ring`, windows are turned by each
    rotation that leaves the mask as it is.
    """

    problem: Problem
    key: Array
    ring: Ring | None = eqx.field(default=None, static=True)
    n_runs: int = eqx.field(default=128, static=True)
    n_steps: int = eqx.field(default=4000, static=True)
    n_held_out: int = eqx.field(default=16, static=True)
    n_spin_up: int = eqx.field(default=2000, static=True)

    def __check_init__(self):
        if not isinstance(self.problem, Problem) or jnp.ndim(self.problem.truth) != 2:
            raise TypeError(
                "problem is not one problem: pass what a generator returns for one key, "
                "such as generate_l96_2l_problem(key=jax.random.key(0))."
            )
        checks.key(key=self.key)
        checks.count(n_runs=self.n_runs, n_held_out=self.n_held_out)
        checks.count(self.problem.T_assim, n_steps=self.n_steps)
        checks.count(0, n_spin_up=self.n_spin_up)
        if self.ring is not None and self.ring.by_site().size != self.problem.D:
            raise ValueError(
                f"ring has {self.ring.by_site().size} entries and the state "
                f"{self.problem.D}: pass Ring(K, (1,)), or Ring(K, (1, J)) with two levels."
            )

    def settings(self) -> tuple[Any, ...]:
        """What tells this training set from another one, without the problem's truth."""
        problem = self.problem
        counts = (self.n_runs, self.n_steps, self.n_held_out, self.n_spin_up)
        background = (problem.prior_mean_state, problem.B_op_state)
        observing = (problem.mask, problem.R_op_state)
        return (problem.forward, *background, *observing, self.key, self.ring, counts)

    def simulate(self) -> WindowPool:
        """Run the model. Raises FloatingPointError if a run overflows."""
        problem = self.problem
        root = square_root(problem.B_op_state)
        draws = (self.n_runs + self.n_held_out, root.in_size())
        controls = jax.random.normal(self.key, draws, problem.mask.dtype)

        @jax.jit
        def run(controls):
            def one(chi):
                start = problem.prior_mean_state + root.mv(chi)
                start = spun_up(problem.forward, start, self.n_spin_up)
                return free_forecast(problem.forward, start, self.n_steps)

            return jax.vmap(one)(controls)

        runs = run(controls)
        if not bool(jnp.isfinite(runs[:, -1]).all()):
            raise FloatingPointError(
                "the training runs overflowed from draws of the background: pass a problem "
                "with background='climatology'."
            )
        return WindowPool(
            runs=runs[: self.n_runs],
            held_out_runs=runs[self.n_runs :],
            mask=problem.mask,
            obs_std=jnp.sqrt(observation_variance(problem.R_op_state)),
            rotations=rotations_of(problem.mask, self.ring),
        )


def ring_of(forward: Any) -> Ring | None:
    """The ring that a forward model lives on: K sites, with J more entries each, or None."""
    if not hasattr(forward, "K"):
        return None
    return Ring(forward.K, (1, forward.J) if hasattr(forward, "J") else (1,))


def rotations_of(mask: Float[Array, "T D"], ring: Ring | None) -> Int[Array, "n_rotations D"]:
    """The rotations of the ring that leave `mask` as it is, as orders of the entries."""
    mask = np.asarray(mask)
    orders = [np.arange(mask.shape[1])]
    if ring is not None:
        sites = ring.by_site()
        for shift in range(1, ring.n_sites):
            order = np.empty(sites.size, dtype=int)
            order[sites] = np.roll(sites, -shift, axis=0)
            if (mask[:, order] == mask).all():
                orders.append(order)
    return jnp.asarray(np.stack(orders))
