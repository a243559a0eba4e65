"""Write the sampler of a trained run as one file that needs neither Flax nor this package: serialised StableHLO.

python -m tools.export RUN

The parameters are those that the run is evaluated with: their moving average, where it keeps one. The samples are those
of `model.sample` with the key `jax.random.key(seed)`, on every platform up to its rounding.
"""

import argparse
from pathlib import Path

from gen_models.run import cli


def main() -> None:
    """Parse, restore, export, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, such as runs/vae/base/0")
    parser.add_argument("--out", type=Path, help="by default RUN/sampler.stablehlo")
    parser.add_argument("--data-dir", help="where the data are now, if not where the run had them")
    parser.add_argument(
        "--platforms", nargs="+", help="some of cpu, cuda, rocm and tpu (default: cpu cuda tpu), all in the one file"
    )
    parser.add_argument("--member", type=int, help="which of the trainings of a run of several (default: 0)")
    parser.add_argument("--count", type=int, help="a fixed number of samples, where the tool says that it is needed")
    arguments = parser.parse_args()
    out = arguments.out or arguments.run / "sampler.stablehlo"
    if arguments.out is not None and not out.parent.is_dir():
        raise ValueError(f"--out: the folder {out.parent} does not exist")
    if out.is_dir():
        raise ValueError(f"--out: {out} is a folder, name a file in it")

    import jax.export
    import numpy as np

    from gen_models import export

    platforms = arguments.platforms or export.DEFAULT_PLATFORMS
    export.check(platforms, arguments.count)

    from gen_models.run.job import load_run

    run, _, job, state = load_run(arguments.run, data_dir=arguments.data_dir)
    if not job.model.has("sample"):
        raise ValueError(f"{run.folder} is a run of {run.config()['experiment']}, whose model has no samples")
    params, stats = export.trained_parameters(state, arguments.member)
    data = export.export_sampler(job.model, params, stats, platforms=platforms, count=arguments.count)
    export.write(out, data)

    program = jax.export.deserialize(bytearray(data))
    x = program.out_avals[0]
    names = ", ".join(program.platforms)
    print(f"{out}: {len(data) / 1e6:.2f} MB for {names}; samples are {x.dtype} [{', '.join(map(str, x.shape))}]")
    kind = "parameters" if state.ema is None else "averaged parameters"
    step = int(np.max(jax.device_get(state.step)))
    member = f", training {arguments.member or 0} of {len(state.step)} (--member)" if np.ndim(state.step) else ""
    print(f"It holds the {kind} of step {step:,}{member}, and runs with jax, numpy and flatbuffers alone:\n")
    seed, rows = "np.uint32(0)", ", np.zeros(64, np.uint32)" if arguments.count is None else ""
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
