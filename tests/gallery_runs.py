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
