"""Matrices: of confusion, and of attention."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gen_models.plots.canvas import drawing, literal


def matrix(counts: Float[np.ndarray, "k k"], path: str | Path, names: Sequence[str] = ()) -> Path:
    """Draw a confusion matrix, whose rows are true classes and columns predicted ones.

    The colour is the share of the row, the text the count.

    Args:
      counts: [true class, predicted class].
      path: the PNG file.
      names: of the classes, where they have names; else they are numbered from 0 on.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(3.0, 0.45 * len(counts))
    with drawing(path, figsize=(size + 0.6, size), layout="constrained") as canvas:
        axis = canvas.subplots()
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(counts > 0):
            dark = share[row, column] > 0.5
            axis.text(
                column,
                row,
                f"{counts[row, column]:.0f}",
                ha="center",
                va="center",
                color="w" if dark else "k",
                fontsize=7,
            )
        ticks = range(len(counts))
        axis.set(xlabel="predicted class", ylabel="true class", xticks=ticks, yticks=ticks)
        if names:
            axis.set_xticks(ticks, [literal(name) for name in names], rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(ticks, [literal(name) for name in names])
    return Path(path)


def alignments(
    weights: Float[np.ndarray, "n t s"], names: Sequence[tuple[Sequence[str], Sequence[str]]], path: str | Path
) -> Path:
    """Draw what each token that was written looked at, a panel for each example: the darker, the more.

    Args:
      weights: in [0, 1], of each token that was written to each that was read; those beyond the names are left out.
      names: of each example, the tokens that were written, which label rows, and those that were read, columns.
      path: the PNG file.

    Raises:
      ValueError: there are not as many names as weights, or none.
    """
    if not len(names) or len(names) != len(weights):
        raise ValueError(f"names must be those of each of {len(weights)} examples, got {len(names)}")
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    across, down = (max(len(pair[i]) for pair in names) for i in (1, 0))
    longest = max((len(name) for _, read in names for name in read), default=1)
    size = (columns * (0.17 * across + 0.9), rows * (0.17 * down + 0.5 + 0.08 * longest))
    turned = {"rotation": 90} if longest > 1 else {}  # words would lie over each other
    with drawing(path, figsize=size, layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes[len(names) :]:
            axis.axis("off")
        for axis, each, (written, read) in zip(axes, weights, names, strict=False):
            axis.imshow(each[: len(written), : len(read)], cmap="gray_r", vmin=0, vmax=1)
            axis.xaxis.tick_top()
            axis.set_xticks(range(len(read)), [literal(name) for name in read], fontsize=7, **turned)
            axis.set_yticks(range(len(written)), [literal(name) for name in written], fontsize=7)
            axis.tick_params(length=0)
    return Path(path)
