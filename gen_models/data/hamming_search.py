"""The search for near codes: by substrings in which they must agree, or by comparing all with all."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16, UInt64

CACHED = 2**17  # of which all with all are compared at a time at most
BLOCK = 2**20  # pairs that are compared at a time: each takes some 60 bytes
WORD = 64  # bits of a word, and the most that a substring has
SAMPLE = 1200  # codes from whose pairs the costs of a search are estimated
MOST_FLIPS = 20_000  # of a substring, beyond which no search is thought of
# Nanoseconds, as measured: a comparison in a block of all with all, a candidate that a substring gives, a code that is
# looked up with some bits flipped, and what one choice of these bits takes besides.
COMPARED, CANDIDATE, LOOKED_UP, FLIPPED = 4.0, 45.0, 80.0, 1e5


def hamming(
    first: UInt64[np.ndarray, "*#n words"], second: UInt64[np.ndarray, "*#n words"]
) -> UInt16[np.ndarray, "..."]:
    """The number of bits in which codes differ, of arrays that broadcast."""
    total = np.zeros(np.broadcast_shapes(first.shape, second.shape)[:-1], np.uint16)
    for word in range(first.shape[-1]):
        total += np.bitwise_count(first[..., word] ^ second[..., word])
    return total


def near_pairs(codes: np.ndarray, distance: int, block: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of (lower number, higher number, distance) of all near pairs of distinct codes, once each."""
    if distance < 1 or len(codes) < 2:
        return
    substrings = _plan(codes, distance)
    if not substrings:
        yield from _compare_all(codes, distance, block)
        return
    for number, own in enumerate(substrings):
        key = _key(codes, own.bits)
        order = np.argsort(key)
        columns = np.ascontiguousarray(codes[order].T)  # in the keys' order, so that what is compared lies together
        for left, right in _agreeing(key[order], own, block):
            near = np.flatnonzero(_differing(columns, left, right) <= distance)
            low, high = order[left[near]], order[right[near]]
            low, high = np.minimum(low, high), np.maximum(low, high)
            new = np.ones(len(low), bool)
            for earlier in substrings[:number]:  # a pair is given by the first substring that finds it
                new = new & (hamming(codes[low] & earlier.mask, codes[high] & earlier.mask) > earlier.radius)
            low, high = low[new], high[new]
            yield low, high, hamming(codes[low], codes[high])


def _differing(columns: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The number of bits in which codes differ, of words in columns [W, U]."""
    small = len(columns) * WORD < 256
    total: np.ndarray = np.zeros(len(left), np.uint8 if small else np.uint16)
    for words in columns:
        total += np.bitwise_count(words[left] ^ words[right])
    return total


class _Substring(NamedTuple):
    """Bits of the codes that two of them are looked for to agree in."""

    bits: np.ndarray  # positions in a code, at most 64
    mask: np.ndarray  # the same as words, [W]
    radius: int  # bits of them in which they may differ all the same

    @property
    def flips(self) -> int:
        return sum(math.comb(len(self.bits), count) for count in range(self.radius + 1))


def _plan(codes: np.ndarray, distance: int) -> list[_Substring]:
    """The substrings of the cheapest search; none where it is cheapest to compare all with all.

    Of m substrings with radii r_k, a pair that differs in more than r_k bits of each differs in sum(r_k + 1) or more;
    where that is distance + 1, no pair that is near escapes.
    """
    total = len(codes)
    every = codes[np.random.default_rng(0).choice(total, min(total, SAMPLE), replace=False)]
    one, other = every[: len(every) // 2], every[len(every) // 2 :]
    order = _by_evenness(every)
    best, least = list[_Substring](), COMPARED * total * total / 2
    for count in range(1, min(distance + 1, len(order)) + 1):
        own = _cut(order, count, distance, codes.shape[1])
        if sum(part.flips for part in own) > MOST_FLIPS:
            continue
        cost = 0.0
        for part in own:
            differing = hamming(one[:, None] & part.mask, other[None] & part.mask)
            share = float((differing <= part.radius).mean())
            cost += part.flips * (FLIPPED + LOOKED_UP * total / 2) + CANDIDATE * share * total * total / 2
        if cost < least:
            best, least = own, cost
    return best


def _by_evenness(codes: np.ndarray) -> np.ndarray:
    """The positions of all bits, those that are set in half of the codes first."""
    positions = range(codes.shape[1] * WORD)
    share = np.array([_bit(codes, position).mean() for position in positions])
    return np.argsort(np.abs(share - 0.5), kind="stable")


def _cut(order: np.ndarray, count: int, distance: int, words: int) -> list[_Substring]:
    """Bits dealt to so many substrings in turn, whose radii come to the distance."""
    base, larger = divmod(distance + 1, count)
    found = []
    for index in range(count):
        bits = order[index::count][:WORD]
        mask = np.zeros(words, np.uint64)
        for position in bits:
            mask[position // WORD] |= np.uint64(1) << np.uint64(position % WORD)
        found.append(_Substring(bits, mask, base + (index < larger) - 1))
    return found


def _bit(codes: np.ndarray, position: int) -> np.ndarray:
    return (codes[:, position // WORD] >> np.uint64(position % WORD)) & np.uint64(1)


def _key(codes: np.ndarray, bits: Sequence[int] | np.ndarray) -> np.ndarray:
    """The bits of a substring as one number for each code, uint64 [U]."""
    key = np.zeros(len(codes), np.uint64)
    for place, position in enumerate(bits):
        key |= _bit(codes, int(position)) << np.uint64(place)
    return key


def _agreeing(ordered: np.ndarray, own: _Substring, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of pairs of positions in sorted keys that differ in at most `radius` bits, once each, in either order."""
    for count in range(own.radius + 1):
        for flipped in combinations(range(len(own.bits)), count):
            yield from _joined(ordered, np.uint64(sum(1 << place for place in flipped)), block)


def _joined(ordered: np.ndarray, mask: np.uint64, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of pairs of positions in sorted keys that differ in just the bits of the mask, once each."""
    if mask:
        wanted = ordered ^ mask
        asking = np.flatnonzero(wanted > ordered)  # the other half would find the same pairs
        begins = np.searchsorted(ordered, wanted[asking], "left")
        hits = ordered[np.minimum(begins, len(ordered) - 1)] == wanted[asking]
        asking, begins = asking[hits], begins[hits]
        ends = np.searchsorted(ordered, wanted[asking], "right")
    else:
        ends = np.searchsorted(ordered, ordered, "right")
        asking = np.flatnonzero(ends - np.arange(len(ordered)) > 1)
        begins, ends = asking + 1, ends[asking]
    until = np.cumsum(ends - begins)  # pairs up to each position that asks, its own included
    for start in range(0, int(until[-1]) if len(until) else 0, block):
        stop = min(start + block, int(until[-1]))
        own = slice(np.searchsorted(until, start, "right"), np.searchsorted(until, stop, "left") + 1)
        last = np.minimum(until[own], stop)
        many = np.diff(last, prepend=start)
        left = np.repeat(asking[own], many)
        yield left, np.arange(start, stop) + np.repeat(ends[own] - until[own], many)


def _compare_all(codes: np.ndarray, distance: int, block: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every pair, in squares of `block` or of what a cache holds."""
    side = max(1, math.isqrt(min(block, CACHED)))
    columns = np.ascontiguousarray(codes.T)
    counts = np.uint8 if len(columns) * WORD < 256 else np.uint16
    for top in range(0, len(codes), side):
        for left in range(top, len(codes), side):
            bits = np.zeros((min(side, len(codes) - top), min(side, len(codes) - left)), counts)
            for words in columns:
                bits += np.bitwise_count(words[top : top + side, None] ^ words[None, left : left + side])
            near = np.flatnonzero(bits.ravel() <= distance)
            low, high = np.divmod(near, bits.shape[1])
            once = low + top < high + left
            low, high = low[once], high[once]
            yield low + top, high + left, bits[low, high]
