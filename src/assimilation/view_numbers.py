"""What the views show, in numbers, in double precision like the scripts of the pages."""

import functools

import numpy as np
from scipy.special import comb, ndtr

SITES, MEMBERS = 40, 16
TRUTH = np.array([5.0, 8.0, 15.0])  # a state of Lorenz-63, close to the attractor
OBSERVED_EVERY = 20  # steps of 0.01 time units
LINE = np.linspace(-8, 8, 4001)  # errors of x at the start


def ring_gain(site: float, length: float, error_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Gain and error variance (K,) at all sites, in units of the background variance.

    The correlation is the exponential of a cosine: nearly Gaussian, and a covariance on any ring.
    """
    angle, scale = 2 * np.pi / SITES, 2 * np.pi * length / SITES
    correlation = np.exp((np.cos(angle * (np.arange(SITES) - site)) - 1) / scale**2)
    gain = correlation / (1 + error_ratio**2)
    return gain, 1 - gain * correlation


def rank_shares(spread: float, bias: float) -> np.ndarray:
    """Probability of each rank of a standard normal truth among members from N(bias, spread²)."""
    truth, width = np.linspace(-8, 8, 1601, retstep=True)
    weight = width * np.exp(-(truth**2) / 2) / np.sqrt(2 * np.pi)
    below, k = ndtr((truth - bias) / spread), np.arange(MEMBERS + 1)[:, None]
    return np.sum(comb(MEMBERS, k) * below**k * (1 - below) ** (MEMBERS - k) * weight, axis=1)


@functools.cache
def costs_by_window() -> np.ndarray:
    """Cost (window, position on the line), the observations being the truth itself, sigma 0.5."""
    states, truth = np.tile(TRUTH[:, None], (1, len(LINE))), TRUTH[:, None]
    states[0] += LINE
    costs = [2 * np.sum((states - truth) ** 2, axis=0)]
    for step in range(1, 30 * OBSERVED_EVERY + 1):
        states, truth = _step(states), _step(truth)
        if step % OBSERVED_EVERY == 0:
            costs.append(costs[-1] + 2 * np.sum((states - truth) ** 2, axis=0))
    return np.array(costs)


@functools.cache
def long_run() -> np.ndarray:
    """A run of Lorenz-63 over 25 time units, (2501, 3)."""
    states = [TRUTH]
    for _ in range(2500):
        states.append(_step(states[-1]))
    return np.array(states)


def _step(state: np.ndarray, dt: float = 0.01) -> np.ndarray:
    """One RK4 step of Lorenz-63 in double precision, in which the script of the page computes."""

    def slope(state):
        x, y, z = state
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    k1 = slope(state)
    k2 = slope(state + dt / 2 * k1)
    k3 = slope(state + dt / 2 * k2)
    k4 = slope(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
