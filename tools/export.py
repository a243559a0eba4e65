"""Write what a trained run can do as one file that needs neither Flax nor this package: serialised StableHLO.

python -m tools.export RUN                               # its sampler
python -m tools.export RUN --label 3                     # samples of one class, of a model that is told the class
python -m tools.export RUN --operation predict           # raw inputs to probabilities or numbers, preparation included
python -m tools.export RUN --operation reconstruct       # or encode, decode, apply, log_prob, as the model has them

The parameters are those that the run is evaluated with: their moving average, where it keeps one. Samples are those of
`model.sample` with the key `jax.random.key(seed)`, on every platform up to its rounding. `gen_models/run/operations.py`
says what each operation takes; of predict, RUN/predict.json has the columns, words and classes that a caller needs.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_models.errors import unknown
from gen_models.files import write_text
from gen_models.run import cli, tool

if TYPE_CHECKING:
    from gen_models.run.operations import Operation


def main() -> None:
    """Parse, restore, export, write."""
    parser = tool.run_parser(__doc__)
    parser.add_argument(
        "--operation",
        default="sample",
        help="sample, predict, encode, decode, reconstruct, apply or log_prob (default: sample)",
    )
    parser.add_argument(
        "--out", type=Path, help="by default RUN/OPERATION.stablehlo (of samples sampler.stablehlo), or, where RUN is "
        "read-only, here"
    )  # fmt: skip
    parser.add_argument(
        "--platforms", nargs="+", help="some of cpu, cuda, rocm and tpu (default: cpu cuda tpu), all in the one file"
    )
    parser.add_argument(
        "--count", type=int, help="a fixed number of samples or examples, where the tool says that it is needed"
    )
    parser.add_argument("--label", type=int, metavar="K", help="export a sampler of this class")
    arguments = parser.parse_args()
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: the folder {arguments.out.parent} does not exist")
    if arguments.out is not None and arguments.out.is_dir():
        raise ValueError(f"--out: {arguments.out} is a folder, name a file in it")

    from gen_models import export

    platforms = arguments.platforms or export.DEFAULT_PLATFORMS
    export.check(platforms, arguments.count)
    if arguments.operation != "sample":
        _export_operation(arguments, platforms)
        return
    found = tool.loaded(arguments, with_data=False)
    if getattr(tool.sampler_of(found), "conditional", False) and arguments.label is None:
        raise ValueError(f"the model of {found.run.folder} is told the class: give --label, of which all samples are")
    tool.check_label(found, arguments.label)
    trained = found.job.trained(found.state)
    data = export.export_sampler(
        found.job.model,
        trained.params,
        trained.stats,
        platforms=platforms,
        count=arguments.count,
        label=arguments.label,
    )
    out = tool.output(arguments.out, arguments.run / "sampler.stablehlo")
    export.write(out, data)
    _show(out, data, found.state, arguments.count)


def _export_operation(arguments: argparse.Namespace, platforms: Sequence[str]) -> None:
    """Export an operation other than samples, and say how it is called."""
    if arguments.label is not None:
        raise ValueError(f"--label is of samples: leave it out, or leave out --operation {arguments.operation}")

    from gen_models import export
    from gen_models.data.absent import DataAbsent
    from gen_models.run.operations import NAMES, operation_of

    if arguments.operation not in NAMES:
        raise unknown("operation", arguments.operation, ("sample", *NAMES))
    found = tool.loaded(arguments, with_data=False)
    try:
        operation = operation_of(found, arguments.operation)
    except DataAbsent:
        found = tool.loaded(arguments)
        operation = operation_of(found, arguments.operation)
    data = export.export_function(operation.function, operation.shapes, platforms=platforms, count=arguments.count)
    out = tool.output(arguments.out, arguments.run / f"{operation.name}.stablehlo")
    export.write(out, data)
    beside = ""
    if operation.described:
        file = out.with_suffix(".json")
        write_text(file, json.dumps(operation.described, indent=2) + "\n")
        beside = f"; {file} says what its numbers mean"
    _show_operation(out, data, operation, found.state, beside)


def _show_operation(out: Path, data: bytes, operation: "Operation", state: Any, beside: str) -> None:
    """What the file takes and gives, and how it is called."""
    import jax.export

    program = jax.export.deserialize(bytearray(data))
    given = " and ".join(f"{x.dtype} [{', '.join(map(str, x.shape))}]" for x in program.out_avals)
    print(f"{out}: {len(data) / 1e6:.2f} MB for {', '.join(program.platforms)}; it gives {given}{beside}")
    kind = "parameters" if state.ema is None else "averaged parameters"
    print(f"It holds the {kind} of step {int(state.step):,}, and runs with jax, numpy and flatbuffers alone:\n")
    shapes = operation.shapes(2)
    names = shapes if isinstance(shapes, dict) else {"": shapes}
    made = {name: f"np.zeros({shape.shape}, np.{shape.dtype})" for name, shape in names.items()}
    argument = made[""] if "" in made else "{" + ", ".join(f"{name!r}: {word}" for name, word in made.items()) + "}"
    print(
        "    from pathlib import Path\n\n"
        "    import numpy as np\n"
        "    from jax import export\n\n"
        f"    program = export.deserialize(bytearray(Path({str(out)!r}).read_bytes()))\n"
        f"    result = program.call({argument})  # {operation.note}"
    )


def _show(out: Path, data: bytes, state: Any, count: int | None) -> None:
    """What the file holds, and how it is called."""
    import jax.export

    program = jax.export.deserialize(bytearray(data))
    x = program.out_avals[0]
    names = ", ".join(program.platforms)
    print(f"{out}: {len(data) / 1e6:.2f} MB for {names}; samples are {x.dtype} [{', '.join(map(str, x.shape))}]")
    kind = "parameters" if state.ema is None else "averaged parameters"
    print(f"It holds the {kind} of step {int(state.step):,}, and runs with jax, numpy and flatbuffers alone:\n")
    seed, rows = "np.uint32(0)", ", np.zeros(64, np.uint32)" if count is None else ""
    note = "seed; an array as long as samples are wanted" if rows else "seed"
    print(
        "    from pathlib import Path\n\n"
        "    import numpy as np\n"
        "    from jax import export\n\n"
        f"    program = export.deserialize(bytearray(Path({str(out)!r}).read_bytes()))\n"
        f"    x = program.call({seed}{rows})  # {note}"
    )


if __name__ == "__main__":
    cli.guard(main)
