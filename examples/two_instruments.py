"""3DVar, cycled, with two instruments: stations, and a radiometer at other times.

The stations see every second site of Lorenz-96. The radiometer sees means over two sites, and
the errors of its neighbouring channels are correlated: its R is a full matrix.
"""

import jax
import jax.numpy as jnp
import numpy as np

import assimilation as da

K, STEPS_BETWEEN, N_CHANNELS = 40, 5, 20


def stations(truth, key, n_steps):
    times = range(0, n_steps, 2 * STEPS_BETWEEN)
    operator = da.LinearObs(jnp.eye(K)[::2])
    exact = jax.vmap(lambda t: operator(truth[t], t))(jnp.array(times))
    seen = da.Observations(times, exact, operator, 0.5, T_assim=n_steps - 1)
    return seen.with_errors(jax.random.normal(key, exact.shape))


def radiometer(truth, key, n_steps):
    times = range(STEPS_BETWEEN, n_steps, 2 * STEPS_BETWEEN)
    operator = da.LinearObs(np.kron(np.eye(N_CHANNELS), [[0.5, 0.5]]))
    exact = jax.vmap(lambda t: operator(truth[t], t))(jnp.array(times))
    distance = np.abs(np.subtract.outer(np.arange(N_CHANNELS), np.arange(N_CHANNELS)))
    R = da.dense(0.2**2 * 0.6**distance)
    seen = da.Observations(times, exact, operator, R, T_assim=n_steps - 1)
    return seen.with_errors(jax.random.normal(key, exact.shape))


def run(n_steps=1000):
    """RMSE of the cycled analyses, by what they were made from."""
    forward = da.Lorenz96Forward(K=K)
    climate = da.climatology_l96(forward)
    k_stations, k_radiometer = jax.random.split(jax.random.key(0))
    truth = da.free_forecast(forward, jnp.asarray(climate.samples[0]), n_steps)
    seen = {
        "stations": stations(truth, k_stations, n_steps),
        "radiometer": radiometer(truth, k_radiometer, n_steps),
    }
    seen["both"] = da.Observations.combined(seen["stations"], seen["radiometer"])
    # A short forecast is better than climatology: its covariance, made smaller, and local.
    covariance = da.RingCovariance.from_samples(climate.samples, da.Ring.of(forward), 3.0)
    background = da.Background(climate.mean, da.scaled(covariance, 0.1))
    errors = {"climatology": climate.std}
    for name, observations in seen.items():
        problem = da.Problem(forward, background, observations)
        cycle = da.cycle(da.ThreeDVar.of(problem), problem)
        late = slice(len(cycle.starts) // 5, None)
        analyses, starts = cycle.analyses.x0[late], cycle.starts[late]
        errors[name] = float(da.rmse(analyses, truth[starts]))
    return errors


if __name__ == "__main__":
    for name, error in run().items():
        print(f"{name:12s} {error:.3f}")
