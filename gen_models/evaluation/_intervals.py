"""Intervals of shares that several measurements give."""

import math
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)  # of the normal distribution's 95%


def wilson(found: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, Probable Inference, 1927): all that the normal test does not reject."""
    share = found / total
    centre = (share + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z / (1 + Z * Z / total) * math.sqrt(share * (1 - share) / total + (Z / (2 * total)) ** 2)
    return (0.0 if found == 0 else centre - half), (1.0 if found == total else centre + half)
