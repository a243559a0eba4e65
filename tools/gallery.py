"""One page of all runs in a folder: a table, pictures, curves over one another, configs side by side.

python -m tools.gallery runs                       # writes gallery/index.html; open it in a browser
python -m tools.gallery runs --out runs/gallery    # in another folder, which may lie among the runs

Runs and sweeps are found at any depth, those that have not finished, failed or cannot be read among them. The page
needs no network and no server: the folder can be sent as it is. The same command brings it up to date.
"""

import argparse
import hashlib
import json
import re
import shutil
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_models.files import write_bytes, write_text
from gen_models.run import cli
from gen_models.run.config import FINISHED
from gen_models.run.console import say

from .gallery_page import entries

MARK = "// A gallery of gen_models"  # begins data.js, by which a gallery is known
PAGE = Path(__file__).resolve().parent / "gallery_page"
SCRIPTS = ("elements", "values", "filter", "table", "plot", "compare", "sweeps", "page")
ASSETS = ("gallery.css", *(f"{name}.js" for name in SCRIPTS), "index.html")
SUFFIXES = ("png", "html")
OURS = re.compile(rf"\.?[0-9a-f]{{16}}\.({'|'.join(SUFFIXES)})(\.\d+)?")  # and what a process left that was killed
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, read, write, and say where the page is; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="FOLDER", help="a folder of runs, such as runs")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="the page's folder (default: gallery)")
    options = parser.parse_args(arguments)
    say(make(options.runs, options.out), options.out / "index.html")
    return FINISHED


def make(folder: Path, out: Path) -> str:
    """Write the gallery of a folder of runs, or bring it up to date; returns what is in it, in words.

    Raises:
      ValueError: there is no such folder, or no run in it; or `out` holds something else, of which nothing is changed,
        or cannot be written.
      OSError: the disk is full, say.
    """
    check_out(out)
    runs, sweeps = entries.read(folder, is_gallery)
    if not runs:
        raise ValueError(f"{folder} holds no runs, at any depth: train one, or give the folder of your runs")
    _begin(out)
    shown = {"runs": [_beside(run, out) for run in runs], "sweeps": [_beside(sweep, out) for sweep in sweeps]}
    about = {"folder": folder.resolve().name, "made": time.strftime(entries.TIME, time.gmtime())}
    data = about | {"incidental": entries.incidental(), "points": entries.POINTS} | shown
    write_text(
        out / "data.js", f"{MARK}\nconst GALLERY = {json.dumps(data, allow_nan=False, separators=(',', ':'))};\n"
    )
    for name in ASSETS:
        shutil.copyfile(PAGE / name, out / name)
    kept = {file["file"] for entry in (*shown["runs"], *shown["sweeps"]) for file in entry["files"]}
    for path in (out / "files").iterdir():
        if OURS.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    return _summary(shown["runs"], len(sweeps), len(kept))


def _begin(out: Path) -> None:
    """Make the folder, and mark it as a gallery: where the command is killed, the same one goes on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not is_gallery(out):
            write_text(out / "data.js", f"{MARK}\n")
        (out / "files").mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out: {out} cannot be written ({error.strerror}): give another folder") from error


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than a gallery.

    Raises:
      ValueError: it does, or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: {out} is a file: give a folder")
    if out.is_dir() and any(out.iterdir()) and not is_gallery(out):
        raise ValueError(f"--out: {out} is not empty and holds no gallery: give another folder")


def is_gallery(folder: Path) -> bool:
    """Whether this tool wrote the folder."""
    try:
        with (folder / "data.js").open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def _beside(found: entries.Found, out: Path) -> dict[str, Any]:
    """The entry with its files, which are copied under the digests of their contents; what cannot be is an error."""
    entry, files = found.entry, []
    for name, path in found.files:
        try:
            content = path.read_bytes()
            size = {} if path.suffix == ".html" else size_of(content)
            file = f"{hashlib.sha256(content).hexdigest()[:16]}{path.suffix}"
        except (OSError, ValueError) as error:
            entry["errors"].append(f"{path} cannot be shown: {error}")
            continue
        if not (out / "files" / file).exists():
            write_bytes(out / "files" / file, content)
        files.append({"name": name, "file": file, **size})
    return entry | {"files": files}


def size_of(png: bytes) -> dict[str, int]:
    """Width and height of a picture in its pixels.

    Raises:
      ValueError: it is no PNG, or torn.
    """
    if not png.startswith(SIGNATURE) or len(png) < 24:
        raise ValueError("it is no PNG")
    if b"IEND" not in png[-12:]:
        raise ValueError("its end is missing")
    width, height = struct.unpack(">II", png[16:24])
    return {"width": width, "height": height}


def _summary(runs: Sequence[dict[str, Any]], sweeps: int, files: int) -> str:
    states: dict[str, int] = {}
    for run in runs:
        states[run["state"]] = states.get(run["state"], 0) + 1
    each = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    beside = f"{_counted(sweeps, 'sweep')}, {_counted(files, 'file')} of pictures and reports"
    return f"{_counted(len(runs), 'run')} ({each}), {beside}:"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    cli.guard(main)
