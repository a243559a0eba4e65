"""Measure a trained run again, on its test split, with the randomness that its own result used or another.

python -m tools.evaluate RUN
"""

from gen_models.run import cli, tool
from gen_models.run.console import show_result


def main() -> None:
    """Parse, restore, measure, print."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--seed", type=int, help="of the evaluation's noise; by default the run's own")
    arguments = parser.parse_args()
    run, config, job, state = tool.loaded(arguments)

    import jax

    from gen_models.run.job import keys

    key = keys(config.seed).figures if arguments.seed is None else jax.random.key(arguments.seed)
    show_result(run, job.figures(state, key))


if __name__ == "__main__":
    cli.guard(main)
