"""What the search of near codes costs: seconds of a core's time, and memory, for codes that are made up."""

import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from gen_models.data.near_duplicates import first_kept, near_codes

CLUSTER = 10  # codes around a centre
FLIPS = 4  # by which each of them differs from it


def timed(count: int, distance: int) -> Iterator[str]:
    """A line for codes of each kind: random ones, clusters, and one code for all."""
    for kind, make in {"equal": equal, "random": drawn, "clustered": clustered}.items():
        codes = make(count)
        began, clock = time.process_time(), time.perf_counter()
        near = near_codes(codes, distance)
        took, waited = time.process_time() - began, time.perf_counter() - clock
        kept = int((first_kept(near).by == np.arange(count)).sum())
        yield (
            f"{kind:<10}{count:,} codes, {distance} bits: {len(near.pairs):,} pairs in {took:.1f} s of a core "
            f"({waited:.1f} s), {kept:,} kept, the process's peak {_peak() / 2**20:,.0f} MiB"
        )


def equal(count: int) -> np.ndarray:
    """One code, over and over."""
    return np.zeros((count, 2), np.uint64)


def drawn(count: int) -> np.ndarray:
    """Random codes of 128 bits."""
    return np.random.default_rng(0).integers(0, 2**64, (count, 2), dtype=np.uint64)


def clustered(count: int) -> np.ndarray:
    """Codes in tens, each with up to four flips from a random centre."""
    generator = np.random.default_rng(0)
    codes = drawn(-(-count // CLUSTER)).repeat(CLUSTER, 0)[:count]
    for _ in range(FLIPS):
        flipped = generator.integers(0, 128, count)
        codes[np.arange(count), flipped // 64] ^= np.uint64(1) << (flipped % 64).astype(np.uint64)
    return codes


def _peak() -> int:
    """The most memory that the process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
