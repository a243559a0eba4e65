"""Whether samples are too much alike: their spread, and how many different ones there are, beside those of data.

A generator that has lost modes draws samples that are nearer to each other than examples of the data are. Two numbers
show it without a classifier:

- spread: the mean distance of two samples over that of two examples, 1 where both have the same distribution. It sees
  samples that are nearly one image, and hardly a loss of some modes among many.
- support: two draws of a distribution p on points are the same with probability sum_x p(x)^2, and 1 over it is the
  number of equally likely points, as the birthday paradox has it (`gen_models.evaluation.support`, on Arora & Zhang,
  2017). Here two are the same where they are nearer than r, half of the median distance of an example to the nearest
  of the others, and their probability is the share of such pairs among all. A generator that draws m images, with
  little noise, has m.

So nothing is chosen by hand, and neither number depends on the scale of the features. The support depends on how many
examples r was found with: compare at equal numbers. Neither is a test of quality: noise is far apart.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gen_models.evaluation._distances import BLOCK, nearest, pairs
from gen_models.evaluation._features import check_features

# From here on samples do not count as collapsed. Ten images of the bundled clothes drawn again and again have a support
# of 10; what the first five principal components leave of 600 of them, which loses no mode, has 37.
LEAST_SPREAD = 0.5
LEAST_SUPPORT = 30.0
TIMES_LESS = 10.0  # than the data's: of data which are few points themselves, few are no collapse


class Likeness(NamedTuple):
    """What `likeness` gives."""

    spread: float  # mean distance of two samples over that of two examples
    support: float  # points that samples speak for; where no two are the same the number of pairs, a lower bound
    data_support: float  # those that the examples speak for
    distance: float  # r: nearer samples are the same

    @property
    def collapsed(self) -> bool:
        """Whether samples have less than half of the data's spread, or are fewer than 30 different ones.

        The latter only where the data are at least ten times as many. A loss of some modes is for `class_coverage` and
        `mode_statistics`, which know what the modes are.
        """
        few = self.support < LEAST_SUPPORT and TIMES_LESS * self.support <= self.data_support
        return self.spread < LEAST_SPREAD or few


def likeness(samples: Float[np.ndarray, "n d"], data: Float[np.ndarray, "m d"], *, block: int = BLOCK) -> Likeness:
    """How much alike samples are, beside examples; see the module's docstring.

    Args:
      samples: features, or pixels, of N independent samples.
      data: those of M independent examples, which should be about as many.
      block: points on each side of the blocks that are compared at a time.

    Raises:
      ValueError: there are fewer than 2 points of either kind, features are not finite or of different dimensions, or
        half of the examples or more have an exact copy, so that nothing is near by their measure.
    """
    check_features(least=2, samples=samples, data=data)
    distance = float(np.median(np.sqrt(nearest(data, data, 1, block, others=True)[0]))) / 2
    if distance == 0:
        raise ValueError(
            f"half of the {len(data)} examples or more have an exact copy among them: leave the copies out of the data"
        )
    mean, support = _of_pairs(samples, distance, block)
    data_mean, data_support = _of_pairs(data, distance, block)
    return Likeness(mean / data_mean, support, data_support, distance)


def _of_pairs(points: np.ndarray, distance: float, block: int) -> tuple[float, float]:
    """The mean distance of two of the points, and the support by the pairs that are as near as `distance` or nearer."""
    total, same, count = 0.0, 0, 0
    for each in pairs(points, points, block, once=True):
        between = np.sqrt((each.low + each.high) / 2)
        if each.rows == each.columns:
            between = between[np.triu_indices(len(between), 1)]
        total += float(between.sum())
        same += int((between <= distance).sum())
        count += between.size
    return total / count, count / max(same, 1)
