"""Draw samples from a trained run: a picture, and the arrays beside it.

python -m tools.sample RUN --n 64
"""

import argparse
from pathlib import Path

from gen_models.run import cli


def main() -> None:
    """Parse, restore, sample, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, such as runs/vae/base/0")
    parser.add_argument("--n", type=int, default=64, help="how many samples (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--out", type=Path, help="PNG file; by default RUN/samples/n<N>_seed<SEED>.png")
    parser.add_argument("--data-dir", help="where the data are now, if not where the run had them")
    arguments = parser.parse_args()
    if arguments.n < 1:
        raise ValueError(f"--n must be 1 or more, got {arguments.n}")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: the folder {arguments.out.parent} does not exist")

    import jax
    import numpy as np

    from gen_models.run.job import load_run

    run, _, job, state = load_run(arguments.run, data_dir=arguments.data_dir)
    if job.sample is None or job.show is None:
        raise ValueError(f"{run.folder} is a run of {run.config()['experiment']}, whose model has no samples")
    samples = np.asarray(job.sample(state, jax.random.key(arguments.seed), arguments.n))
    path = arguments.out or run.samples / f"n{arguments.n}_seed{arguments.seed}.png"
    job.show(samples, path)
    np.save(path.with_suffix(".npy"), samples)
    print(f"{len(samples)} samples: {path} and {path.with_suffix('.npy')}")


if __name__ == "__main__":
    cli.guard(main)
