"""Measure a trained run again, on its test split, with the randomness that its own result used or another.

python -m tools.evaluate RUN
"""

import argparse
from pathlib import Path

from gen_models.run import cli


def main() -> None:
    """Parse, restore, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, such as runs/vae/base/0")
    parser.add_argument("--seed", type=int, help="of the evaluation's noise; by default the run's own")
    parser.add_argument("--data-dir", help="where the data are now, if not where the run had them")
    arguments = parser.parse_args()

    import jax

    from gen_models.run.console import show_result
    from gen_models.run.job import keys, load_run

    run, config, job, state = load_run(arguments.run, data_dir=arguments.data_dir)
    key = keys(config.seed)[3] if arguments.seed is None else jax.random.key(arguments.seed)
    show_result(run, list(job.figures(state, key)))


if __name__ == "__main__":
    cli.guard(main)
