"""What was read, as a run says it when it begins, keeps it beside its results and compares it when it goes on.

    report = report_of(load_splits("fashion_mnist_bundled"))   # what JSON can hold
    told(report)                                               # one line
    changes(before, report)                                    # phrases; none where the data are the same
    absent(report, error)                                      # stands for data that are not there any more

A report has all that a model is made of (shape, classes, levels, meaning), and of each part the number of examples, how
many each class has, and a checksum: of all bytes where the part is in memory, else as `checksums.of_source` says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gen_models.data import checksums
from gen_models.data.absent import AbsentSource, DataAbsent
from gen_models.data.access import ArraySource, Subset
from gen_models.data.dataset import Dataset
from gen_models.data.meanings import meaning_from_json, meaning_to_json
from gen_models.data.splits import Splits

__all__ = ["DataAbsent", "absent", "changes", "report_of", "told"]

Report = Mapping[str, Any]
PARTS = ("train", "held_out", "test")
MOST_CLASSES = 1000  # of which a report counts the examples
DIM = 128  # 8-bit images none of whose pixels is as bright may have been meant otherwise
FAIR = 3  # examples of each class, on average, of which every part should have one
SAME = ("kind", "shape", "levels", "num_classes")  # what two reports must share, besides their parts


def report_of(splits: Splits) -> dict[str, Any]:
    """What was read, as JSON can hold it; all of what is in memory is gone through once, at about 1 GB a second.

    Raises:
      ValueError, OSError: an example of streamed data cannot be read.
    """
    train = splits.train
    parts: dict[str, Any] = {}
    for word in PARTS:
        part = getattr(splits, word)
        same = next((other for other in parts if getattr(splits, other) is part), None)
        parts[word] = None if part is None else {"same_as": same} if same else _part(part)
    return {
        "name": train.name,
        "kind": train.kind,
        "shape": [int(size) for size in train.shape],
        "levels": int(train.levels),
        "num_classes": None if train.num_classes is None else int(train.num_classes),
        "meaning": meaning_to_json(train.meaning),
        "note": train.note,
        "passed_over": list(dict.fromkeys(phrase for part in _distinct(splits) for phrase in part.passed_over)),
        "parts": parts,
        "packing": splits.packing,
        "examples": splits.examples,
        "how": splits.how,
        "redraws": splits.redraws,
        "contiguous": splits.contiguous,
    }


def told(report: Report) -> str:
    """A report as one line."""
    parts = [_told_part(word, part) for word, part in report["parts"].items() if part is not None]
    phrases = [f"{', '.join(parts)} {_told_example(report)}", *_told_classes(report), f"checksum {_checksum(report)}"]
    more = [*_told_doubts(report), *_told_passed_over(report["passed_over"])]
    return _one_line("; ".join([f"{report['name']}: {', '.join(phrases)}", *more]))


def changes(before: Report, now: Report) -> list[str]:
    """How the data of the second report differ from those of the first, in phrases; none where they are the same.

    Where they lie is not compared, as data may be moved.
    """
    found = []
    for what in SAME:
        if before[what] != now[what]:
            words = {"num_classes": "the number of classes"}.get(what, f"the {what}")
            found.append(f"{words} was {_said(before[what])} and is {_said(now[what])}")
    if before["meaning"] != now["meaning"]:
        found.append("the names of the classes, columns or symbols are others")
    for word in PARTS:
        found += _part_changes(word, _own(before, word), _own(now, word))
    return found


def absent(report: Report, why: Exception) -> Splits:
    """Splits that stand for data which cannot be read now, for the reason `why`.

    Their shape, classes, levels, kind, meaning and packing are those of the report, and so are the numbers of examples.
    Whatever wants an example raises `DataAbsent`, which names the data and the remedy. They have no transforms.
    """
    made: dict[str, Dataset | None] = {}
    for word in PARTS:
        part = report["parts"][word]
        if part is None or "same_as" in part:
            made[word] = None if part is None else made[part["same_as"]]
            continue
        made[word] = Dataset(
            report["name"],
            part["split"],
            None,
            AbsentSource(report["name"], part["examples"], why),
            tuple(report["shape"]),
            part["num_classes"],
            report["levels"],
            report["note"],
            report["kind"],
            meaning_from_json(report["meaning"]),
            tuple(report["passed_over"]),
            part["made"],
        )
    train, held_out, test = (made[word] for word in PARTS)
    assert train is not None
    words = {name: report[name] for name in ("packing", "examples", "how", "redraws", "contiguous")}
    return Splits(train, held_out, test, **words)


def _distinct(splits: Splits) -> list[Dataset]:
    """The parts that there are, each once."""
    return list({id(part): part for word in PARTS if (part := getattr(splits, word)) is not None}.values())


def _part(part: Dataset) -> dict[str, Any]:
    """What a report says of one part."""
    in_memory = part.arrays is not None
    fields = part.arrays if part.arrays is not None else {k: np.asarray(v)[None] for k, v in part.source[0].items()}  # type: ignore[index]
    return {
        "split": part.split,
        "made": part.made,
        "examples": len(part),
        "num_classes": None if part.num_classes is None else int(part.num_classes),
        "counts": class_counts(part),
        "ranges": _ranges(part),
        "fields": {name: f"{np.asarray(v).dtype} {list(np.shape(v)[1:])}" for name, v in fields.items()},
        "checksum": checksums.of_arrays(fields) if in_memory else checksums.of_source(part.source),
        "checksum_of": "all examples" if in_memory else _seen(part.source),
    }


def _seen(source: Any) -> str:
    """What a streamed part's checksum is of."""
    return "files and some examples" if checksums.has_files(source) else "some examples"


def _labels(part: Dataset) -> np.ndarray | None:
    """The classes [N] of a part's examples, where they are known without reading the examples."""
    if part.arrays is not None:
        return part.arrays.get("y")
    if not isinstance(part.source, Subset):
        return None
    whole, indices = part.source.source, np.asarray(part.source.indices)
    labels = whole.arrays.get("y") if isinstance(whole, ArraySource) else getattr(whole, "labels", None)
    return None if labels is None else np.asarray(labels)[indices]


def class_counts(part: Dataset) -> list[int] | None:
    """How many examples each class has; None without classes, with very many, or where labels are not at hand."""
    if part.num_classes is None or not 0 < part.num_classes <= MOST_CLASSES or part.kind in ("tokens", "boxes"):
        return None
    labels = _labels(part)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu" or (labels < 0).any():
        return None
    return [int(count) for count in np.bincount(labels, minlength=part.num_classes)]


def _ranges(part: Dataset) -> dict[str, list[int]]:
    """The smallest and the largest pixel of images in memory, by field."""
    fields = {"images": ("x",), "boxes": ("x",), "pairs": ("x", "y")}.get(part.kind, ())
    arrays = part.arrays or {}
    return {f: [int(arrays[f].min()), int(arrays[f].max())] for f in fields if f in arrays and arrays[f].size}


def _own(report: Report, word: str) -> Any:
    """What a report says of a part, that of the part which it is too where there is one."""
    part = report["parts"][word]
    return report["parts"][part["same_as"]] if part and "same_as" in part else part


def _part_changes(word: str, before: Any, now: Any) -> list[str]:
    """How a part differs, in phrases."""
    if before is None or now is None:
        return [] if before is now else [f"{_WORDS[word]} {'was not' if before is None else 'is not'} there"]
    word = now["split"]
    found = []
    if before["examples"] != now["examples"]:  # then the counts of classes and the checksum are others as well
        return [f"{word} had {before['examples']:,} examples and has {now['examples']:,}"]
    if before["num_classes"] != now["num_classes"] or before["counts"] != now["counts"]:
        found.append(f"{word} has other labels")
    if before["fields"] != now["fields"]:
        found.append(f"the fields of {word} were {_said(before['fields'])} and are {_said(now['fields'])}")
    if before["checksum_of"] == now["checksum_of"] and before["checksum"] != now["checksum"]:
        found.append(f"the checksum of {word} was {before['checksum']} and is {now['checksum']}")
    return found


_WORDS = {"train": "the training part", "held_out": "the held-out part", "test": "the test part"}


def _told_part(word: str, part: Any) -> str:
    if "same_as" in part:
        return f"{_WORDS[word]} is {_WORDS[part['same_as']]},"
    return f"{part['split']} {part['examples']:,}" + (f" ({part['made']})" if part["made"] else "")


def _told_example(report: Report) -> str:
    """What an example is, by the kind of the data."""
    kind, sizes = report["kind"], "x".join(map(str, report["shape"]))
    meaning = meaning_from_json(report["meaning"])
    if kind in ("images", "boxes"):
        return f"images {sizes}" + (" with boxes" if kind == "boxes" else "") + f", {report['levels']} levels"
    if kind == "pairs":
        return f"pairs of images {sizes}" + (f" and {'x'.join(map(str, meaning))}" if meaning else "")
    if kind == "tokens":
        return f"sequences of {sizes} tokens" + (f", {report['num_classes']} {meaning.unit}" if meaning else "")
    if kind == "sentences":
        return f"sentences of up to {sizes} words" + (f", {len(meaning.symbols):,} tokens" if meaning else "")
    if kind == "stories":
        rows, words = report["shape"]
        known = f", {len(meaning.symbols):,} tokens" if meaning else ""
        return f"questions about up to {rows - 1} sentences of up to {words} words{known}"
    if kind == "parallel":
        sides = zip(meaning.languages, meaning.sizes, strict=True)
        named = " to ".join(f"{language} ({size:,} tokens)" for language, size in sides)
        return f"pairs of sentences of up to {sizes} tokens, {named}"
    if kind == "rolls":
        return f"windows of {report['shape'][0]} rows of {report['shape'][1]} keys"
    if kind == "series":
        ahead = report["parts"]["train"]["fields"]["y"]
        names = f" of {', '.join(meaning.columns)}" if meaning else ""
        return f"windows of {report['shape'][0]} rows of {report['shape'][1]} numbers{names}, with y {ahead}"
    if kind == "audio":
        rate = meaning.rate if meaning else None
        return f"sounds of {sizes} samples" + (f", {rate:,} a second" if rate else "")
    if kind == "tables" and meaning:
        target = f", target {meaning.target!r}" if meaning.target else ", no target"
        target += " (a number)" if meaning.target and meaning.classes is None else ""
        return f"rows of {len(meaning.numeric)} numbers and {len(meaning.categorical)} words{target}"
    if kind == "points":
        return f"points of {sizes} numbers"
    fields = ", ".join(f"{name} {what}" for name, what in report["parts"]["train"]["fields"].items())
    return f"{report['examples']} of {fields}"


def _told_classes(report: Report) -> list[str]:
    """The number of classes, and how many examples each has for training."""
    classes, counts = report["num_classes"], report["parts"]["train"]["counts"]
    if report["kind"] == "tokens":
        return []
    if classes is None:
        return ["no labels"] if report["kind"] in ("images", "audio") else []
    word = "class" if classes == 1 else "classes"
    if report["kind"] == "boxes":
        return [f"{classes} {word} of objects"]
    if not counts:
        return [f"{classes} {word}"]
    each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return [f"{classes} {word} ({each} each)"]


def _told_doubts(report: Report) -> list[str]:
    """What may not have been meant: parts without labels, or without some of the classes; dim images."""
    found = []
    own = {word: part for word, part in report["parts"].items() if part and "same_as" not in part}
    for word, part in own.items():
        if part["num_classes"] is None and report["num_classes"] is not None:
            found.append(f"{part['split']} has no labels")
        counts = part["counts"] or ()
        enough = word == "train" or part["examples"] >= FAIR * len(counts)  # few examples lack some class as a rule
        lacks = [index for index, count in enumerate(counts) if not count and enough]
        if lacks:
            some = ", ".join(map(str, lacks[:5])) + (", ..." if len(lacks) > 5 else "")
            found.append(f"{part['split']} has no example of {'class' if len(lacks) == 1 else 'classes'} {some}")
    for field, of in (("x", ""), ("y", " of y")):
        most = max((part["ranges"][field][1] for part in own.values() if field in part["ranges"]), default=255)
        if report["levels"] == 256 and most < DIM:
            found.append(f"the brightest pixel{of} is {most} of 255")
    return found


def _told_passed_over(phrases: Sequence[str]) -> list[str]:
    return [f"passed over: {', '.join(phrases)}"] if phrases else []


def _checksum(report: Report) -> str:
    """One checksum of all parts, and of what it is, where it is not of all examples."""
    own = [part for part in report["parts"].values() if part and "same_as" not in part]
    total = checksums.of_text(" ".join(part["checksum"] for part in own))
    others = {part["checksum_of"] for part in own} - {"all examples"}
    return total + (f" of {others.pop()}" if others else "")


def _said(value: Any) -> str:
    """A value as it stands in a phrase."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {what}" for name, what in value.items())
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _one_line(text: str) -> str:
    """The text without what would begin another line."""
    return " ".join(text.split())
