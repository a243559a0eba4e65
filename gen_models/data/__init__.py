"""Data sets, transforms and batches.

    from gen_models.data import batches, load
    from gen_models.data.transforms import binarise_dynamic

    train = batches(load("fashion_mnist_bundled"), 128, transform=binarise_dynamic)

Importing this package imports neither TFDS, grain, scikit-learn nor PIL.
"""

from gen_models.data.batching import Batches, batches, epoch_order, evaluation_batches, in_memory, streamed
from gen_models.data.dataset import Dataset
from gen_models.data.sources import NAMES, load

__all__ = [
    "NAMES",
    "Batches",
    "Dataset",
    "batches",
    "epoch_order",
    "evaluation_batches",
    "in_memory",
    "load",
    "streamed",
]
