"""Cut the parts of data sets that come with the package out of the original files.

python -m tools.make_bundled --raw-dir DIR     # DIR holds the four original .gz files of Fashion-MNIST
python -m tools.make_bundled --sounds FILE     # an .npz of the whole Free Spoken Digit Dataset: see data/audio.py

Of Fashion-MNIST, the first 1,000 training and the first 200 test images of each class, in the order of the original
files; of the spoken digits all of one speaker, in the order of the archive. The result is the same to the byte on every
machine with the same zlib: the archive's time stamps are fixed.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from gen_models.data.idx import read_idx_split
from gen_models.run import cli

FOLDER = Path(__file__).parents[1] / "gen_models" / "data" / "bundled"
SPEAKER = "nicolas"  # whose sounds, of 8 bits, take a quarter of the room of others'
PER_CLASS = {"train": 1000, "test": 200}


def cut(raw_dir: str | Path) -> dict[str, np.ndarray]:
    """`{train,test}_{image,label}` of the bundled set, from the original files in `raw_dir`."""
    arrays: dict[str, np.ndarray] = {}
    for split, count in PER_CLASS.items():
        full = read_idx_split(raw_dir, split)
        rows = np.sort(np.concatenate([np.flatnonzero(full["y"] == c)[:count] for c in range(10)]))
        arrays |= {f"{split}_image": full["x"][rows], f"{split}_label": full["y"][rows]}
    return arrays


def cut_sounds(path: Path) -> dict[str, np.ndarray]:
    """All sounds of one speaker: audio int16 [T], offset [N + 1], digit and take uint8 [N], rate []."""
    with np.load(path, allow_pickle=False) as whole:
        arrays = {name: whole[name] for name in whole.files}
    chosen = np.flatnonzero(arrays["speaker"] == list(arrays["speakers"]).index(SPEAKER))
    sounds = [arrays["audio"][arrays["offset"][i] : arrays["offset"][i + 1]] for i in chosen]
    offset = np.cumsum([0, *map(len, sounds)]).astype(np.int64)
    labels = {name: arrays[name][chosen] for name in ("digit", "take")}
    return {"audio": np.concatenate(sounds), "offset": offset, **labels, "rate": np.asarray(arrays["rate"], np.int64)}


def write(arrays: dict[str, np.ndarray], path: Path) -> None:
    """An .npz with fixed time stamps and the strongest deflate."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, values, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw-dir", help="folder of the four original .gz files of Fashion-MNIST")
    source.add_argument("--sounds", type=Path, help=".npz of the whole Free Spoken Digit Dataset")
    parser.add_argument("--output", type=Path, help="where to write the .npz (default: where the package has it)")
    options = parser.parse_args()
    arrays = cut(options.raw_dir) if options.raw_dir else cut_sounds(options.sounds)
    output = options.output or FOLDER / ("fashion_mnist.npz" if options.raw_dir else "spoken_digits.npz")
    write(arrays, output)
    print(f"wrote {output}, {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    cli.guard(main)
