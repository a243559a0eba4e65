"""Every model, small enough to train in a blink. Adding one is one line in its family's file; `test_contract` tests it.

A builder takes the computations' dtype; one whose batch norm works across devices takes their axis.
"""

from collections.abc import Callable

from .adversarial import ADVERSARIAL
from .autoregressive import AUTOREGRESSIVE
from .batches import heard as heard
from .entry import Entry as Entry
from .latent import LATENT
from .sequences import SEQUENCES
from .supervised import SUPERVISED

ZOO: dict[str, Callable[..., Entry]] = {**SUPERVISED, **SEQUENCES, **LATENT, **ADVERSARIAL, **AUTOREGRESSIVE}
