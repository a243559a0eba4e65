"""What a group's step costs: seconds for each way to run it, parameters, FLOPs, bytes."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gen_models.nn.devices import plain
from gen_models.run.job import Job, keys
from gen_models.run.room import free_memory, size_of
from gen_models.sweep.stacked import stacked_batches, stacked_numbers, stacked_step
from gen_models.training.loop import fit
from gen_models.training.program import holds


def seconds_per_step(job: Job, config: Any, how: Any, members: int, seconds: float) -> float:
    """Seconds that a step takes of one run's time, measured over `seconds` or more after compilation.

    Args:
      job: the group's.
      config: one of its configs; all members get its numbers, and seeds of their own.
      how: "one" (a run by itself), "loop" (the same with one step a call of the program, as a loop over a jitted step),
        "plain" (that with XLA's own gradients of convolutions and recurrences, on one device: JAX as it comes),
        "vmap" or "scan" (`members` runs stacked: their step's time over their number).
      members: how many are stacked.
      seconds: how long to measure at least.
    """
    seeds = [config.seed + i for i in range(members if how in ("vmap", "scan") else 1)]
    own = [keys(seed) for seed in seeds]
    numbers: Mapping[str, Any]
    if how not in ("vmap", "scan"):
        step, batches, numbers = job.step, job.batches(config.seed), job.numbers(config)
        state = job.initial(config.seed)
    else:
        step, place = stacked_step(job, members, how)
        state = place(jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * members), job.initial(config.seed)))
        batches = stacked_batches(job, seeds, [each.data for each in own])
        numbers = stacked_numbers(job, [config] * members)

    def train(state: Any, steps: int) -> Any:
        most = 1 if how in ("loop", "plain") else None
        key = own[0].data
        with plain() if how == "plain" else contextlib.nullcontext():
            return fit(
                step, state, batches, steps=steps, key=key, numbers=numbers, checkpoint_every=0, steps_per_call=most
            ).state

    done, more = 4, 8
    state = train(state, done)  # compiles
    while True:
        began = time.perf_counter()
        state = jax.block_until_ready(train(state, done + more))
        took = time.perf_counter() - began
        if took >= seconds or more >= 10_000:
            return took / more / len(seeds)
        done, more = done + more, more * max(2, min(16, int(1.3 * seconds / max(took, 1e-6))))


def cost(job: Job) -> dict[str, float]:
    """Parameters, and floating-point operations of a training step by XLA's own count before it optimises.

    Layers whose gradients are written out for CPUs are counted as XLA's own ones. XLA counts the body of a loop once:
    for a model that scans, FLOPs would be too few, and are left out.
    """
    state = job.shapes()
    found = {"parameters": float(sum(leaf.size for leaf in jax.tree.leaves(state.params)))}
    batch = job.batch_shape
    numbers = ({name: jax.ShapeDtypeStruct((), np.float32) for name in job.names},) if job.names else ()
    with plain():
        traced = jax.jit(lambda *arguments: job.step(*arguments)).trace(state, batch, *numbers)
    loops = holds(traced.jaxpr.jaxpr, lambda equation: equation.primitive.name in ("scan", "while"))
    analysis = traced.lower().cost_analysis() or {}
    if not loops and np.isfinite(analysis.get("flops", np.nan)) and analysis["flops"] > 0:
        found["FLOPs per step"] = float(analysis["flops"])
    return found


def bytes_per_member(job: Job) -> int:
    """Memory that a stacked run adds, estimated: its state twice (old and new) and its gradients and activations.

    Those are what XLA plans for one run's compiled step (`memory_analysis`).
    """
    state = job.shapes()
    numbers = ({name: jax.ShapeDtypeStruct((), np.float32) for name in job.names},) if job.names else ()
    compiled = jax.jit(job.step, donate_argnums=0).lower(state, job.batch_shape, *numbers).compile()
    planned = compiled.memory_analysis()
    temporary = 0 if planned is None else int(planned.temp_size_in_bytes)
    return 2 * size_of(state) + temporary


def available_bytes() -> int:
    """Memory that may still be used: the device's, or the host's where it is a CPU."""
    free = free_memory(len(jax.local_devices()))
    return 2**33 if free is None else free
