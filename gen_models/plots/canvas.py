"""Files that pictures are drawn on without a display, and texts that are shown as they are."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas


@contextmanager
def drawing(path: str | Path, **canvas: Any) -> Iterator[Canvas]:
    """A canvas with these arguments, which is written when the block ends, whatever the user's own settings are.

    Texts come from users: with `literal` none of their characters means anything, and one that the font lacks is drawn
    as a box, without a warning.
    """
    with mpl.rc_context({"text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        made = Canvas(**canvas)
        yield made
        made.savefig(path, dpi=110)


def literal(text: object) -> str:
    """The text as matplotlib shows it literally: no formula between dollars, no label that is left out for its `_`."""
    plain = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))
    return (" " if plain.startswith("_") else "") + plain.replace("$", r"\$")
