"""A problem of one's own: a model, what is seen of it, strong 4DVar, and a score with its interval.

Hares and lynxes, as logarithms of their numbers; all that is counted is how many there are in all.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import assimilation as da


class Predation(eqx.Module):
    effects: jax.Array
    dt: float = eqx.field(default=0.05, static=True)

    def step(self, state, dt):
        return da.rk4_step(lambda x: self.effects @ (jnp.exp(x) - 1), state, dt)


def run(n_problems=64):
    forward = Predation(jnp.array([[0.0, -1.0], [1.0, 0.0]]))
    settings = {"T_assim": 100, "T_total": 200, "obs_every": 10, "error": 0.1}
    settings["start"] = lambda key: 0.5 * jax.random.normal(key, (2,))
    settings["operator"] = da.NonlinearObs(lambda x: jnp.exp(x).sum(keepdims=True))
    keys = jax.random.split(jax.random.key(0), n_problems)
    problems = jax.vmap(lambda key: da.twin(forward, key=key, **settings))(keys)
    return da.sweep("4DVar", lambda p: da.StrongFourDVar.of(p).solve(p.observations), problems)


if __name__ == "__main__":
    result = run()
    low, high = result.interval()
    print(f"RMSE {result.mean():.4f}, between {low:.4f} and {high:.4f}")
