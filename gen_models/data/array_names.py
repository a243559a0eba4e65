"""What the arrays of an archive are, by the names that people give them."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "validation", "test")
WORDS: Mapping[str, tuple[str, ...]] = {  # in the order in which one is taken where an archive has several
    "train": ("train", "training", "tr"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "te"),
    "x": ("image", "images", "img", "imgs", "x", "pixels", "data", "arr_0"),
    "y": ("label", "labels", "y", "target", "targets", "class", "classes", "arr_1"),
}


class Names(NamedTuple):
    """What an archive's arrays are called."""

    path: Path
    of: Mapping[tuple[str, str], str]  # (split or "", "x" or "y") -> the name of the array
    rest: tuple[str, ...]  # all other names


def known_names(path: Path, every: tuple[str, ...]) -> Names:
    """Which array is what, by its name.

    Raises:
      ValueError: two names say the same.
    """
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for name in every:
        what = _meaning(name)
        if what is None:
            continue
        split, field, rank = what
        if (split, field) in found and found[split, field][0] == rank:
            raise ValueError(f"{path} has both {found[split, field][1]} and {name}: leave out one of them")
        if (split, field) not in found or found[split, field][0] > rank:
            found[split, field] = rank, name
    of = {key: name for key, (_, name) in found.items()}
    return Names(path, of, tuple(name for name in every if name not in of.values()))


def _meaning(name: str) -> tuple[str, str, int] | None:
    """The split ("" for none), the field and the rank of the word that an array's name says; None for another name."""
    word = name.lower().replace("-", "_").replace(".", "_").strip("_")
    candidates = [("", word)]
    for split in SPLITS:
        for known in WORDS[split]:
            if word.startswith(known):
                candidates.append((split, word.removeprefix(known).strip("_")))
            if word.endswith(known):
                candidates.append((split, word.removesuffix(known).strip("_")))
    for split, rest in candidates:
        for field in ("x", "y"):
            if split and not rest:
                return split, "x", len(WORDS["x"])
            if rest in WORDS[field] and not (split and rest.startswith("arr_")):
                return split, field, WORDS[field].index(rest)
    return None


def check_misspelt(names: Names, split: str) -> None:
    """Refuse a split without labels where an unknown array's name is nearly that of labels.

    Raises:
      ValueError: there is such an array.
    """
    if (split, "y") in names.of:
        return
    for name in names.rest:
        plain = name.lower().replace("-", "_")
        for known in WORDS[split] if split else ("",):
            near = [f"{known}_{word}".strip("_") for word in WORDS["y"] if len(word) > 2]
            near += [f"{word}_{known}".strip("_") for word in WORDS["y"] if len(word) > 2]
            match = difflib.get_close_matches(plain, near, n=1, cutoff=0.8)
            if match:
                raise ValueError(
                    f"{names.path} has no labels beside {names.of[split, 'x']}, but an array {name!r}: call it "
                    f"{match[0]}, or leave it out"
                )
