"""Cut the part of Fashion-MNIST that comes with the package out of the original files.

python -m tools.make_bundled --raw-dir DIR     # DIR holds the four original .gz files

The first 1,000 training and the first 200 test images of each class, in the order of the original files. The result is
the same to the byte on every machine with the same zlib: the archive's time stamps are fixed.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from gen_models.data.idx import read_idx_split
from gen_models.run import cli

TARGET = Path(__file__).parents[1] / "gen_models" / "data" / "bundled" / "fashion_mnist.npz"
PER_CLASS = {"train": 1000, "test": 200}


def cut(raw_dir: str | Path) -> dict[str, np.ndarray]:
    """`{train,test}_{image,label}` of the bundled set, from the original files in `raw_dir`."""
    arrays: dict[str, np.ndarray] = {}
    for split, count in PER_CLASS.items():
        full = read_idx_split(raw_dir, split)
        rows = np.sort(np.concatenate([np.flatnonzero(full["y"] == c)[:count] for c in range(10)]))
        arrays |= {f"{split}_image": full["x"][rows], f"{split}_label": full["y"][rows]}
    return arrays


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
    parser.add_argument("--raw-dir", required=True, help="folder of the four original .gz files")
    parser.add_argument("--output", type=Path, default=TARGET, help="where to write the .npz")
    options = parser.parse_args()
    write(cut(options.raw_dir), options.output)
    print(f"wrote {options.output}, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    cli.guard(main)
