"""What digits a run of experiments.wavenet says, as a classifier of experiments.speech tells them.

python -m tools.judge RUN --by runs/speech/gru/0
python -m tools.judge RUN --by runs/speech/gru/0 --n 200 --temperature 0.9

As many sounds are drawn of each class. Such a model does not say where a sound ends: the classifier hears the first
samples of each, as many as a training sound of its own has in the median, whatever the class. Beside the share of the
sounds that is told as the class that was asked for stand the classifier's accuracies on its own test part: of the
sounds as they are, and of the same sounds, cut to that length where they are longer, and companded to the same levels,
which is about what the best model could reach. Chance is one over the number of classes. The table is written to
RUN/judged.json too, the sounds with the spectrograms of the first ten to RUN/samples.
"""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen_models.files import write_text
from gen_models.measures.figure import Figure
from gen_models.run import cli, tool
from gen_models.run.console import rounded_text, say, show_table

if TYPE_CHECKING:
    from gen_models.run.restore import Loaded

AT_A_TIME = 100  # sounds that are judged at once


def main() -> None:
    """Parse, restore both runs, sample, judge, print."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--by", type=Path, required=True, metavar="RUN", help="a run of experiments.speech, gru or cnn")
    parser.add_argument("--n", type=int, default=100, help="how many sounds, of all classes together (default: 100)")
    parser.add_argument("--temperature", type=float, help="by which logits are divided (default: the run's own)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    arguments = parser.parse_args()
    if arguments.n < 1:
        raise ValueError(f"--n must be 1 or more, got {arguments.n}")
    from gen_models.run.restore import load_run

    found, judge = tool.loaded(arguments, with_data=False), load_run(arguments.by)
    check(found, judge)

    import jax

    sampler: Any = tool.sampler_of(found)
    label = np.arange(arguments.n, dtype=np.int32) % found.job.data.num_classes
    given = {"label": label} | ({} if arguments.temperature is None else {"temperature": arguments.temperature})
    sounds = sampler.sample(found.job.trained(found.state), jax.random.key(arguments.seed), arguments.n, **given)
    picture = tool.output(None, found.run.samples / "judged.png")
    sampler.show(sounds[:10], picture)
    np.save(picture.with_suffix(".npy"), sounds)
    figures = judged(judge, sounds, label, sampler.levels)
    rows = [figure._asdict() for figure in figures]
    where = tool.output(None, found.run.folder / "judged.json")
    write_text(
        where, json.dumps({"by": str(arguments.by), "temperature": arguments.temperature, "figures": rows}, indent=1)
    )
    cells = [(f.name, rounded_text(f.value, f.spread), f.measured_on) for f in figures]
    show_table(str(found.run.folder), ("figure", "value", "measured on"), cells, f"told by {arguments.by}")
    say("figures:", where)
    say("sounds and spectrograms:", picture)


def check(found: "Loaded", judge: "Loaded") -> None:
    """Refuse runs that do not go together.

    Raises:
      ValueError: the first makes no sounds of a class, the second tells none, or their classes or rates differ.
    """
    sampler = tool.sampler_of(found)
    if not hasattr(sampler, "levels") or not getattr(sampler, "conditional", False):
        raise ValueError(
            f"{found.run.folder} makes no sounds of a class: choose a run of experiments.wavenet conditional"
        )
    if judge.job.experiment.name != "experiments.speech" or judge.job.data.train.kind != "audio":
        raise ValueError(
            f"--by {judge.run.folder} tells no single digits: train python -m experiments.speech, gru or cnn"
        )
    says = [(one.job.data.num_classes, one.config.rate) for one in (found, judge)]
    if says[0] != says[1]:
        (classes, rate), (others, other) = says
        raise ValueError(
            f"{found.run.folder} has {classes} classes and {rate} samples a second, and {judge.run.folder} {others} "
            f"and {other}: train both on the same sounds"
        )


def judged(judge: "Loaded", sounds: np.ndarray, label: np.ndarray, levels: int) -> Sequence[Figure]:
    """The shares of sounds, float [n, T] in [-1, 1], and of the judge's test part, that are told as their class."""
    test = judge.job.data.test
    if test is None or test.arrays is None:
        raise ValueError(f"{judge.run.folder} has no test part in memory to compare with: train it on other data")
    own, truth = test.arrays, np.asarray(test.arrays["y"])
    assert judge.job.data.train.arrays is not None  # as the test part, of the same sounds
    length = min(sounds.shape[1], int(np.median(judge.job.data.train.arrays["length"])))
    generated = share(told(judge, int16(sounds), np.full(len(sounds), length)) == label)
    whole = share(told(judge, own["x"], own["length"]) == truth)
    same = share(told(judge, companded(own["x"], levels), np.minimum(own["length"], length)) == truth)
    on, of = f"{len(sounds)} samples, {length} of each", f"{test.name}, test, {len(test)} sounds"
    return (
        Figure("told as asked for", *generated[:1], "fraction", on, generated[1], better="maximize"),
        Figure("real sounds, cut and companded", *same[:1], "fraction", of, same[1]),
        Figure("real sounds", *whole[:1], "fraction", of, whole[1]),
    )


def companded(x: np.ndarray, levels: int) -> np.ndarray:
    """Sounds int16 [N, T] as a model of mu-law codes could make them at best."""
    from gen_models.data.mu_law import mu_law_decode, mu_law_encode

    waves: Any = x.astype(np.float32) / 2**15
    return int16(np.asarray(mu_law_decode(mu_law_encode(waves, levels), levels)))


def int16(sounds: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16 bits."""
    return np.clip(np.round(sounds * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def share(right: np.ndarray) -> tuple[float, float]:
    """A share with its standard error."""
    mean = float(right.mean())
    return mean, float(np.sqrt(mean * (1 - mean) / len(right)))


def told(judge: "Loaded", sounds: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The class that the judge tells of each sound, int16 [n, T]; of longer ones it hears the beginning."""
    import jax

    data, trained = judge.job.data, judge.job.trained(judge.state)
    size = data.train.shape[0]
    x = np.zeros((len(sounds), size), np.int16)
    x[:, : sounds.shape[1]] = sounds[:, :size]
    lengths = np.minimum(lengths, size).astype(np.int32)
    by_length = "lengths" in inspect.signature(trained.model.apply).parameters

    @jax.jit
    def classes(x: Any, lengths: Any) -> Any:
        assert data.evaluation is not None  # experiments.speech has one
        batch = data.evaluation({"x": x, "length": lengths}, jax.random.key(0))
        more = (batch["length"],) if by_length else ()
        return trained.model.apply(trained.params, trained.stats, batch["x"], *more).argmax(-1)

    parts = [slice(start, start + AT_A_TIME) for start in range(0, len(x), AT_A_TIME)]
    return np.concatenate([np.asarray(classes(x[part], lengths[part])) for part in parts])


if __name__ == "__main__":
    cli.guard(main)
