"""Data sets, transforms and batches.

    from gen_models.data import load_splits
    from gen_models.data.transforms import binarise_dynamic

    train = load_splits("fashion_mnist_bundled", transform=binarise_dynamic).batches(128, seed=0)

Importing this package imports neither TFDS, grain, scikit-learn nor PIL.
"""

from gen_models.data.batching import Batches, batches, evaluation_batches, in_memory, streamed
from gen_models.data.dataset import Dataset
from gen_models.data.order import epoch_order
from gen_models.data.sources import NAMES, load
from gen_models.data.splits import Splits, load_splits
from gen_models.data.transforms import Transform

__all__ = [
    "NAMES",
    "Batches",
    "Dataset",
    "Splits",
    "Transform",
    "batches",
    "epoch_order",
    "evaluation_batches",
    "in_memory",
    "load",
    "load_splits",
    "streamed",
]
