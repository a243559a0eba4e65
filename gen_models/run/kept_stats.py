"""Batch norm's statistics for a finished run's averaged parameters, kept beside its checkpoints.

They are estimated from training examples (`evaluation/batch_norm.py`). With them in `batch_stats.npz` a run can be
sampled, exported and measured where its training data are not, in the bits of its own figures.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_models.core import Stats
from gen_models.files import write_bytes
from gen_models.training.checksums import named_leaves

FILE = "batch_stats.npz"


class KeptStats(NamedTuple):
    """Statistics, and the step whose averaged parameters they fit."""

    step: int
    stats: Stats


def keep(folder: Path, found: KeptStats) -> None:
    """Write statistics into a run's directory, whole or not at all."""
    content = io.BytesIO()
    leaves: dict[str, Any] = {f"stats/{name}": np.asarray(leaf) for name, leaf in named_leaves(found.stats).items()}
    leaves["step"] = np.asarray(found.step)
    np.savez(content, **leaves)
    write_bytes(folder / FILE, content.getvalue())


def kept(folder: Path, like: Stats) -> KeptStats | None:
    """What `keep` wrote, as a tree like `like`; None where it wrote nothing.

    Raises:
      ValueError: the file is damaged, or of another model.
    """
    path = folder / FILE
    if not path.exists():
        return None
    content = io.BytesIO(path.read_bytes())
    try:
        with np.load(content, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        leaves = [arrays[f"stats/{name}"] for name in named_leaves(like)]
        step = int(arrays["step"])
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and it is estimated anew from the data") from error
    wanted = jax.tree.leaves(like)
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, leaf.dtype) for leaf in wanted]:
        raise ValueError(f"{path} is of another model: remove it, and it is estimated anew from the data")
    return KeptStats(step, jax.tree.unflatten(jax.tree.structure(like), leaves))
