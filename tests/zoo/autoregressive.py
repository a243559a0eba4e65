"""Autoregressive models of images, each small enough to train in a blink."""

from collections.abc import Callable

from gen_models.models.autoregressive.fvsbn import fvsbn
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.made import made
from gen_models.models.autoregressive.nade import nade
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.models.autoregressive.pixel_snail import pixel_snail

from .batches import small
from .entry import SLOW, Entry

BITS = {"shape": (4, 4, 1), "levels": 2, "features": 4}

AUTOREGRESSIVE: dict[str, Callable[..., Entry]] = {
    "fvsbn": lambda dtype=None: Entry(fvsbn((4, 4, 1), dtype=dtype), small, SLOW, deterministic=True),
    "nade": lambda dtype=None: Entry(nade((4, 4, 1), hidden=6, dtype=dtype), small, SLOW, deterministic=True),
    "made": lambda dtype=None: Entry(made((4, 4, 1), hidden=(8,), dtype=dtype), small, SLOW, deterministic=True),
    "pixel_cnn": lambda dtype=None: Entry(
        pixel_cnn(**BITS, blocks=1, first_window=3, head_features=4, dtype=dtype), small, SLOW, deterministic=True
    ),
    "gated_pixel_cnn": lambda dtype=None: Entry(
        gated_pixel_cnn(**BITS, layers=2, first_window=3, head_features=4, dtype=dtype), small, SLOW, deterministic=True
    ),
    "pixel_cnn_pp": lambda dtype=None: Entry(
        pixel_cnn_pp(**BITS, blocks=1, resolutions=2, mixtures=None, dropout=0.0, dtype=dtype),
        small,
        SLOW,
        deterministic=True,
    ),
    **{
        f"{kind}_lstm": lambda dtype=None, kind=kind: Entry(
            pixel_rnn(**BITS, layers=1, kind=kind, first_window=3, head_features=4, skip=True, dtype=dtype),
            small,
            SLOW,
            deterministic=True,
        )
        for kind in ("row", "diagonal")
    },
    "image_gpt": lambda dtype=None: Entry(
        image_gpt(**BITS, layers=1, heads=1, dtype=dtype), small, SLOW, deterministic=True
    ),
    "pixel_snail": lambda dtype=None: Entry(
        pixel_snail(**BITS, blocks=1, residual_blocks=1, key_features=2, dtype=dtype), small, SLOW, deterministic=True
    ),
}
