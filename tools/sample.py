"""Draw samples from a trained run: a picture, and the arrays beside it.

python -m tools.sample RUN --n 64
python -m tools.sample RUN --label 3                    # of one class, by a model that is told the class
python -m tools.sample RUN --given image.png --n 4      # completions of the image's upper half, by a model of pixels
python -m tools.sample RUN --given images.npy --mask mask.png
python -m tools.sample RUN --n 4 --prompt ROMEO: --temperature 0.8 --length 400  # of texts; --top-k, --top-p

An .npy file holds levels, integers from 0, as this tool writes them: one image [H, W, C] or [H, W], or several
[N, H, W, C]. A .png file's pixels are cut to the model's levels. Of a mask, [H, W], every pixel that is not 0 is given.
"""

import argparse
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gen_models.run import cli, tool

if TYPE_CHECKING:
    from gen_models.measures.base import DrawsSamples
    from gen_models.run.restore import Loaded

# Options of models of tokens, by the names that the measures which draw their samples have for them.
OPTIONS = ("prompt", "temperature", "top_k", "top_p", "length")


def main() -> None:
    """Parse, restore, sample, write."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--n", type=int, default=64, help="how many samples, of each image with --given (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--label", type=int, metavar="K", help="draw samples of this class")
    parser.add_argument("--given", type=Path, metavar="FILE", help="complete the images of this .png or .npy file")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="which pixels are given (default: the upper half)")
    parser.add_argument("--prompt", metavar="TEXT", help="how each text begins")
    parser.add_argument("--temperature", type=float, help="divide logits by this number")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K most probable tokens alone")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the most probable tokens that have P together"
    )
    parser.add_argument("--length", type=int, help="tokens of a text, samples of a sound, rows of music")
    parser.add_argument("--out", type=Path, help="PNG file (default: in RUN/samples; where that is read-only, here)")
    arguments = parser.parse_args()
    if arguments.n < 1:
        raise ValueError(f"--n must be 1 or more, got {arguments.n}")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: the folder {arguments.out.parent} does not exist")
    if arguments.out is not None and arguments.out.suffix.lower() != ".png":
        raise ValueError(f"--out: {arguments.out} must end in .png; the arrays are written beside it, in .npy")
    if arguments.mask is not None and arguments.given is None:
        raise ValueError("--mask says which pixels of --given count: give that too")

    found = tool.loaded(arguments, with_data=False)
    sampler = with_options(tool.sampler_of(found), found, arguments)
    tool.check_label(found, arguments.label)
    n, condition = condition_of(found, arguments)

    import jax

    samples = np.asarray(sampler.sample(found.job.trained(found.state), jax.random.key(arguments.seed), n, **condition))
    path = tool.output(arguments.out, found.run.samples / f"{_name(arguments)}.png")
    sampler.show(samples, path)
    np.save(path.with_suffix(".npy"), samples)
    print(f"{len(samples)} samples: {path} and {path.with_suffix('.npy')}")


def with_options(sampler: "DrawsSamples", found: "Loaded", arguments: argparse.Namespace) -> "DrawsSamples":
    """The measure that draws the run's samples, with the options that were given in place of its own.

    Raises:
      ValueError: it has no such option, or the option no such value.
    """
    given = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    if not given.get("temperature", 1) >= 0:
        raise ValueError(f"--temperature must be 0 or more, got {arguments.temperature}")
    if not 0 < given.get("top_p", 1) <= 1:
        raise ValueError(f"--top-p must be a probability above 0 and at most 1, got {arguments.top_p}")
    if given.get("length", 1) < 1:
        raise ValueError(f"--length must be 1 or more, got {arguments.length}")
    if not given:
        return sampler
    assert is_dataclass(sampler) and not isinstance(sampler, type), "measures are frozen dataclasses"
    has = [name for name in OPTIONS if name in {field.name for field in fields(sampler)}]
    for name, value in given.items():
        if name not in has:
            known = ", ".join(f"--{one.replace('_', '-')}" for one in has) or "none of these options"
            raise ValueError(
                f"--{name.replace('_', '-')} {value}: samples of {found.run.folder} take {known}: leave it out"
            )
    return replace(sampler, **given)


def condition_of(found: "Loaded", arguments: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """How many samples there are, and what the model's `sample` is told of them.

    Raises:
      ValueError, OSError: a file cannot be read, or does not fit the model.
    """
    n, condition = arguments.n, {}
    if arguments.given is not None:
        given, mask = completed(found, arguments.given, arguments.mask)
        n *= len(given)
        condition = {"given": np.repeat(given, arguments.n, axis=0), "mask": mask}
    if arguments.label is not None:
        condition["label"] = np.full(n, arguments.label, np.int32)
    return n, condition


def completed(found: "Loaded", given: Path, mask: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Levels [N, H, W, C] and the mask [H, W] that files hold.

    Raises:
      ValueError, OSError: a file cannot be read, or does not fit the model.
    """
    import jax.numpy as jnp

    from gen_models.measures.likelihood import upper_half
    from gen_models.models.inputs import completion

    if not tool.takes(found, "given", "mask"):
        raise ValueError(f"--given: the model of {found.run.folder} completes no images, as models of pixels do")
    shape, levels = found.job.data.shape, getattr(tool.sampler_of(found), "levels", found.job.data.levels)
    x = images_of(given, shape[-1], levels)
    known = upper_half(shape) if mask is None else images_of(mask, 1, 256)[0, ..., 0] > 0
    for path, has, wants in ((given, x.shape[1:], shape), (mask, known.shape, shape[:2])):
        if has != wants:
            raise ValueError(f"{path} is {has}, but the model's images are {wants}: cut it or scale it first")
    try:
        completion(jnp.asarray(x), jnp.asarray(known), len(x), shape, levels)
    except ValueError as error:  # what is no level
        raise ValueError(f"{given}: {error}") from error
    return x, known


def images_of(path: Path, channels: int, levels: int) -> np.ndarray:
    """What a file holds, as [N, H, W, C]; the pixels of a picture are cut to so many levels.

    Raises:
      ValueError, OSError: it cannot be read, or is of another kind.
    """
    if path.suffix == ".npy":
        x = np.load(path, allow_pickle=False)
        x = x[..., None] if x.ndim == 2 else x
        x = x[None] if x.ndim == 3 else x
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"), np.int32)
        x = (pixels * levels // 256).reshape(1, *pixels.shape[:2], channels)
    else:
        raise ValueError(f"{path} must be a .png or an .npy file")
    if x.ndim != 4 or not len(x):
        raise ValueError(f"{path} must hold one image or several, [N, H, W, C], got the shape {x.shape}")
    return x


def _name(arguments: argparse.Namespace) -> str:
    """n64_seed0, and the conditions."""
    label = "" if arguments.label is None else f"_label{arguments.label}"
    given = "" if arguments.given is None else f"_{arguments.given.stem}"
    options = "".join(
        f"_{name}{getattr(arguments, name)}"
        for name in ("temperature", "top_k", "top_p", "length")
        if getattr(arguments, name) is not None
    )
    prompt = "" if arguments.prompt is None else "_prompt"
    return f"n{arguments.n}_seed{arguments.seed}{label}{given}{prompt}{options}"


if __name__ == "__main__":
    cli.guard(main)
