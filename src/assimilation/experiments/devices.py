"""Spread independent work over all devices: cores, GPUs or the nodes of a cluster."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.extend.core import jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def on_all_devices(function: Callable[[Any], Any], arrays: Any) -> tuple[Any, float]:
    """Run `function` on a share of `arrays` on each device; the answer, and its seconds.

    All `arrays` have the same leading axis, in which nothing may depend on anything
    else; `function` maps a slab along it to a slab of answers. The slabs are equal, so
    copies of the last entry fill the last ones up, and are dropped again at the end.
    Compilation and filling up stand outside the seconds.

    Under `jax.distributed` every process calls with the same arrays and gets the whole
    answer.
    """
    devices = jax.devices()
    n_entries = len(jax.tree.leaves(arrays)[0])
    per_device = -(-n_entries // len(devices))
    index = np.minimum(np.arange(per_device * len(devices)), n_entries - 1)
    mesh = Mesh(np.array(devices), ("entries",))
    sharded = PartitionSpec("entries")
    slabs = jax.device_put(
        jax.tree.map(lambda array: np.asarray(array)[index], arrays),
        NamedSharding(mesh, sharded),
    )
    # Traced before it meets the mesh: inside, lineax takes an array for one of another type.
    one_slab = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct((per_device, *array.shape[1:]), array.dtype), slabs
    )
    program, shape = jax.make_jaxpr(function, return_shape=True)(one_slab)

    def on_one_device(slab):
        return jax.tree.unflatten(
            jax.tree.structure(shape), jaxpr_as_fun(program)(*jax.tree.leaves(slab))
        )

    # Loops inside start from constants, which are the same on all devices: not worth a check.
    spread = jax.shard_map(
        on_one_device, mesh=mesh, in_specs=sharded, out_specs=sharded, check_vma=False
    )
    compiled = jax.jit(spread).lower(slabs).compile()
    started = time.perf_counter()
    answer = jax.block_until_ready(compiled(slabs))
    seconds = time.perf_counter() - started
    if jax.process_count() > 1:
        answer = multihost_utils.process_allgather(answer, tiled=True)
    elif len(devices) > 1:
        # Back on one device, where later computations expect their arrays.
        answer = jax.device_put(answer, devices[0])
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[:n_entries], answer), seconds
