"""Steps of `tools/benchmark.py`, in few rounds: against the same update by hand, plain XLA and PyTorch."""

from collections.abc import Iterator, Sequence

from ..benchmark import run_case
from . import Report, Status

CASES = ("step_vae", "mlp_vae", "conv_stack", "dcgan", "lstm", "step_gan")  # those of the benchmark, by worth
ROUNDS = 7


def run(subjects: Sequence[str], report: Report) -> None:
    """Measure the benchmark's cases, which are its own whatever the subjects are."""
    report.of_each(CASES, _check)


def _check(case: str) -> Iterator[tuple[Status, str, dict]]:
    for row in run_case(case, ROUNDS):
        ratio = f"{row['ratio']:.3g} ({row['ratio_low']:.3g} to {row['ratio_high']:.3g})"
        said = f"{row['median_ms']:.3g} ms; {row['against']} takes {row['against_ms']:.3g}: {ratio} times ours"
        yield (
            "measured",
            said,
            {f"{row['against']}, {name}": row[name] for name in ("median_ms", "against_ms", "ratio")},
        )
