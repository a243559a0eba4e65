"""A sampler, or another function of a model, as one file of serialised StableHLO, with its parameters inside.

The program runs with jax, numpy and flatbuffers, in a process that has neither Flax nor this package:

    program = jax.export.deserialize(bytearray(Path("sampler.stablehlo").read_bytes()))
    x = program.call(np.uint32(seed), np.zeros(n, np.uint32))  # [n, ...]

It is `model.sample` with the key `jax.random.key(seed)`. Of its second argument only the length counts: StableHLO takes
a number that shapes depend on from an argument's shape. Its random bits are Threefry's on every platform, so that
samples of one seed differ between platforms by rounding alone; a TPU rounds most, as it multiplies float32 matrices in
bfloat16 unless told otherwise.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from gen_models.core import Model, Params, Stats, TrainState
from gen_models.errors import unknown
from gen_models.files import write_bytes
from gen_models.nn.devices import plain

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # what JAX can compile for, from any of them
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def export_sampler(
    model: Model,
    params: Params,
    stats: Stats,
    *,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    count: int | None = None,
    label: int | None = None,
) -> bytes:
    """The program `(seed: uint32[], rows: uint32[n]) -> x [n, ...]`, serialised; n may be any number above 0.

    Only what sampling reads of the parameters is in it. JAX's checks of what may be serialised are all on: a model
    whose operations JAX does not promise to keep stable is refused by them.

    Args:
      model: what to sample from.
      params: for `model.sample`; see `trained_parameters`.
      stats: likewise.
      platforms: of "cpu", "cuda", "rocm" and "tpu", those on which the program can run.
      count: number of samples, for a sampler that cannot be traced without knowing it; the program is then
        `(seed: uint32[]) -> x [count, ...]`.
      label: class of all samples, for a model that is told the class.

    Raises:
      ValueError: the arguments are wrong (see `check`), the model has no sampler, it takes no label or needs one, or it
        needs a `count`.
      ImportError: flatbuffers is missing.
    """
    check(platforms, count)
    if not model.has("sample"):
        raise ValueError("the model has no samples: its family lacks the operation `sample`")
    if label is not None and "label" not in inspect.signature(model.sample).parameters:
        raise ValueError(f"the model takes no label, got {label}: its samples are of no class")

    def sample(seed, rows=None):
        key = jax.random.key(seed, impl="threefry2x32")
        n = count if rows is None else rows.shape[0]
        condition = {} if label is None else {"label": jnp.full(n, label, jnp.int32)}
        return model.sample(params, stats, key, n, **condition)

    arguments = [jax.ShapeDtypeStruct((), np.uint32)]
    if count is None:
        arguments.append(jax.ShapeDtypeStruct(jax_export.symbolic_shape("n"), np.uint32))
    try:
        with plain():  # not in the form that is fast on the CPU which happens to trace them
            exported = jax_export.export(jax.jit(sample), platforms=list(dict.fromkeys(platforms)))(*arguments)
    except (jax.errors.InconclusiveDimensionOperation, TypeError) as error:
        if count is not None:
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"the sampler needs to know the number of samples ({reason}): give a count") from error
    return bytes(exported.serialize())


def export_function(
    function: Callable[[Any], Any],
    shapes: Callable[[Any], Any],
    *,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    count: int | None = None,
) -> bytes:
    """The program of a function of n examples, serialised; n may be any number above 0, parameters are inside.

    Args:
      function: arrays with a leading axis n, in any nesting of dictionaries, tuples and lists, to arrays.
      shapes: `shapes(n)` gives the shapes and dtypes of its argument, where n may be a symbolic dimension.
      platforms: as of `export_sampler`.
      count: a fixed n, for a function that cannot be traced without knowing it.

    Raises:
      ValueError: as `check`, or the function needs a `count`.
      ImportError: flatbuffers is missing.
    """
    check(platforms, count)
    n: Any = jax_export.symbolic_shape("n")[0] if count is None else count
    try:
        with plain():
            exported = jax_export.export(jax.jit(function), platforms=list(dict.fromkeys(platforms)))(shapes(n))
    except (jax.errors.InconclusiveDimensionOperation, TypeError) as error:
        if count is not None:
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"the function needs to know the number of examples ({reason}): give a count") from error
    return bytes(exported.serialize())


def check(platforms: Sequence[str], count: int | None = None) -> None:
    """Refuse what `export_sampler` cannot do, before anything is restored or compiled.

    Raises:
      ValueError: no platform, an unknown one, or a `count` below 1.
      ImportError: flatbuffers is missing.
    """
    if not platforms:
        raise ValueError(f"no platform to export for: name some of {', '.join(PLATFORMS)}")
    for name in platforms:
        if name not in PLATFORMS:
            raise unknown("platform", name, PLATFORMS)
    if count is not None and count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    try:
        importlib.import_module("flatbuffers")
    except ImportError as error:
        raise ImportError("exporting needs flatbuffers: pip install 'gen_models[export]'") from error


def trained_parameters(state: TrainState) -> tuple[Params, Stats]:
    """What evaluation uses of a state: its averaged parameters, or its parameters where it has none, and its stats.

    Those of a network with batch norm do not fit averaged parameters: `gm.evaluation.batch_norm.estimated` gives some
    that do, and `load_run(RUN).job.trained(state)` has them.
    """
    return state.params if state.ema is None else state.ema, state.stats


def write(path: str | Path, program: bytes) -> None:
    """Write a program's file whole or not at all."""
    write_bytes(path, program)
