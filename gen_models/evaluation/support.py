"""How much of a distribution samples reach: how many different ones there are, and which classes.

The birthday paradox (Arora & Zhang, Do GANs Actually Learn the Distribution?, 2017): of s independent draws from N
equally likely points, two are the same with probability

    1 - prod_{i=1..s-1} (1 - i / N), about 1 - exp(-s (s - 1) / 2N)

So if batches of s samples hold duplicates about as often as not, the support has about s^2 points: that is the order of
magnitude which the paper reads; at a probability of 1/2 the equation itself has N = s^2 / (2 log 2) = 0.72 s^2.

This assumes that samples are independent; that it is clear what duplicates are: the paper has a person look for copies
of one image with slight changes, while here a distance in features decides, which must be chosen, as by looking at
`gen_models.evaluation.neighbours.closest_pairs`; and that no point is more likely than another. If some are, collisions
come more often (Munford, A Note on the Uniformity Assumption in the Birthday Problem, 1977), so that the estimate is
below the support: it is near 1 / sum_x p(x)^2, and a few frequent images among countless others make it small.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_models.evaluation._distances import BLOCK, nearest
from gen_models.evaluation._features import check_features, slices
from gen_models.evaluation._intervals import wilson
from gen_models.models.sizes import check_numbers, check_sizes

_HALVINGS = 100  # of an interval whose ends are then next to each other in float64


class BirthdayTest(NamedTuple):
    """What `birthday_test` gives; intervals are of 95%, (low, high)."""

    probability: float  # share of the batches that hold duplicates
    interval: tuple[float, float]  # Wilson's, which is an interval where the share is 0 or 1, too
    support: float  # number of equally likely points; infinite where no batch holds duplicates
    support_interval: tuple[float, float]
    batch_size: int  # s, whose square is the paper's estimate where the probability is near 1/2
    batches: int


def birthday_test(
    samples: Float[np.ndarray, "n d"], batch_size: int, threshold: float, *, seed: int = 0
) -> BirthdayTest:
    """How often a batch of samples holds duplicates, and the support that speaks for; see the module's docstring.

    The samples are shuffled and cut into batches that share none, so that these are independent; a rest that is no
    batch is left out.

    Args:
      samples: features of N independent samples.
      batch_size: s of them in a batch. Take one for which about half of the batches hold duplicates; where hardly any
        or nearly all do, the intervals are wide.
      threshold: Euclidean distance at which two samples are duplicates, and below; 0: identical ones alone.
      seed: of the order of the samples.

    Raises:
      ValueError: features are not finite; the batch size is below 2 or above N; or the threshold is negative or NaN.
    """
    check_features(least=2, samples=samples)
    check_sizes(batch_size=batch_size)
    check_numbers(threshold=threshold)
    if not 2 <= batch_size <= len(samples):
        raise ValueError(f"batch_size must be from 2 to the {len(samples)} samples, got {batch_size}")
    order = np.random.default_rng(seed).permutation(len(samples))
    batches = len(samples) // batch_size
    found = 0
    for part in slices(batches * batch_size, batch_size):
        batch = samples[order[part]]
        closest = nearest(batch, batch, 1, BLOCK, others=True)[0].min()
        found += int(math.sqrt(closest) <= threshold)
    low, high = wilson(found, batches)
    return BirthdayTest(
        probability=found / batches,
        interval=(low, high),
        support=support_size(found / batches, batch_size),
        support_interval=(support_size(high, batch_size), support_size(low, batch_size)),
        batch_size=batch_size,
        batches=batches,
    )


def collision_probability(batch_size: int, support: float) -> float:
    """The probability that two of s draws from N equally likely points are the same: 1 - prod_i (1 - i / N).

    Args:
      batch_size: s, 1 or more.
      support: N, 1 or more; between whole numbers the product says what it is.

    Raises:
      ValueError: a number is below 1, or the support is NaN.
    """
    check_sizes(batch_size=batch_size)
    if not support >= 1:
        raise ValueError(f"support must be 1 or more, got {support}")
    if batch_size - 1 >= support:
        return 1.0
    return float(0.0 - np.expm1(np.log1p(-np.arange(batch_size) / support).sum()))


def support_size(probability: float, batch_size: int) -> float:
    """The number of equally likely points of which s draws hold duplicates with this probability.

    It is the N at which `collision_probability` is this: infinite for 0. For 1 it is s - 1, and all that is known is
    that there are not many more points.

    Args:
      probability: from 0 to 1.
      batch_size: s, 2 or more.

    Raises:
      ValueError: the probability is none, or the batch size is below 2.
    """
    check_sizes(batch_size=batch_size)
    if not 0 <= probability <= 1 or batch_size < 2:
        raise ValueError(
            f"the probability must be from 0 to 1 and batch_size 2 or more, got {probability=} and {batch_size=}"
        )
    if probability == 0:
        return math.inf
    # A collision is no more likely than the sum over all pairs, s (s - 1) / 2N: the N that is sought is not above this.
    low, high = float(batch_size - 1), batch_size * (batch_size - 1) / (2 * probability)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if collision_probability(batch_size, middle) > probability:
            low = middle
        else:
            high = middle
    return high if probability < 1 else float(batch_size - 1)


class ClassCoverage(NamedTuple):
    """What `class_coverage` gives."""

    classes: int  # that samples cover
    reverse_kl: float  # nats; from the shares of samples to those of the reference
    shares: Float[np.ndarray, "classes"]  # of the samples


def class_coverage(
    predicted: Int[np.ndarray, "n"],
    num_classes: int,
    threshold: float = 0.0,
    *,
    reference: Int[np.ndarray, "m"] | None = None,
) -> ClassCoverage:
    """How many classes samples cover, by a classifier's predictions, and how far their shares are from even ones.

    Metz et al., Unrolled Generative Adversarial Networks (2017), count the classes of stacked digits so, and give the
    divergence. It is that of `gen_models.evaluation.modes`: KL(q || p), q the shares of the samples, and p uniform or
    of a reference. Of N samples whose distribution is p it is about (classes - 1) / 2N nats in expectation, and as much
    with M in place of N more with a reference of M examples. A classifier errs: its predictions for held-out data are
    the fair reference.

    Args:
      predicted: the class of each sample, 0 to num_classes - 1.
      num_classes: how many there are.
      threshold: the share of samples from which on a class is covered; one sample is needed in any case.
      reference: classes of data, such as the same classifier's predictions for them; None: all classes are alike.

    Raises:
      ValueError: there are no samples, a class is none of the num_classes, or the threshold is not from 0 to 1.
    """
    check_sizes(num_classes=num_classes)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a share from 0 to 1, got {threshold}")
    q = _shares("predicted", predicted, num_classes)
    p = np.full(num_classes, 1 / num_classes) if reference is None else _shares("reference", reference, num_classes)
    reached = q > 0
    if (p[reached] == 0).any():
        divergence = math.inf  # a class that the reference never has
    else:
        divergence = max(0.0, float((q[reached] * np.log(q[reached] / p[reached])).sum()))
    return ClassCoverage(int((reached & (q >= threshold)).sum()), divergence, q)


def _shares(name: str, classes: np.ndarray, num_classes: int) -> np.ndarray:
    if np.ndim(classes) != 1 or not np.issubdtype(classes.dtype, np.integer) or not len(classes):
        raise ValueError(
            f"{name} must be one or more classes, integers [N], got {list(np.shape(classes))} of {classes.dtype}"
        )
    wrong = (classes < 0) | (classes >= num_classes)
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(classes)} entries of {name} are no class from 0 to {num_classes - 1}, the first of "
            f"them {classes[wrong][0]}"
        )
    return np.bincount(classes, minlength=num_classes) / len(classes)
