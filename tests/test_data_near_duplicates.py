"""Pairs of near codes, what is kept of them and nearest references: as a comparison of all with all has them."""

import numpy as np
import pytest

from gen_models.data import hamming_search
from gen_models.data.near_duplicates import (
    connected_groups,
    first_kept,
    hamming,
    near_codes,
    nearest_reference,
    pack_bits,
)


def _bits(rng, count, bits, *, clusters, flipped=0.02):
    """Bits around some centres, unevenly set: codes of which many are equal, and many others near each other."""
    centres = rng.random((clusters, bits)) < rng.random(bits)
    return centres[rng.integers(0, clusters, count)] ^ (rng.random((count, bits)) < flipped)


def _differing(first, second):
    return (first[:, None] != second[None]).sum(-1)


@pytest.fixture(params=["substrings", "all with all"])
def way(request, monkeypatch):
    """Both ways of searching, whichever would be the quicker one."""
    monkeypatch.setattr(hamming_search, "COMPARED", 1e9 if request.param == "substrings" else 0.0)


def test_packed_codes_hold_the_bits():
    bits = np.random.default_rng(0).random((50, 130)) < 0.5
    codes = pack_bits(bits)
    assert codes.shape == (50, 3) and codes.dtype == np.uint64
    np.testing.assert_array_equal(hamming(codes[:, None], codes[None]), _differing(bits, bits))
    assert pack_bits(np.eye(128, dtype=bool))[70].tolist() == [0, 1 << 6]


@pytest.mark.parametrize("bits", [1, 20, 64, 128, 200])
@pytest.mark.parametrize("distance", [0, 1, 3, 8, 13])
def test_every_near_pair_is_found_once(way, bits, distance):
    every = _bits(np.random.default_rng([bits, distance]), 120, bits, clusters=20)
    near = near_codes(pack_bits(every), distance)
    np.testing.assert_array_equal(every[near.first][near.code_of], every)
    assert (np.diff(near.first) > 0).all() and len(np.unique(every, axis=0)) == len(near.first)
    differing = _differing(every[near.first], every[near.first])
    np.testing.assert_array_equal(near.pairs, np.argwhere(np.triu(differing <= distance, 1)))
    np.testing.assert_array_equal(near.distances, differing[tuple(near.pairs.T)])


@pytest.mark.parametrize("block", [1, 7])
def test_blocks_do_not_matter(way, block):
    codes = pack_bits(_bits(np.random.default_rng(block), 25, 30, clusters=4))
    near, whole = near_codes(codes, 3, block=block), near_codes(codes, 3)
    assert len(whole.pairs) > 10
    np.testing.assert_array_equal(near.pairs, whole.pairs)
    np.testing.assert_array_equal(near.distances, whole.distances)


def test_random_codes_have_the_pairs_that_were_planted(way):
    rng = np.random.default_rng(0)
    every = rng.random((3000, 128)) < 0.5
    planted = [(10 * number, 10 * number + 7, number % 9) for number in range(200)]
    for original, copy, flipped in planted:
        every[copy] = every[original]
        every[copy, rng.choice(128, flipped, replace=False)] ^= True
    near = near_codes(pack_bits(every), 7)
    found = {(*near.first[pair].tolist(), int(bits)) for pair, bits in zip(near.pairs, near.distances, strict=True)}
    assert found == {pair for pair in planted if 0 < pair[2] <= 7}
    assert all((near.code_of[a] == near.code_of[b]) == (flipped == 0) for a, b, flipped in planted)


@pytest.mark.parametrize("distance", [0, 2, 6])
def test_first_kept_is_the_greedy_choice(distance):
    every = _bits(np.random.default_rng(distance), 300, 40, clusters=30, flipped=0.05)
    differing = _differing(every, every)
    kept = []
    for index in range(len(every)):
        if not (differing[index, kept] <= distance).any():
            kept.append(index)
    near = near_codes(pack_bits(every), 6)
    found = first_kept(near, distance)
    np.testing.assert_array_equal(np.flatnonzero(found.by == np.arange(len(every))), kept)
    for index, (by, bits) in enumerate(zip(*found, strict=True)):
        before = [other for other in kept if other <= index]
        assert by == before[int(differing[index, before].argmin())] and bits == differing[index, by] <= distance


def test_a_chain_is_one_group_and_every_second_one_is_kept():
    chain = pack_bits(np.tri(9, 40, -1, dtype=bool))  # each one bit further on
    near = near_codes(np.concatenate([chain, pack_bits(np.ones((2, 40), bool))]), 1)
    assert connected_groups(near).tolist() == [0] * 9 + [9, 9]
    assert first_kept(near).by.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 9, 9]
    assert connected_groups(near, 0).tolist() == [*range(9), 9, 9]


def test_groups_are_those_of_all_pairs():
    every = _bits(np.random.default_rng(4), 200, 64, clusters=60, flipped=0.04)
    differing = _differing(every, every)
    reached = differing <= 4
    for _ in range(8):  # paths of up to 2^8 pairs
        reached = reached @ reached
    np.testing.assert_array_equal(connected_groups(near_codes(pack_bits(every), 4)), reached.argmax(1))


def test_a_million_equal_codes_are_no_pair():
    codes = np.zeros((1_000_000, 2), np.uint64)
    codes[999_999] = 1
    near = near_codes(codes, 8)
    assert near.pairs.tolist() == [[0, 1]] and near.first.tolist() == [0, 999_999]
    assert not first_kept(near).by.any()


@pytest.mark.parametrize("distance", [0, 3, 9])
def test_the_nearest_reference_is_the_first_of_the_nearest(way, distance):
    rng = np.random.default_rng(distance)
    every = _bits(rng, 260, 70, clusters=50, flipped=0.04)
    queries, references = every[:120], every[120:]
    found = nearest_reference(pack_bits(queries), pack_bits(references), distance)
    differing = _differing(queries, references)
    near = differing.min(1) <= distance
    assert 0 < near.sum() < len(near)
    np.testing.assert_array_equal(found.nearest, np.where(near, differing.argmin(1), -1))
    np.testing.assert_array_equal(found.distances, np.where(near, differing.min(1), 0))


def test_what_cannot_be_searched_is_refused(unchecked):
    codes = pack_bits(np.random.default_rng(0).random((30, 16)) < 0.5)
    with pytest.raises(ValueError, match=r"more than 9 pairs of .* give a smaller distance"):
        near_codes(codes, 8, most=9)
    with pytest.raises(ValueError, match=r"from 0 to 255 bits.* got 256"):
        near_codes(codes, 256)
    with pytest.raises(ValueError, match="codes are empty"):
        near_codes(codes[:0], 1)
    with pytest.raises(ValueError, match="differ in length"):
        nearest_reference(codes, np.zeros((3, 2), np.uint64), 1)
    with pytest.raises(ValueError, match="distance=3, but pairs were looked for up to 2"):
        first_kept(near_codes(codes, 2), 3)
    with pytest.raises(ValueError, match="a bit or more"):
        pack_bits(np.zeros((3, 0), bool))


@pytest.mark.slow
@pytest.mark.parametrize("distance", [4, 8])
def test_a_million_codes(distance):
    """Clusters of ten codes, each four flips from its centre: they hold all pairs, as random centres are far apart."""
    rng = np.random.default_rng(distance)
    count = 1_000_000
    codes = rng.integers(0, 2**64, (count // 10, 2), dtype=np.uint64).repeat(10, 0)
    for _ in range(4):
        flipped = rng.integers(0, 128, count)
        codes[np.arange(count), flipped // 64] ^= np.uint64(1) << (flipped % 64).astype(np.uint64)
    near = near_codes(codes, distance)
    own = codes.reshape(-1, 10, 2)
    within = sum(
        int((hamming(own[:, a], own[:, b]) <= distance).sum()) - int((own[:, a] == own[:, b]).all(-1).sum())
        for a in range(10)
        for b in range(a)
    )
    # Two codes of a cluster differ by eight flips, of which two of one bit cancel: a chain of how many bits differ.
    chance = np.eye(1, 10)[0]
    for _ in range(8):
        down, up = chance * np.arange(10) / 128, chance * (1 - np.arange(10) / 128)
        chance = np.append(down[1:], 0) + np.append(0, up[:-1])
    expected = 4_500_000 * chance[1 : distance + 1].sum()
    assert within == pytest.approx(expected, rel=0.02)
    assert within - 100 <= len(near.pairs) <= within  # equal codes are one code of several pairs
