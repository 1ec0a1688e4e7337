"""Localisation: what is far apart is taken as uncorrelated.

One tool for three uses: local analyses of members (LETKF), tapered ensemble covariances
(EnVar) and covariances on a ring (`ring_taper` there).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.covariances.ring import Ring
from assimilation.models.integrate import Parameter


class Localisation(eqx.Module):
    """Where the entries of a state and its observations are, and how far each one reaches.

    `state` (D, k) and `observed` (N, k) are coordinates; `period` is the length of the
    circle that the coordinates lie on, or None for a line or a plane. The weight of an
    observation fades with its distance as the function of Gaspari & Cohn (1999) with half-
    support `radius`: it is zero from 2 `radius` on. `radius` is a leaf, to differentiate.

    What is in reach is found once, when the localisation is built: `neighbours` (D, n)
    lists the observations within twice `reach` (None: the radius), with -1 for none. So
    memory is linear in the state. A larger `reach` leaves room for a radius to be learned in.
    """

    state: Float[Array, "D k"]
    observed: Float[Array, "N k"]
    neighbours: Int[Array, "D n"]
    radius: Parameter
    period: float | None = eqx.field(static=True)

    def __init__(self, state, observed, radius, period=None, reach=None):
        require.positive(radius=radius)
        if period is not None:
            require.positive(period=period)
        state, observed = _coordinates(state=state), _coordinates(observed=observed)
        require.shape(("N", state.shape[1]), observed=observed)
        self.state, self.observed = jnp.asarray(state, float), jnp.asarray(observed, float)
        self.radius, self.period = radius, period
        reach = radius if reach is None else reach
        if not require.is_concrete(reach):
            raise TypeError("radius is traced: pass reach=, a number that it will not exceed.")
        require.positive(reach=reach)
        self.neighbours = jnp.asarray(_within(state, observed, 2 * float(reach), period))

    @classmethod
    def on_ring(
        cls,
        ring: Ring,
        observed: Int[Array | np.ndarray, " N"],
        radius: float | Float[Array, ""],
        reach: float | None = None,
    ) -> "Localisation":
        """For a state on a ring, of which the entries `observed` (N,) are seen; in sites.

        The entries of one site stand between it and the next, in equal steps.
        """
        require.is_a(Ring, "Ring(n_sites, per_site)", ring=ring)
        places = ring_coordinates(ring)
        observed = np.asarray(observed)
        if not (np.issubdtype(observed.dtype, np.integer) and observed.ndim == 1):
            raise ValueError(
                f"observed is an array of shape {observed.shape} and dtype {observed.dtype}: "
                "pass the indices (N,) of the entries that are seen."
            )
        if observed.size and not (observed.min() >= 0 and observed.max() < ring.size):
            raise ValueError(f"observed holds indices outside the state (0 to {ring.size - 1}).")
        return cls(places, places[observed], radius, float(ring.n_sites), reach)

    def weights(
        self, place: Float[Array, " k"], neighbours: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """The weights of a place's neighbours, 0 to 1."""
        away = distance(place, self.observed[neighbours], self.period)
        return jnp.where(neighbours >= 0, gaspari_cohn(away / self.radius), 0)


def ring_coordinates(ring: Ring) -> Float[np.ndarray, "D 1"]:
    """Where on a ring each entry of a state stands, in sites."""
    blocks = [
        (np.arange(ring.n_sites)[:, None] + np.arange(size) / size).ravel()
        for size in ring.per_site
    ]
    return np.concatenate(blocks)[:, None]


def distance(
    place: Float[Array, " k"], others: Float[Array, "n k"], period: float | None
) -> Float[Array, " n"]:
    """The distances (n,) from a place, the shorter way round where there is a `period`."""
    apart = jnp.abs(others - place)
    if period is not None:
        apart = jnp.minimum(apart % period, period - apart % period)
    squared = jnp.sum(apart**2, axis=-1)
    # The root has no derivative at zero.
    return jnp.sqrt(jnp.where(squared > 0, squared, 1)) * (squared > 0)


def gaspari_cohn(
    distance: Float[Array | np.ndarray, "..."],
) -> Float[Array | np.ndarray, "..."]:
    """A correlation like a Gaussian that is zero from distance 2 on.

    The piecewise fifth-order polynomial of Gaspari & Cohn (1999, eq. 4.10), for
    distances in units of half its support. Close to exp(-distance^2 / 0.6).
    """
    xp = np if isinstance(distance, np.ndarray) else jnp
    r = xp.abs(distance)
    near = 1 + r**2 * (-5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4)))
    s = xp.clip(r, 1, 2)
    far = 4 - 2 / (3 * s) + s * (-5 + s * (5 / 3 + s * (5 / 8 + s * (-1 / 2 + s / 12))))
    return xp.where(r <= 1, near, far)


def ring_taper(n_sites: int, length: float) -> Float[np.ndarray, " n_sites"]:
    """Correlations (n_sites,) that fade with distance around a ring; 1 at distance 0.

    The function of Gaspari & Cohn with half-support `length` (in sites), wrapped around
    the ring as often as it reaches. The Fourier transform of that function is nowhere
    negative, so by Poisson's summation formula the wrapped one has no negative
    coefficient either: it is a covariance on the ring for every length.
    """
    require.count(n_sites=n_sites)
    require.positive(length=length)
    turns = np.arange(-int(np.ceil(2 * length / n_sites)), int(np.ceil(2 * length / n_sites)) + 1)
    taper = gaspari_cohn((np.arange(n_sites) + n_sites * turns[:, None]) / length).sum(axis=0)
    return taper / taper[0]


def _coordinates(**arguments) -> Float[np.ndarray, "n k"]:
    """Coordinates (n, k), from places on a line (n,) too; not traced, as they say who is near."""
    ((name, value),) = arguments.items()
    if not require.is_concrete(value):
        raise TypeError(f"{name} is traced: build the localisation outside of jit and vmap.")
    require.array(name, value)
    value = np.asarray(value, float)
    value = value[:, None] if value.ndim == 1 else value
    require.shape(("n", "k"), **{name: value})
    require.finite(**{name: value})
    return value


def _within(
    places: np.ndarray, others: np.ndarray, radius: float, period: float | None
) -> Int[np.ndarray, "D n"]:
    """The indices of the `others` within a radius of each place, filled up with -1."""
    from scipy.spatial import KDTree

    if period is not None:
        places, others = places % period, others % period
    # Rounding must not move a point out of reach: its weight says whether it counts.
    found = KDTree(others, boxsize=period).query_ball_point(places, radius * 1.0001)
    longest = max(1, max(map(len, found)))
    neighbours = np.full((len(places), longest), -1)
    for row, indices in zip(neighbours, found, strict=True):
        row[: len(indices)] = sorted(indices)
    return neighbours
