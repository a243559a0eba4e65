"""Diagnoses of breast cancer by measurements of cell nuclei (Wolberg, Street & Mangasarian, 1995)."""

import numpy as np

from gen_models.data.splits import Splits

TEST = 189  # of 569


def breast_cancer_splits(seed: int = 0) -> Splits:
    """569 examples in an order of the seed, the last 189 for testing: {"x": float32 [N, 30], "y": int32, 1 malignant}.

    x is standardised by the training part; its first number is the mean radius.

    Raises:
      ImportError: scikit-learn, whose copy this is, is not installed.
    """
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise ImportError("these data come with scikit-learn: pip install 'gen_models[probes]'") from error
    found = load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(found.target))
    x, y = found.data[order], 1 - found.target[order]  # there 1 is benign
    known = x[:-TEST]
    x = (x - known.mean(0)) / known.std(0)
    arrays = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
    train, test = ({name: part[cut] for name, part in arrays.items()} for cut in (slice(-TEST), slice(-TEST, None)))
    return Splits.of_arrays(train, test, name="breast cancer", num_classes=2, examples="patients")
