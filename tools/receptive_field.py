"""Draw what autoregressive image models see of the pixels before one: measured by gradients, side by side.

python -m tools.receptive_field --out receptive_fields.png

The networks are narrow ones with random parameters: the connections do not depend on the width. Each is compared with
what its architecture should see, and the tool ends with status 2 where they differ.
"""

import argparse
from pathlib import Path

from gen_models import cli


def main() -> None:
    """Build, measure, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the PNG file")
    parser.add_argument("--size", type=int, default=15, help="height and width of the images (default: 15)")
    parser.add_argument("--layers", type=int, help="after the first (default: as many as reach the first row)")
    arguments = parser.parse_args()
    if not arguments.out.parent.is_dir() or arguments.out.is_dir():
        raise ValueError(f"--out: {arguments.out} is not a file in a folder that exists")
    if arguments.size < 3 or (arguments.layers is not None and arguments.layers < 1):
        raise ValueError(f"--size must be 3 or more and --layers 1 or more, got {arguments.size}, {arguments.layers}")

    import jax
    import numpy as np

    from gen_models.evaluation import receptive_field

    shape, pixel = (arguments.size, arguments.size, 1), (arguments.size * 2 // 3, arguments.size // 2)
    layers = arguments.layers or max(1, pixel[0] - 3)  # a 7x7 window reaches three rows up, each 3x3 one more
    earlier = receptive_field.earlier(shape, pixel)
    panels = {}
    for title, (model, predicted) in families(shape, pixel, layers).items():
        seen = receptive_field.measure(model, shape, pixel, jax.random.key(0))
        if not np.array_equal(seen, predicted):
            differing = [tuple(at) for at in np.argwhere(seen != predicted).tolist()]
            raise ValueError(f"{title} does not see what its architecture says: they differ at {differing}")
        panels[title] = seen
        print(f"{title}: {seen.sum()} of {earlier.sum()} earlier pixels seen")
    draw(panels, earlier, pixel, arguments.out)
    print(arguments.out)


def families(shape, pixel, layers):
    """Title -> (model, what it should see), with `layers` after the first. A further family is one more entry."""
    from gen_models.evaluation.receptive_field import gated_pixel_cnn_field, pixel_cnn_field
    from gen_models.models.gated_pixel_cnn import gated_pixel_cnn
    from gen_models.models.pixel_cnn import pixel_cnn

    narrow = {"features": 8, "head_features": 8}
    return {
        "PixelCNN": (pixel_cnn(shape, blocks=layers, **narrow), pixel_cnn_field(shape, pixel, layers)),
        "Gated PixelCNN": (
            gated_pixel_cnn(shape, layers=layers + 1, **narrow),  # the first is one of them
            gated_pixel_cnn_field(shape, pixel, layers + 1),
        ),
    }


KINDS = {  # colour-blind safe; distinct in grey too
    "the pixel": "#d55e00",
    "seen": "#56b4e9",
    "earlier, not seen": "#3a3a3a",
    "later": "#f4f4f4",
}


def draw(panels, earlier, pixel, path: Path) -> None:
    """One panel for each title -> seen [H, W]; a legend under all of them."""
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = earlier.shape
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.55 * rows * height / width + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, seen) in zip(axes, panels.items(), strict=False):
        kind = np.where(seen, 1, np.where(earlier, 2, 3))
        kind[pixel] = 0
        axis.imshow(kind, cmap=ListedColormap(list(KINDS.values())), vmin=-0.5, vmax=len(KINDS) - 0.5)
        axis.set_title(f"{title}: {(seen & earlier).sum()} of {earlier.sum()} seen", fontsize=10)
        axis.set_xticks(np.arange(width + 1) - 0.5, [])
        axis.set_yticks(np.arange(height + 1) - 0.5, [])
        axis.grid(color="white", linewidth=0.8)
        axis.tick_params(length=0)
    for axis in axes[len(panels) :]:
        axis.remove()
    patches = [Patch(facecolor=colour, edgecolor="#888888", label=name) for name, colour in KINDS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    cli.guard(main)
