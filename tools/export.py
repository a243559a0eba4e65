"""Write the sampler of a trained run as one file that needs neither Flax nor this package: serialised StableHLO.

python -m tools.export RUN
python -m tools.export RUN --label 3        # samples of one class, of a model that is told the class

The parameters are those that the run is evaluated with: their moving average, where it keeps one. The samples are those
of `model.sample` with the key `jax.random.key(seed)`, on every platform up to its rounding.
"""

from pathlib import Path
from typing import Any

from gen_models.run import cli, tool


def main() -> None:
    """Parse, restore, export, write."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--out", type=Path, help="by default RUN/sampler.stablehlo, or, where RUN is read-only, here")
    parser.add_argument(
        "--platforms", nargs="+", help="some of cpu, cuda, rocm and tpu (default: cpu cuda tpu), all in the one file"
    )
    parser.add_argument("--count", type=int, help="a fixed number of samples, where the tool says that it is needed")
    parser.add_argument("--label", type=int, metavar="K", help="export a sampler of this class")
    arguments = parser.parse_args()
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: the folder {arguments.out.parent} does not exist")
    if arguments.out is not None and arguments.out.is_dir():
        raise ValueError(f"--out: {arguments.out} is a folder, name a file in it")

    from gen_models import export

    platforms = arguments.platforms or export.DEFAULT_PLATFORMS
    export.check(platforms, arguments.count)

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
