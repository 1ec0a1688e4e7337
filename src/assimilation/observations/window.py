"""The observations of one window: values, times, operator and errors."""

from operator import index

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.structured import EachTime
from assimilation.observations.batch import Batch1D
from assimilation.observations.operators import Fixed, ObsOperator, Time, Together, check_operator


class Observations(eqx.Module):
    """What was observed in one window, and how: y = h(x_t) + error, at the observed times.

    `times` are the n observed steps, counted from the window's first state and
    increasing; `values` (n, N) stand at them. `mask` (n, N) is 0 for values that are
    missing, which may then be anything (None: all are there). `operator(state, time)`
    gives the N values of a state (D,) without error, at the step `start + time`.
    `error` is given as a standard deviation, as a covariance operator on (N,) or on
    (n, N), or as variances (n, N) or covariances (n, N, N), one for each time; it is kept
    in one of these two last forms. The window ends at step `T_assim` (None: at the last
    observation).

    Raises ValueError for times out of order or of the window, shapes that do not fit,
    a value that is not finite where the mask has it, and an error without a positive
    variance; TypeError for an operator that cannot be called.
    """

    values: Float[Array, "n N"]
    mask: Float[Array, "n N"]
    operator: ObsOperator
    error: Float[Array, "n N"] | Float[Array, "n N N"]
    start: Time
    times: tuple[int, ...] = eqx.field(static=True)
    T_assim: int = eqx.field(static=True)

    def __init__(self, times, values, operator, error, mask=None, T_assim=None, start=0):
        self.times = _steps(times)
        self.T_assim = max(self.times, default=0) if T_assim is None else T_assim
        require.count(0, T_assim=self.T_assim)
        ordered = all(a < b for a, b in zip(self.times, self.times[1:], strict=False))
        if not (self.times and ordered and self.times[0] >= 0 and self.times[-1] <= self.T_assim):
            raise ValueError(
                f"times={self.times}: pass at least one step, in increasing order, from 0 to "
                f"T_assim={self.T_assim}."
            )
        values = require.array("values", values)
        require.shape((len(self.times), "N"), values=values)
        check_operator(operator)
        mask = jnp.ones_like(values) if mask is None else require.array("mask", mask)
        require.shape(values.shape, mask=mask)
        require.zeros_and_ones(mask=mask)
        if require.is_concrete(mask) and not np.asarray(mask).any():
            raise ValueError("mask is empty: pass at least one observation (a 1).")
        # What is missing may be anything, and must not spread.
        self.values = jnp.where(mask > 0, values, 0)
        require.finite(values=self.values)
        if not eqx.is_array(start):
            require.count(0, start=start)
        self.mask, self.operator, self.start = mask, Fixed.of(operator), start
        self.error = error_array(error, *values.shape)

    def check_state(self, size: int) -> None:
        """Raise ValueError unless the operator makes N values of a state (size,)."""
        n_values = self.values.shape[-1:]
        state = jax.ShapeDtypeStruct((size,), self.values.dtype)
        got = jax.eval_shape(self.operator, state, 0)
        if getattr(got, "shape", None) != n_values:
            raise ValueError(
                f"operator gives {getattr(got, 'shape', type(got).__name__)} from a state "
                f"({size},), and values have shape {n_values} at each time: pass an operator "
                "with one entry for each of the values."
            )

    def dense(self) -> tuple[Float[Array, "*batch T N"], Float[Array, "*batch T N"]]:
        """Values and mask (T_assim + 1, N), with zeros where nothing was observed.

        With more axes before these, if the observations are a batch of windows.
        """
        shape = (*self.values.shape[:-2], self.T_assim + 1, self.values.shape[-1])
        empty = jnp.zeros(shape, self.values.dtype)
        at = (..., np.array(self.times), slice(None))
        return empty.at[at].set(self.values), empty.at[at].set(self.mask)

    def batch(self) -> Batch1D:
        """The window as a dense batch of one."""
        values, mask = self.dense()
        return Batch1D(input=values[None], mask=mask[None])

    @classmethod
    def combined(cls, *instruments: "Observations") -> "Observations":
        """The observations of several instruments, each with its own times, as one.

        Their errors are independent of each other. Raises ValueError if their windows
        differ, TypeError for anything but Observations.
        """
        for each in instruments:
            require.is_a(cls, "Observations(...) of one instrument each", instruments=each)
        windows = sorted({each.T_assim for each in instruments})
        if len(windows) != 1:
            raise ValueError(f"instruments have T_assim={windows}: pass some, with one T_assim.")
        starts = [each.start for each in instruments]
        if require.is_concrete(starts) and any(start != starts[0] for start in starts):
            raise ValueError(f"instruments have start={starts}: pass some, with one start.")
        times = sorted({time for each in instruments for time in each.times})

        def spread(each, rows, empty):
            out = jnp.broadcast_to(empty, (len(times), *rows.shape[1:])).astype(rows.dtype)
            return out.at[np.searchsorted(times, each.times)].set(rows)

        sizes = [each.values.shape[1] for each in instruments]
        if all(each.error.ndim == 2 for each in instruments):
            error = jnp.concatenate([spread(each, each.error, 1.0) for each in instruments], axis=1)
        else:
            ends = np.cumsum(sizes)
            error = jnp.tile(jnp.eye(ends[-1]), (len(times), 1, 1))
            for each, size, end in zip(instruments, sizes, ends, strict=True):
                block = spread(each, full(each.error), jnp.eye(size))
                error = error.at[:, end - size : end, end - size : end].set(block)
        return cls(
            times,
            jnp.concatenate([spread(each, each.values, 0.0) for each in instruments], axis=1),
            Together(tuple(each.operator for each in instruments)),
            error,
            mask=jnp.concatenate([spread(each, each.mask, 0.0) for each in instruments], axis=1),
            T_assim=windows[0],
            start=starts[0],
        )

    def filled_error(self) -> Float[Array, "n N"] | Float[Array, "n N N"]:
        """The errors, with a variance of one and no covariance for each missing value."""
        if self.error.ndim == 2:
            return jnp.where(self.mask > 0, self.error, 1)
        there = self.mask[:, :, None] * self.mask[:, None, :]
        return there * self.error + jax.vmap(jnp.diag)(1 - self.mask)

    def inverse_root(self) -> Float[Array, "n N"] | Float[Array, "n N N"]:
        """R^{-1/2} of the values that are there, at each time; zero for the others.

        Standard deviations' inverses (n, N), or for full covariances lower triangles
        (n, N, N): the inverse of the Cholesky factor of R without the missing rows.
        """
        if self.error.ndim == 2:
            return self.mask / jnp.sqrt(self.error)
        eye = jnp.eye(self.mask.shape[1], dtype=self.mask.dtype)
        invert = jax.vmap(lambda L: jax.scipy.linalg.solve_triangular(L, eye, lower=True))
        factor = jnp.linalg.cholesky(self.filled_error())
        return self.mask[:, :, None] * invert(factor) * self.mask[:, None, :]

    def departure(
        self, row: Time, state: Float[Array, " D"], inverse_root: Float[Array, "n ..."]
    ) -> Float[Array, " N"]:
        """R^{-1/2} (h(x) - y) at the time of one row; zero for a value that is missing."""
        expected = self.operator(state, self.start + jnp.array(self.times)[row])
        d = jnp.where(self.mask[row] > 0, expected - self.values[row], 0)
        W = inverse_root[row]
        return W * d if W.ndim == 1 else W @ d

    def with_errors(self, white: Float[Array, "n N"]) -> "Observations":
        """The same observations plus R^{1/2} times standard normal numbers (n, N)."""
        if self.error.ndim == 2:
            errors = jnp.sqrt(self.error) * white
        else:
            errors = jax.vmap(jnp.matmul)(jnp.linalg.cholesky(self.error), white)
        return eqx.tree_at(lambda o: o.values, self, self.values + self.mask * errors)


def full(error: Float[Array, "n N"] | Float[Array, "n N N"]) -> Float[Array, "n N N"]:
    """Errors as covariances (n, N, N)."""
    return error if error.ndim == 3 else jax.vmap(jnp.diag)(error)


def _steps(times) -> tuple[int, ...]:
    """Times as whole numbers."""
    try:
        steps = tuple(index(time) for time in times)
    except TypeError:
        raise TypeError(
            f"times={times!r}: pass a sequence of whole numbers of steps, such as (0, 5, 10)."
        ) from None
    return steps


def error_array(error, n: int, size: int) -> Float[Array, "n N"] | Float[Array, "n N N"]:
    """Variances (n, N) or covariances (n, N, N), from any form in which errors are given."""
    if isinstance(error, lx.AbstractLinearOperator):
        shape = error.in_structure().shape
        if shape not in ((size,), (n, size)):
            raise ValueError(
                f"error acts on shape {shape}: pass a covariance on ({size},) or on ({n}, {size})."
            )
        if isinstance(error, EachTime):
            return error_array(error.state_op, n, size)
        if lx.is_diagonal(error):
            error = jnp.broadcast_to(lx.diagonal(error).reshape(shape), (n, size))
        elif len(shape) == 1:
            require.covariance("error", error, shape)
            error = jnp.broadcast_to(error.as_matrix(), (n, size, size))
        else:
            raise ValueError("error links several times: pass covariances (n, N, N).")
    elif np.ndim(error) == 0:
        require.positive(error=error)
        error = jnp.full((n, size), jnp.asarray(error, float) ** 2)
    error = require.array("error", error)
    if error.ndim not in (2, 3):
        raise ValueError(
            f"error has shape {error.shape}: pass a standard deviation, a covariance operator "
            f"on ({size},), variances ({n}, {size}) or covariances ({n}, {size}, {size})."
        )
    require.shape((n, size) if error.ndim == 2 else (n, size, size), error=error)
    require.variances("error", error)
    return error
