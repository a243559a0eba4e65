"""Estimate what memory a training step needs on each device, before an accelerator is paid for. Nothing is trained.

python -m tools.memory experiments.recipes.published_likelihood cifar10_pixel_cnn_pp --data-dir DIR --devices 8
python -m tools.memory vae --batch-size 4096
python -m tools.memory my_vae.py --devices 2

Takes an experiment's name, or the file of one's own, then its variant and its options as its own command line does. The
step is compiled, for one device's part of the batch, and XLA says what it would allocate: "temporaries" are
activations, gradients and work space. The estimate is of the platform that this runs on. On a CPU the layers take the
form that they have on accelerators; other compilers fuse and lay out differently, so keep a margin.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_models.run import cli
from gen_models.run.arguments import parse
from gen_models.run.experiments import find

if TYPE_CHECKING:
    from gen_models.run.job import Job


def main(words: Sequence[str] | None = None) -> None:
    """Parse, compile, show."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.memory EXPERIMENT [VARIANT]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--devices", type=int, default=1, help="that share each batch (default: 1)")
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0].startswith("-"):
        parser.parse_args(words or ["--help"])
        raise ValueError(f"an experiment comes first, such as vae, got {words[0]!r}")
    name = words.pop(0)
    variant = words.pop(0) if words and not words[0].startswith("-") else None
    options, rest = parser.parse_known_args(words)
    if options.devices < 1:
        raise ValueError(f"--devices must be 1 or more, got {options.devices}")
    experiment = find(name)
    config = parse(experiment, variant, rest)

    from gen_models.run.job import make_job
    from gen_models.training.startup import start

    start()
    found = estimate(make_job(experiment, config), options.devices, config.shard_parameters)
    show(f"{experiment.name} {variant or next(iter(experiment.variants))}", found)


def estimate(job: "Job", devices: int = 1, shard_parameters: bool = False) -> dict[str, float]:
    """What a job's step needs on each of several devices.

    Returns:
      "parameters" (a number), "batch" (examples on a device), and in bytes "state" (parameters, moments, averages),
      "data" (arrays kept on the device), "temporaries", and "all"; "seconds" it took to compile.

    Raises:
      ValueError: the devices do not divide the batch.
    """
    import jax

    from gen_models.nn.devices import plain

    batches = job.batches(job.config.seed)
    if batches.batch_size % devices:
        raise ValueError(f"{devices} devices do not divide the batch of {batches.batch_size} examples")

    def part(leaf: Any) -> Any:
        cut = leaf.ndim and leaf.shape[0] == batches.batch_size
        return jax.ShapeDtypeStruct((leaf.shape[0] // devices, *leaf.shape[1:]), leaf.dtype) if cut else leaf

    state = job.shapes()
    state = state._replace(carry=jax.tree.map(part, state.carry))
    batch = jax.tree.map(part, job.batch_shape)
    numbers = (job.numbers(job.config),) if job.names else ()
    began = time.perf_counter()
    with plain():
        compiled = jax.jit(job.step, donate_argnums=0).lower(state, batch, *numbers).compile()
    took = time.perf_counter() - began
    of_state = _bytes(state) / (devices if shard_parameters else 1)
    planned = compiled.memory_analysis()
    temporaries = 0 if planned is None else planned.temp_size_in_bytes
    found = {
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        "batch": batches.batch_size // devices,
        "state": of_state,
        "data": _bytes(batches.data),
        "temporaries": temporaries,
        "all": of_state + _bytes(batches.data) + temporaries,
        "seconds": took,
    }
    return {name: float(value) for name, value in found.items()}


def show(title: str, found: dict[str, float]) -> None:
    """The estimate as a table."""
    from rich.table import Table

    from gen_models.run.console import console

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_row("parameters", f"{found['parameters']:,.0f}")
    table.add_row("examples on a device", f"{found['batch']:,.0f}")
    for name in ("state", "data", "temporaries", "all"):
        table.add_row(name, f"{found[name] / 2**20:,.1f} MiB")
    table.add_row("compiled in", f"{found['seconds']:.0f} s")
    console.print(table)


def _bytes(tree: Any) -> int:
    import jax

    def of(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return math.prod(leaf.shape) * leaf.dtype.itemsize

    return sum(of(leaf) for leaf in jax.tree.leaves(tree))


if __name__ == "__main__":
    cli.guard(main)
