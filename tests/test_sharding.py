"""A sweep gives the same answer on one device and on several."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import assimilation as da

SCRIPT = """
import sys
import jax
import numpy as np
import assimilation as da

def strong(problem):
    return da.StrongFourDVar.of(problem).solve(problem.observations)

def oi(problem):
    return da.OptimalInterpolation.of(problem).solve(problem.observations)

path = sys.argv[1]
keys = jax.random.split(jax.random.key(7), 6)
problems = jax.jit(jax.vmap(lambda key: da.generate_problem(key=key, T_assim=10, T_total=15)))(keys)
alone = jax.tree.map(lambda leaf: leaf[:1], problems)
found = {"devices": len(jax.devices())}
# Neither number of problems is a multiple of four, and one is smaller.
for name, method, batch in (("strong", strong, problems), ("alone", oi, alone)):
    result = da.sweep(name, method, batch)
    found[name] = result.trajectories
    found[name + "_rmse"] = result.scores["rmse_total"]
    found[name + "_cost"] = result.analysis.diagnostics.cost
np.savez(path, **found)
"""


def on_devices(n_devices, folder):
    """What the sweeps give in a process with `n_devices` devices."""
    path = folder / f"{n_devices}.npz"
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": str(n_devices),
        # With no more threads than devices XLA waits for itself.
        "NPROC": str(2 * n_devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(da.__file__).parents[1]),
    }
    subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path)], env=environment, check=True
    )
    return np.load(path)


def test_four_devices_agree_with_one(tmp_path):
    one, four = on_devices(1, tmp_path), on_devices(4, tmp_path)
    assert one["devices"] == 1
    assert four["devices"] == 4
    assert four["strong"].shape == (6, 16, 3)
    assert four["alone"].shape == (1, 16, 3)
    for name in ("strong", "strong_rmse", "strong_cost", "alone", "alone_rmse"):
        np.testing.assert_allclose(four[name], one[name], rtol=1e-4, atol=1e-4)
