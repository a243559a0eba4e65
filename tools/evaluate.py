"""Measure a trained run again, on its test split, with the randomness that its own result used or another.

python -m tools.evaluate RUN
python -m tools.evaluate RUN --dataset npz:DIR/set.npz      # where the data are no longer at the run's place
"""

from typing import TYPE_CHECKING

from gen_models.measures.figure import with_note
from gen_models.run import cli, endings, tool
from gen_models.run.console import show_result

if TYPE_CHECKING:
    from gen_models.run.directory import Run
    from gen_models.run.job import Job


def main() -> None:
    """Parse, restore, measure, print."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--seed", type=int, help="of the evaluation's noise; by default the run's own")
    arguments = parser.parse_args()
    run, config, job, state = tool.loaded(arguments)

    import jax

    from gen_models.run.job import keys

    key = keys(config.seed).figures if arguments.seed is None else jax.random.key(arguments.seed)
    others = changed(run, job)
    if others:
        endings.warn(f"the run was trained on other data than are there now: {others}")
    figures = job.figures(state, key)
    show_result(run, [with_note(figure, "on other data than the run's") for figure in figures] if others else figures)


def changed(run: "Run", job: "Job") -> str:
    """How the data that are there differ from those that the run keeps in mind, in words; "" where they do not."""
    from gen_models.data.report import changes

    kept = run.data()
    return "" if kept is None or job.batch is not None else "; ".join(changes(kept["report"], job.report))


if __name__ == "__main__":
    cli.guard(main)
