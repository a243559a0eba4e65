"""The files below a folder, through symbolic links, and what of them is not taken."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from gen_models.data.cache import FOLDER
from gen_models.data.names import counted, listed, shown

# Folders that systems put beside pictures, some with small copies of them.
OF_SYSTEMS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")


class Passed:
    """What was seen below a folder and not taken, by reason."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list[str]] = {}
        self.suffixes: Counter[str] = Counter()  # of files of other kinds
        self.linked = False  # whether a link was followed, so that a file may be there twice

    def add(self, one: str, many: str, names: Iterable[object]) -> None:
        """Count these names for a reason, which is a phrase behind 1, and another one behind other numbers."""
        found = [str(name) for name in names]
        if found:
            self.found.setdefault((one, many), []).extend(found)

    def phrases(self) -> tuple[str, ...]:
        """All that was counted: "3 files of other kinds (2 .heic, 1 .txt)", "1 broken link (cat/a.png)"."""
        by_suffix = [f"{number:,} {suffix or 'without a suffix'}" for suffix, number in sorted(self.suffixes.items())]
        others = counted(self.suffixes.total(), "file of another kind", "files of other kinds")
        found = [f"{others} ({listed(by_suffix, most=6)})"] if by_suffix else []
        return (*found, *(f"{counted(len(names), *why)} ({listed(names)})" for why, names in self.found.items()))


def files_below(root: Path, suffixes: Sequence[str], passed: Passed) -> tuple[list[PurePath], list[PurePath]]:
    """The relative paths of all files with one of the suffixes, and of all folders, below a folder; each sorted.

    Links are followed, unless they lead to a folder that they lie in. What is hidden, of a system, of another suffix,
    no file, or cannot be read, is counted in `passed`.

    Raises:
      ValueError: `root` itself cannot be read.
    """
    files: list[PurePath] = []
    folders: list[PurePath] = []
    # Folders to be read: the relative path of each, and the real paths down to it.
    waiting: list[tuple[PurePath, tuple[str, ...]]] = [(PurePath(), (os.path.realpath(root),))]
    while waiting:
        inside, above = waiting.pop()
        try:
            with os.scandir(root / inside) as entries:
                found = [(inside / entry.name, entry.is_symlink(), _kind(entry)) for entry in entries]
        except OSError as error:
            if not inside.parts:
                raise ValueError(f"{shown(root)} cannot be read ({error.strerror}): make it readable") from None
            passed.add("folder that cannot be read", "folders that cannot be read", [inside])
            continue
        for path, is_link, kind in sorted(found):
            target = os.path.realpath(root / path) if kind == "folder" else ""
            if path.name == FOLDER:  # ours
                continue
            if path.name.startswith("."):
                passed.add("hidden file or folder", "hidden files or folders", [path])
            elif kind == "folder" and path.name.lower() in OF_SYSTEMS:
                passed.add("folder of the system", "folders of the system", [path])
            elif kind == "folder" and any(_lies_in(one, target) for one in above):
                passed.add("link that leads back", "links that lead back", [path])
            elif kind == "folder":
                folders.append(path)
                waiting.append((path, (*above, target)))
                passed.linked |= is_link
            elif kind == "broken":
                passed.add("broken link", "broken links", [path])
            elif kind == "other" or path.suffix.lower() not in suffixes:
                passed.suffixes[path.suffix.lower()] += 1
            else:
                files.append(path)
                passed.linked |= is_link
    return sorted(files), sorted(folders)


def _kind(entry: "os.DirEntry[str]") -> str:
    """ "folder", "file", "broken" (a link), or "other", as a pipe is, whose reading would never end."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "other" if os.path.exists(entry.path) else "broken"
    except OSError:  # a link to itself
        return "broken"


def _lies_in(path: str, folder: str) -> bool:
    """Whether a real path is that of a folder, or of something in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
