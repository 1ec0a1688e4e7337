"""A sweep gives the same answer on one device and on several."""

import os
import socket
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


LOCAL = """
import sys
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

path, rank, port = sys.argv[1:]
if rank != "alone":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(rank))
import assimilation as da

mesh = Mesh(np.array(jax.devices()), ("sites",))
everywhere = NamedSharding(mesh, PartitionSpec())
states = np.random.default_rng(0).normal(size=(6, 600)).astype(np.float32)
observe = da.NonlinearObs(lambda x: jax.lax.with_sharding_constraint(x[::2], everywhere))
seen = da.Observations((0,), states[:1, ::2] + 0.5, observe, 1.0)
background = da.Background(np.zeros(600), da.scaled_identity(1.0, 600))
problem = da.Problem(da.Lorenz96Forward(K=600), background, seen)
near = da.Localisation.on_ring(da.Ring(600, (1,)), np.arange(0, 600, 2), 3.0)
method = da.LETKF.of(problem, localisation=near, n_members=6, batch_size=128)
by_site = NamedSharding(mesh, PartitionSpec(None, "sites"))
spread = jax.make_array_from_callback(states.shape, by_site, lambda index: states[index])
members = jax.jit(
    lambda x: method.analyse(da.Members.alike(x), seen, jax.random.key(1)).members
)(spread)
if rank != "alone":
    members = multihost_utils.process_allgather(members, tiled=True)
np.savez(path, devices=len(jax.devices()), members=members)
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


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("localhost", 0))
        return str(any_port.getsockname()[1])


def test_local_analyses_in_two_processes_agree_with_one(tmp_path):
    environment = {
        **os.environ,
        "NPROC": "4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(da.__file__).parents[1]),
    }
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", LOCAL, str(tmp_path / f"{rank}.npz"), rank, port],
            env=environment,
        )
        for rank in ("0", "1", "alone")
    ]
    try:
        assert [each.wait(timeout=120) for each in running] == [0, 0, 0]
    finally:
        for each in running:
            each.kill()
    first, second, alone = (np.load(tmp_path / f"{rank}.npz") for rank in ("0", "1", "alone"))
    assert alone["devices"] == 1
    for each in (first, second):
        assert each["devices"] == 2
        np.testing.assert_allclose(each["members"], alone["members"], atol=1e-5)
    assert np.abs(alone["members"]).max() > 0.1
