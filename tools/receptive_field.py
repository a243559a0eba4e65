"""Draw what autoregressive image models see of the pixels before one: measured by gradients, side by side.

python -m tools.receptive_field --out receptive_fields.png

The networks are narrow ones with random parameters: the connections do not depend on the width. Each is compared with
what its architecture should see, and the tool ends with status 2 where they differ. PixelCNN++ has two resolutions, and
one where the size is odd.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

from gen_models.run import cli


def main() -> None:
    """Build, measure, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the PNG file")
    parser.add_argument("--size", type=int, default=16, help="height and width of the images (default: 16)")
    parser.add_argument("--layers", type=int, help="or blocks, of every model (default: as few as see the first row)")
    arguments = parser.parse_args()
    if not arguments.out.parent.is_dir() or arguments.out.is_dir():
        raise ValueError(f"--out: {arguments.out} is not a file in a folder that exists")
    if arguments.size < 3 or (arguments.layers is not None and arguments.layers < 1):
        raise ValueError(f"--size must be 3 or more and --layers 1 or more, got {arguments.size}, {arguments.layers}")

    import jax
    import numpy as np

    from gen_models.evaluation import receptive_field

    shape, pixel = (arguments.size, arguments.size, 1), (arguments.size * 2 // 3, arguments.size // 2)
    earlier = receptive_field.earlier(shape, pixel)
    panels = {}
    for title, (model, predicted) in families(shape, pixel, arguments.layers).items():
        seen = receptive_field.measure(model, shape, pixel, jax.random.key(0))
        if not np.array_equal(seen, predicted):
            differing = [tuple(at) for at in np.argwhere(seen != predicted).tolist()]
            raise ValueError(f"{title} does not see what its architecture says: they differ at {differing}")
        panels[title] = seen
        print(f"{title}: {seen.sum()} of {earlier.sum()} earlier pixels seen")
    draw(panels, earlier, pixel, arguments.out)
    print(arguments.out)


def families(shape, pixel, layers):
    """Title -> (model, what it should see), each of `layers` or, with None, of as few as see the first row.

    A further family is one more entry.
    """
    from gen_models.evaluation import receptive_field as fields
    from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
    from gen_models.models.autoregressive.image_gpt import image_gpt
    from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
    from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
    from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
    from gen_models.models.autoregressive.pixel_snail import pixel_snail

    narrow: dict[str, Any] = {"features": 8, "head_features": 8}
    resolutions, of = (1, "1 resolution") if shape[0] % 2 or shape[1] % 2 else (2, "2 resolutions")
    every = {  # name: (what it has n of, the model of n, what that should see)
        "PixelCNN": (
            "block",
            lambda n: pixel_cnn(shape, blocks=n, **narrow),
            lambda n: fields.pixel_cnn_field(shape, pixel, n),
        ),
        "Gated PixelCNN": (
            "layer",
            lambda n: gated_pixel_cnn(shape, layers=n, **narrow),
            lambda n: fields.gated_pixel_cnn_field(shape, pixel, n),
        ),
        f"PixelCNN++, {of}": (
            "block",
            lambda n: pixel_cnn_pp(shape, 2, features=8, blocks=n, resolutions=resolutions, mixtures=1),
            lambda n: fields.pixel_cnn_pp_field(shape, pixel, n, resolutions),
        ),
        "Row LSTM": (
            "layer",
            lambda n: pixel_rnn(shape, layers=n, kind="row", **narrow),
            lambda n: fields.pixel_rnn_field(shape, pixel, n, "row"),
        ),
        "Diagonal BiLSTM": (
            "layer",
            lambda n: pixel_rnn(shape, layers=n, kind="diagonal", **narrow),
            lambda n: fields.pixel_rnn_field(shape, pixel, n, "diagonal"),
        ),
        "ImageGPT": (
            "layer",
            lambda n: image_gpt(shape, features=8, layers=n),
            lambda n: fields.attention_field(shape, pixel),
        ),
        "PixelSNAIL": (
            "block",
            lambda n: pixel_snail(shape, features=8, blocks=n, residual_blocks=1),
            lambda n: fields.attention_field(shape, pixel),
        ),
    }
    chosen = {}
    for name, (layer, model, predict) in every.items():
        n = layers or next(n for n in itertools.count(1) if predict(n)[0].any())
        chosen[f"{name}, {n} {layer}{'s' * (n > 1)}"] = model(n), predict(n)
    return chosen


KINDS = {  # colour-blind safe; distinct in grey too
    "the pixel": "#d55e00",
    "seen": "#56b4e9",
    "earlier, not seen": "#3a3a3a",
    "later": "#f4f4f4",
}


def draw(panels, earlier, pixel, path: Path) -> None:
    """One panel for each title -> seen [H, W]; a legend where a panel is left over, or under all of them."""
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    height, width = earlier.shape
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(2.7 * columns, (2.7 * height / width + 0.5) * rows + 0.3), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, seen) in zip(axes, panels.items(), strict=False):
        kind = np.where(seen, 1, np.where(earlier, 2, 3))
        kind[pixel] = 0
        axis.imshow(kind, cmap=ListedColormap(list(KINDS.values())), vmin=-0.5, vmax=len(KINDS) - 0.5)
        axis.set_title(f"{title}\n{(seen & earlier).sum()} of {earlier.sum()} seen", fontsize=10)
        axis.set_xticks(np.arange(width + 1) - 0.5, [])
        axis.set_yticks(np.arange(height + 1) - 0.5, [])
        axis.grid(color="white", linewidth=0.8)
        axis.tick_params(length=0)
    left_over = axes[len(panels) :]
    for axis in left_over:
        axis.set_axis_off()
    patches = [Patch(facecolor=colour, edgecolor="#888888", label=name) for name, colour in KINDS.items()]
    if len(left_over):
        left_over[0].legend(handles=patches, loc="center", frameon=False, fontsize=11, labelspacing=1)
    else:
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
    figure.savefig(path, dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    cli.guard(main)
