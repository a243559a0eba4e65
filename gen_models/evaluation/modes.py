"""Mode coverage of samples: from a mixture of Gaussians on a grid, and of samples whose modes a classifier tells.

Srivastava et al., VEEGAN (2017), section 4.1, introduced the counts; Lin et al., PacGAN (2018), section 4.1, are
followed here. A sample is of high quality when it is less than three standard deviations from the nearest mode; a mode
is covered when at least one such sample is nearest to it. The reverse KL is KL(q || uniform), where q is the share of
each mode among the *high-quality samples alone*: so do PacGAN's authors in their published code, which gives a sample
to a mode within the threshold only, and keeps the entropy H(q), from which the reverse KL is log(modes) - H(q). A
sample between the modes thus lowers the quality and leaves the divergence alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class ModeStatistics(NamedTuple):
    """What `mode_statistics` gives: scalars; under `vmap`, one entry for each set of samples."""

    modes: Float[Array, ""]  # covered modes
    high_quality: Float[Array, ""]  # fraction of the samples
    reverse_kl: Float[Array, ""]  # nats; 0 at best, log(modes) with one mode only, NaN without a high-quality sample


def mode_statistics(
    samples: Float[Array, "n d"],
    centres: Float[Array, "modes d"],
    sigma: float | Float[Array, ""] = 0.05,
    threshold: float = 3.0,
) -> ModeStatistics:
    """Coverage, quality and reverse KL of samples; see the module's docstring.

    Args:
      samples: [N, d]; a sample that is not finite is of low quality.
      centres: the modes.
      sigma: standard deviation of every mode along every axis.
      threshold: standard deviations within which a sample is of high quality.

    Raises:
      ValueError: samples and centres have different dimensions.
    """
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(f"samples must be [N, d] and centres [modes, d], got {samples.shape} and {centres.shape}")
    # Differences rather than |a|^2 - 2 a b + |b|^2, in which float32 would lose the digits that a threshold of 0.15
    # needs at coordinates of 4.
    squared = ((samples[:, None] - centres) ** 2).sum(-1)  # [N, modes]
    nearest = squared.argmin(-1)
    good = squared.min(-1) < (threshold * sigma) ** 2
    counts = jax.ops.segment_sum(good.astype(samples.dtype), nearest, centres.shape[0])
    share = counts / counts.sum()  # 0 / 0 without a high-quality sample: NaN, as there is no distribution
    log_share = jnp.log(jnp.where(counts > 0, share, 1.0))
    return ModeStatistics(
        modes=(counts > 0).sum().astype(samples.dtype),
        high_quality=good.mean(),
        reverse_kl=jnp.log(centres.shape[0]) + (share * log_share).sum(),
    )


class Coverage(NamedTuple):
    """What `coverage_of` gives."""

    modes: int  # that one sample or more is of
    divergence: float  # KL(shares of the modes || uniform), nats; 0 at best, log(modes) with one mode only


def coverage_of(found: Int[np.ndarray, "n"], modes: int) -> Coverage:
    """How many of the modes 0 to `modes - 1` samples are of, and how unevenly: Metz et al. (2017), stacked MNIST.

    Every sample counts, whether it looks like data or not. Of n samples of the uniform distribution, about modes
    exp(-n / modes) modes are missed, and the divergence is about (modes - 1) / 2n.

    Args:
      found: the mode of each sample, [n].
      modes: how many there are.

    Raises:
      ValueError: there are no samples, or one is of no mode.
    """
    if not len(found) or found.min() < 0 or found.max() >= modes:
        raise ValueError(f"modes of one sample or more must be 0 to {modes - 1}, got {found}")
    counts = np.bincount(found, minlength=modes)
    share = counts[counts > 0] / len(found)
    return Coverage(int((counts > 0).sum()), float(np.log(modes) + (share * np.log(share)).sum()))
