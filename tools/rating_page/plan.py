"""What raters are asked: questions, shuffled by a seed, that say nothing about where an image is from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.files import write_text

FORM = 1  # of plan.json
REAL, PREFER = "real", "prefer"
ANSWERS = {REAL: ("fake", "real"), PREFER: ("left", "right")}
REAL_IMAGES = "real images"  # the competitor that the data are
FILE = "plan.json"


class Question(NamedTuple):
    """One image, real or not; or two images of two competitors, the left one first."""

    id: str
    images: tuple[str, ...]
    of: tuple[int, ...]  # of each image, the number of its source
    real: bool = False  # of one image alone


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: a session goes on where this is the same."""

    task: str
    sources: tuple[str, ...]
    real: str | None  # a folder of real images in place of the runs' test parts
    with_real: bool  # whether the real images take part in preferences
    images: int  # questions of a source, and as many real images; or of two competitors
    show_ms: int  # how long an image is shown; 0: until the answer
    seed: int
    untransformed: bool = False


@dataclass(frozen=True)
class Plan:
    """All questions of a session."""

    asked: Asked
    names: tuple[str, ...]  # of the sources, by their numbers; the real images last, where they are a competitor
    reals: tuple[str, ...]  # what the real images of each source are, in words
    questions: tuple[Question, ...]

    def order(self, rater: str) -> list[Question]:
        """The questions in an order of the rater's own, which the seed and the rater's name determine."""

        def drawn(question: Question) -> bytes:
            return hashlib.sha256(f"{self.asked.seed}\n{rater}\n{question.id}".encode()).digest()

        return sorted(self.questions, key=drawn)


def real_or_fake(asked: Asked, names: Sequence[str], reals: Sequence[str], rng: np.random.Generator) -> Plan:
    """The plan in which every source has `asked.images` generated images, and as many real ones."""
    kinds = [(number, real) for number in range(len(asked.sources)) for real in (False, True)]
    questions = [
        Question(_name(rng), (_name(rng),), (number,), real) for number, real in kinds for _ in range(asked.images)
    ]
    return Plan(asked, tuple(names), tuple(reals), tuple(questions))


def preferences(asked: Asked, names: Sequence[str], reals: Sequence[str], rng: np.random.Generator) -> Plan:
    """The plan in which any two competitors meet `asked.images` times, each as often on the left as on the right."""
    questions = []
    for one, other in combinations(range(len(names)), 2):
        for turned in rng.permutation(asked.images) % 2:
            questions.append(Question(_name(rng), (_name(rng), _name(rng)), (other, one) if turned else (one, other)))
    return Plan(asked, tuple(names), tuple(reals), tuple(questions))


def _name(rng: np.random.Generator) -> str:
    return rng.bytes(8).hex()


def names_of(sources: Sequence[str]) -> tuple[str, ...]:
    """Short names of paths: what differs of them, or of one alone its last three parts."""
    parts = [Path(source).parts for source in sources]
    if len(parts) == 1:
        return (str(Path(*parts[0][-3:])),)
    shared = 0
    while all(len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return tuple(str(Path(*each[shared:])) for each in parts)


def check(asked: Asked) -> None:
    """Refuse what no session can be made of.

    Raises:
      ValueError: it says which option, and what it takes.
    """
    if asked.images < 1:
        raise ValueError(f"--images must be 1 or more, got {asked.images}")
    if asked.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {asked.seed}")
    if not 0 <= asked.show_ms <= 60_000:
        raise ValueError(f"--show-ms must be from 0 (until the answer) to 60000 milliseconds, got {asked.show_ms}")
    if not asked.sources:
        raise ValueError("give one or more runs, or folders of images: there is no session yet to go on with")
    every = [*asked.sources, *([] if asked.real is None else [asked.real])]
    twice = [source for source in every if every.count(source) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice: give different runs or folders")
    meets_real = asked.task == REAL or asked.with_real or len(asked.sources) == 1
    if asked.real is not None and not meets_real:
        raise ValueError(
            "--real: no real images are shown where several sources meet: add --with-real, or leave it out"
        )
    if asked.untransformed and (asked.real is not None or not meets_real):
        raise ValueError("--untransformed is of the runs' own real images, and none of them is shown: leave it out")
    if REAL_IMAGES in names_of(asked.sources):
        raise ValueError(f"a folder is called {REAL_IMAGES!r}, as the report calls the data: rename it")
    if asked.with_real and asked.task != PREFER:
        raise ValueError("--with-real is for --task prefer: with --task real, real images are shown in any case")


def save(folder: Path, plan: Plan) -> None:
    """Write the plan whole or not at all."""
    write_text(folder / FILE, json.dumps({"form": FORM} | asdict(plan), indent=1) + "\n")


def load(folder: Path) -> Plan:
    """The plan of a session's folder.

    Raises:
      ValueError: there is none, it is another version's, or damaged.
    """
    try:
        found = json.loads((folder / FILE).read_text())
        if found["form"] != FORM:
            raise ValueError(f"it has the form {found['form']}, and this version reads {FORM}")
        asked = Asked(**found["asked"] | {"sources": tuple(found["asked"]["sources"])})
        return Plan(asked, tuple(found["names"]), tuple(found["reals"]), tuple(map(_question, found["questions"])))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no session: python -m tools.rate RUN --out {folder} begins one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / FILE} cannot be used ({error}): begin a session in another --out") from error


def _question(found: Sequence[Any]) -> Question:
    id_, images, of, real = found
    return Question(id_, tuple(images), tuple(of), real)


def differing(before: Asked, now: Asked) -> list[str]:
    """How what is asked for differs from what a session was begun with, in phrases."""
    old, new = asdict(before), asdict(now)
    return [f"{name} is {old[name]} there and {new[name]} here" for name in old if old[name] != new[name]]


def images_needed(asked: Asked, competitors: int) -> int:
    """How many different images of each source are shown."""
    return asked.images * (competitors - 1 if asked.task == PREFER else 1)
