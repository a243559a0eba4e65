"""An entry of the zoo, and what several entries have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from gen_models.core import Model

SHAPE = (6, 6, 1)


class Entry(NamedTuple):
    """A model, its example batches and its optimizers."""

    model: Model
    batch: Callable[[int, int], dict[str, np.ndarray]]  # (seed, size) -> batch
    tx: Any  # an optax transformation, or one a player; linear in the gradients, so that runs can be compared
    deterministic: bool = False  # the loss does not depend on its key


SGD = optax.sgd(0.05, momentum=0.9)
SLOW = optax.sgd(2e-3, momentum=0.9)  # for losses that are sums over the pixels
CLASSES = {"shape": SHAPE, "num_classes": 3}
