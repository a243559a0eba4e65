"""Data whose distribution is known, drawn from a seed."""

import numpy as np
from jaxtyping import Float

from gen_models.evaluation.modes import grid_centres


def gaussian_grid(
    count: int = 100_000, seed: int = 0, *, side: int = 5, spacing: float = 2.0, sigma: float = 0.05
) -> dict[str, Float[np.ndarray, "n 2"]]:
    """Points of an equal mixture of `side` x `side` Gaussians on a grid around the origin: {"image": float32 [n, 2]}.

    The defaults are the grid of 25 of Lin et al., PacGAN (2018), section 4.1.

    Raises:
      ValueError: `count` or `sigma` is not positive, or as `grid_centres`.
    """
    if count < 1 or not sigma > 0:
        raise ValueError(f"count and sigma must be positive, got {count=}, {sigma=}")
    centres = np.asarray(grid_centres(side, spacing))
    draw = np.random.default_rng(seed)
    points = centres[draw.integers(len(centres), size=count)] + sigma * draw.standard_normal((count, 2))
    return {"image": points.astype(np.float32)}
