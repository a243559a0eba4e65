"""Run directories as training leaves them, written in milliseconds, for the tests of the gallery."""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from gen_models.measures.figure import Figure
from gen_models.run import directory
from gen_models.run.cli import request
from gen_models.run.directory import Run, write_json
from gen_models.run.experiments import find

SCRIPT = "<script>document.title = 'owned'</script>"


def write_run(folder: Path, *words: str, variant: str = "base", rows: int = 20, ended: str = "finished") -> Run:
    """A run of the VAE, whose loss falls from 2 to 1 over its rows, `ended` as its state says.

    Args:
      folder: its directory.
      words: options of the command line.
      variant: of the experiment.
      rows: of metrics.jsonl, ten steps each.
      ended: "finished", "unfinished" or "diverged".
    """
    asked = request(find("vae"), variant, [*words, "--run-dir", str(folder)])
    with directory.open_run(asked) as run:
        start = {
            "time": "2026-01-02T03:04:05Z",
            "command": ["vae.py", *words],
            "commit": "0" * 40,
            "devices": ["cpu:cpu"],
        }
        write_json(folder / "environment.json", {"starts": [start | {"versions": {"jax": "0.10.2"}}]})
        for row in range(rows):
            run.log(
                10 * (row + 1), 0.5 * row, {"train/loss": 2 - row / max(1, rows - 1), "validation/elbo": -2.0 + row}
            )
        write_picture(run.samples / "step_000010.png", 10)
        if ended == "diverged":
            run.stop("diverged", 10 * rows, f"diverged at step {10 * rows}")
        if ended == "finished":
            write_picture(run.samples / "samples.png", 0)
            elbo = Figure("ELBO", -240.712, "nats/image", "digits, test, 300 images", 1.234, "lower bound", "maximize")
            run.finish([elbo, Figure("parameters", 1000.0, "numbers", "the model")], 12.5, 10 * rows)
    return run


def write_picture(path: Path, shade: int, size: tuple[int, int] = (40, 30)) -> None:
    """A picture of one shade, but for some pixels that are its path's own, so that no two have one content."""
    pixels = np.full((size[1], size[0]), shade, np.uint8)
    pixels[0, :8] = [int(digit, 16) for digit in f"{zlib.crc32(str(path).encode()):08x}"]
    Image.fromarray(pixels).save(path)


def shown(out: Path) -> dict:
    """What data.js hands to the page."""
    text = (out / "data.js").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def change(path: Path, **fields: object) -> None:
    """Change fields of the JSON object in a file."""
    found = json.loads(path.read_text())
    write_json(path, found | fields)


def damage(folder: Path, name: str) -> None:
    """One kind of damage to a run that had finished."""
    if name == "torn config":
        (folder / "config.json").write_text('{"form": 2, "exper')
    elif name == "lost config":
        (folder / "config.json").unlink()
    elif name == "earlier form":
        change(folder / "config.json", form=1)
    elif name == "config is a list":
        change(folder / "config.json", config=[1, 2])
    elif name == "config is a word":
        (folder / "config.json").write_text('"word"')
    elif name == "torn result":
        (folder / "result.json").write_text('{"figures": [{"na')
    elif name == "figure of another version":
        write_json(folder / "result.json", {"figures": [{"value": 1, "strange": 2}], "seconds": 1})
    elif name == "figure that is no figure":
        figure = {"name": 5, "value": 1, "unit": None, "measured_on": [], "spread": "wide", "note": {}, "better": "up"}
        write_json(folder / "result.json", {"figures": [figure], "seconds": 1, "step": 1})
        change(folder / "config.json", config={"seed": [1], "steps": "many", "network": {"layers": {"deep": None}}})
        change(folder / "environment.json", starts=[{}])
        (folder / "metrics.jsonl").write_text('{"step": 1, "seconds": 1, "constructor": 1, "__proto__": 2}\n{"step"')
    elif name == "result is empty":
        (folder / "result.json").write_text("{}")
    elif name == "torn metrics":
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        (folder / "metrics.jsonl").write_text("".join(lines[:9]) + lines[9][:20])
    elif name == "metrics of bytes":
        (folder / "metrics.jsonl").write_bytes(bytes(range(256)))
    elif name == "a step that is a word":
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": "ten", "seconds": [], "train/loss": {}}\n')
    elif name == "no environment":
        (folder / "environment.json").write_text('{"starts": []}')
    elif name == "torn picture":
        content = (folder / "samples" / "samples.png").read_bytes()
        (folder / "samples" / "samples.png").write_bytes(content[:-20])
    elif name == "picture of nothing":
        (folder / "samples" / "samples.png").write_bytes(b"")
    elif name == "picture is a folder":
        (folder / "samples" / "more.png").mkdir()
    else:
        assert name == "nesting without end"
        (folder / "result.json").write_text("[" * 100_000)


UNREADABLE = ("torn config", "lost config", "earlier form", "config is a list", "config is a word", "torn result")
DAMAGED = (
    *UNREADABLE,
    "figure of another version",
    "figure that is no figure",
    "result is empty",
    "torn metrics",
    "metrics of bytes",
    "a step that is a word",
    "no environment",
    "torn picture",
    "picture of nothing",
    "picture is a folder",
    "nesting without end",
)
