"""Near-duplicates by binary codes: all pairs within a Hamming distance, exactly and in bounded memory.

Salakhutdinov & Hinton, Semantic Hashing (2007), give images codes of bits, so that similar ones have codes that differ
in few of them. Radford et al., DCGAN (2016), section 4.1.1, take images of one code for duplicates. Codes that differ
in up to r bits are found by multi-index hashing (Norouzi, Punjani & Fleet, Fast Search in Hamming Space with
Multi-Index Hashing, 2012): cut into substrings, two of them within r must agree in one of the substrings, up to a few
bits, so that looking these few flips up in a sorted list finds every pair.

Differs from there: bits are dealt to the substrings by how evenly they are set, as those of a network's codes are not;
how many substrings there are follows from what a sample of the codes says the search would cost; and each distinct code
is looked up once, so that a million copies of one image are one code and no pair. Its first
example stands for each code.

What is held beside the codes and the pairs that are found are some arrays [N] for a substring and some of `block`
pairs.

A million codes of 128 bits with each other, differing in up to 8: seconds of a core's time and the process's peak
memory. Once each, on 2 vCPUs of an Intel Xeon beside one other program, by
`python -m tools.dedup --search 1000000 --distance 8`:
  random     5.0 s, 304 MiB; no pair
  clustered  8.8 s, 471 MiB: 4,499,982 pairs, of tens of codes that are 4 flips from their centres
  equal      0.1 s, 209 MiB; no pair, as they are one code
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

from gen_models.data.hamming_search import BLOCK, WORD, near_pairs
from gen_models.data.hamming_search import hamming as hamming

MOST_PAIRS = 2**26  # pairs of distinct codes that are kept: each takes 9 bytes, and more while they are sorted


class NearCodes(NamedTuple):
    """What `near_codes` gives: the distinct codes of N examples, and which of them are near each other.

    Distinct codes are numbered in the order of their first examples.
    """

    first: Int[np.ndarray, "distinct"]  # the first example of each distinct code, rising
    code_of: Int[np.ndarray, "n"]  # the distinct code of each example
    pairs: Int[np.ndarray, "p 2"]  # distinct codes within the distance, the lower number first; sorted
    distances: UInt8[np.ndarray, "p"]  # bits in which they differ, 1 or more
    distance: int  # up to which pairs were looked for


class Kept(NamedTuple):
    """What `first_kept` gives."""

    by: Int[np.ndarray, "n"]  # the example that stands for each one: itself where it is kept
    distances: UInt8[np.ndarray, "n"]  # bits in which the codes of the two differ


class NearestReference(NamedTuple):
    """What `nearest_reference` gives."""

    nearest: Int[np.ndarray, "n"]  # of each query the nearest reference, the first of several; -1 where none is near
    distances: UInt8[np.ndarray, "n"]  # bits in which their codes differ; 0 where none is near


def pack_bits(bits: Bool[np.ndarray, "n b"]) -> UInt64[np.ndarray, "n words"]:
    """Codes of bits as words of 64: bit i of a code is bit i % 64 of its word i // 64; the rest are 0.

    Raises:
      ValueError: there are no bits.
    """
    if not bits.shape[1]:
        raise ValueError("codes need a bit or more")
    words = -(-bits.shape[1] // WORD)
    filled = np.zeros((len(bits), words * WORD), bool)
    filled[:, : bits.shape[1]] = bits
    return np.packbits(filled, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def near_codes(
    codes: UInt64[np.ndarray, "n words"], distance: int, *, most: int = MOST_PAIRS, block: int = BLOCK
) -> NearCodes:
    """The distinct codes, and all pairs of them that differ in at most `distance` bits: exactly these.

    Args:
      codes: of `pack_bits`, [N, W].
      distance: bits, from 0 to 255; 0 finds equal codes alone. Time grows fast with it, as does what is found by
        chance: of random codes of 128 bits, two differ in 64 +- 5.7.
      most: pairs of distinct codes that are held.
      block: pairs that are compared at a time; the result does not depend on it.

    Raises:
      ValueError: there are no codes, the distance is not from 0 to 255, or more pairs than `most` are that near.
    """
    _check(distance, block, codes=codes)
    first, code_of = _distinct(codes)
    pairs, distances = _all_near(codes[first], distance, None, most, block)
    return NearCodes(first, code_of, pairs, distances, distance)


def nearest_reference(
    queries: UInt64[np.ndarray, "n words"],
    references: UInt64[np.ndarray, "m words"],
    distance: int,
    *,
    most: int = MOST_PAIRS,
    block: int = BLOCK,
) -> NearestReference:
    """The reference that is nearest to each query, where one is within the distance: which test images were trained on?

    Args:
      queries: of `pack_bits`, [N, W].
      references: [M, W].
      distance: bits, from 0 to 255.
      most: pairs of a query's and a reference's code that are held.
      block: as in `near_codes`.

    Raises:
      ValueError: as `near_codes`, or codes have other lengths.
    """
    _check(distance, block, queries=queries, references=references)
    codes = np.concatenate([references, queries])
    first, code_of = _distinct(codes)
    split = len(references)
    referred, asked = np.zeros(len(first), bool), np.zeros(len(first), bool)
    referred[code_of[:split]] = True
    asked[code_of[split:]] = True
    pairs, distances = _all_near(codes[first], distance, (referred, asked), most, block)
    # Both ways, and every code to itself; then the nearest reference comes first for each code.
    own = np.arange(len(first), dtype=pairs.dtype)
    code = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    near = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    far = np.concatenate([distances, distances, np.zeros(len(own), np.uint8)])
    usable = referred[near]  # the first example of a code that a reference has is a reference
    code, near, far = code[usable], near[usable], far[usable]
    order = np.lexsort((near, far, code))
    code, near, far = code[order], near[order], far[order]
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    index, bits = np.full(len(first), -1, np.int64), np.zeros(len(first), np.uint8)
    index[code[begins]], bits[code[begins]] = first[near[begins]], far[begins]
    return NearestReference(index[code_of[split:]], bits[code_of[split:]])


def first_kept(near: NearCodes, distance: int | None = None) -> Kept:
    """Which examples are kept: in their order, each that is not near one that is kept already.

    So no two that are kept are near each other, and each that is not is near one that is, whatever chains there are
    between (which `connected_groups` follows). It stands for it: the nearest of them before it, the first of several.

    Args:
      near: of `near_codes`.
      distance: bits, at most that of `near`, which None takes.

    Raises:
      ValueError: the distance is beyond that up to which pairs were looked for.
    """
    pairs, distances = _within(near, distance)
    order = np.argsort(pairs[:, 1], kind="stable")
    kept = bytearray(b"\1") * len(near.first)
    for start in range(0, len(order), BLOCK):
        part = pairs[order[start : start + BLOCK]]
        # By the higher number: all that may remove the lower one of a pair has been seen before the pair.
        for low, high in zip(part[:, 0].tolist(), part[:, 1].tolist(), strict=True):
            if kept[low]:
                kept[high] = 0
    stays = np.frombuffer(kept, np.uint8).astype(bool)
    telling = stays[pairs[:, 0]] & ~stays[pairs[:, 1]]
    pairs, distances = pairs[telling], distances[telling]
    order = np.lexsort((pairs[:, 0], distances, pairs[:, 1]))
    begins = order[np.flatnonzero(np.diff(pairs[order, 1], prepend=-1))]
    by, bits = np.arange(len(near.first)), np.zeros(len(near.first), np.uint8)
    by[pairs[begins, 1]], bits[pairs[begins, 1]] = pairs[begins, 0], distances[begins]
    return Kept(near.first[by][near.code_of], bits[near.code_of])


def connected_groups(near: NearCodes, distance: int | None = None) -> Int[np.ndarray, "n"]:
    """The first example of each one's group, in which a chain of near ones leads from each to each.

    Chains grow long where the distance is large: the two ends of a group may have nothing in common.

    Args:
      near: of `near_codes`.
      distance: as in `first_kept`.

    Raises:
      ValueError: as `first_kept`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, _ = _within(near, distance)
    total = len(near.first)
    edges = coo_array((np.ones(len(pairs), np.uint8), (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    _, group = connected_components(edges, directed=False)
    _, lowest = np.unique(group, return_index=True)  # the first code of each group, and so its first example
    return near.first[lowest[group]][near.code_of]


def _check(distance: int, block: int, **codes: np.ndarray) -> None:
    for name, value in codes.items():
        if not len(value) or not value.shape[1]:
            raise ValueError(f"{name} are empty: {list(value.shape)}")
    if len({value.shape[1] for value in codes.values()}) > 1:
        raise ValueError(f"codes differ in length: {', '.join(f'{n} {list(v.shape)}' for n, v in codes.items())}")
    if not 0 <= distance <= 255 or block < 1:
        raise ValueError(f"the distance must be from 0 to 255 bits and block 1 or more, got {distance} and {block}")


def _within(near: NearCodes, distance: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The pairs within a distance, and their distances."""
    if distance is None or distance == near.distance:
        return near.pairs, near.distances
    if not 0 <= distance <= near.distance:
        raise ValueError(f"distance={distance}, but pairs were looked for up to {near.distance} bits: look again")
    chosen = near.distances <= distance
    return near.pairs[chosen], near.distances[chosen]


def _distinct(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first example of each distinct code, rising, and the distinct code of each example."""
    order = np.lexsort(codes.T)  # stable, so that the first example of equal codes comes first
    ordered = codes[order]
    new = np.ones(len(codes), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    firsts = order[new]
    rank = np.empty(len(firsts), np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    code_of = np.empty(len(codes), np.int64)
    code_of[order] = rank[np.cumsum(new) - 1]
    return np.sort(firsts), code_of


def _all_near(
    codes: np.ndarray, distance: int, sides: tuple[np.ndarray, np.ndarray] | None, most: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of distinct codes within the distance, sorted, and their distances.

    With `sides`, two arrays bool [U], only those of which one code has the first mark and the other the second.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    for low, high, bits in near_pairs(codes, distance, block):
        if sides is not None:
            left, right = sides
            across = (left[low] & right[high]) | (left[high] & right[low])
            low, high, bits = low[across], high[across], bits[across]
        total += len(low)
        if total > most:
            raise ValueError(
                f"more than {most:,} pairs of {len(codes):,} distinct codes are within {distance} bits: give a smaller "
                "distance"
            )
        if len(low):
            found.append((low.astype(np.int32), high.astype(np.int32), bits.astype(np.uint8)))
    if not found:
        return np.zeros((0, 2), np.int32), np.zeros(0, np.uint8)
    pairs = np.stack([np.concatenate([part[side] for part in found]) for side in (0, 1)], 1)
    distances = np.concatenate([part[2] for part in found])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], distances[order]
