"""Codebooks: neighbours by brute force, the paper's running means in NumPy, and devices that agree."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.nn import codebook

RNG = np.random.default_rng(0)
ENTRIES = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)


def _outputs(seed, size=8):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(size, 2, 2, 3)), jnp.float32)


def _brute_force(z, entries):
    """The nearest entry of each output, by all distances in float64."""
    difference = np.float64(z)[..., None, :] - np.float64(entries)
    return (difference**2).sum(-1).argmin(-1)


def test_codes_are_the_nearest_entries():
    codes = codebook.nearest(_outputs(0, 50), ENTRIES)
    assert codes.dtype == jnp.int32 and codes.shape == (50, 2, 2)
    np.testing.assert_array_equal(codes, _brute_force(_outputs(0, 50), ENTRIES))
    np.testing.assert_array_equal(codebook.nearest(ENTRIES, ENTRIES), np.arange(5))
    assert codebook.nearest(jnp.zeros((1, 3)), jnp.ones((4, 3)))[0] == 0, "the first of several"


def test_entries_are_the_papers_running_means():
    """Eq. 6 to 8 with counts and sums as they stand there, over several batches, for gamma = 0.8."""
    gamma, running = 0.8, codebook.initial(ENTRIES)
    count = np.full(5, 32 / 5)  # as many outputs as a batch has, shared equally
    total, entries = count[:, None] * np.float64(ENTRIES), np.float64(ENTRIES)
    for step in range(6):
        z = np.float64(_outputs(step)).reshape(-1, 3)
        codes = _brute_force(z, entries)
        count = gamma * count + (1 - gamma) * np.bincount(codes, minlength=5)
        total = gamma * total + (1 - gamma) * np.stack([z[codes == i].sum(0) for i in range(5)])
        entries = total / count[:, None]
        ours = codebook.nearest(_outputs(step), codebook.entries(running))
        np.testing.assert_array_equal(ours.ravel(), codes)
        running = codebook.moved(running, ours, _outputs(step), gamma)
        np.testing.assert_allclose(codebook.entries(running), entries, rtol=1e-5, atol=1e-6)
    share = count / count.sum()
    np.testing.assert_allclose(codebook.perplexity(running), np.exp(-(share * np.log(share)).sum()), rtol=1e-5)


def test_an_entry_that_nobody_is_near_stays_and_is_forgotten_without_a_division_by_zero():
    far = codebook.initial(ENTRIES.at[4].set(100.0))
    near, z = jnp.zeros((8, 2, 2), jnp.int32), _outputs(0)
    once = codebook.moved(far, near, z, 0.5)
    np.testing.assert_allclose(codebook.entries(once)[4], 100, rtol=1e-5)
    for _ in range(200):  # 2^-200 is 0 in float32
        far = codebook.moved(far, near, z, 0.5)
    assert float(far["share"][4]) == 0
    np.testing.assert_array_equal(codebook.entries(far)[4], 0)
    np.testing.assert_allclose(codebook.entries(far)[0], z.reshape(-1, 3).mean(0), rtol=1e-4, atol=1e-6)


def test_two_devices_have_the_codebook_of_one():
    """With the axis inside, and without it, where the step takes means of what the devices return."""
    z, running = _outputs(0), codebook.initial(ENTRIES)
    codes = codebook.nearest(z, ENTRIES)
    one = codebook.moved(running, codes, z, 0.9)
    halves = codes.reshape(2, 4, 2, 2), z.reshape(2, 4, 2, 2, 3)
    for axis_name in (None, "devices"):
        each = jax.vmap(lambda codes, z, a=axis_name: codebook.moved(running, codes, z, 0.9, a), axis_name="devices")
        found = each(*halves)
        if axis_name is not None:
            np.testing.assert_allclose(found["sum"][0], found["sum"][1], rtol=1e-6)
        mean = jax.tree.map(lambda leaf: leaf.mean(0), found)
        np.testing.assert_allclose(codebook.entries(mean), codebook.entries(one), rtol=1e-5)


def _is_one_of(entry, z):
    return np.isclose(np.asarray(z).reshape(-1, 3), entry, rtol=1e-4).all(-1).any()


def test_entries_that_are_hardly_used_start_again_from_outputs():
    z, key = _outputs(3), jax.random.key(2)
    running = codebook.initial(ENTRIES)
    running["share"] = jnp.array([0.5, 0.5, 1e-3, 0.03, 1e-8])
    running["sum"] = running["share"][:, None] * ENTRIES
    after = codebook.restarted(running, z, 0.1, key)  # of 1/5: below 0.02
    before, now = codebook.entries(running), codebook.entries(after)
    for used in (0, 1, 3):
        np.testing.assert_allclose(now[used], before[used], rtol=1e-5)
    for dead in (2, 4):
        assert _is_one_of(now[dead], z) and not np.allclose(now[dead], before[dead])
    np.testing.assert_allclose(after["share"], [0.5, 0.5, 0.2, 0.03, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(codebook.restarted(running, z, 0.1, key)["sum"], after["sum"])

    keys = jax.random.split(key, 2)
    each = jax.vmap(lambda z, key: codebook.restarted(running, z, 0.1, key, "devices"), axis_name="devices")
    both = jax.vmap(codebook.entries)(each(z.reshape(2, 4, 2, 2, 3), keys))
    np.testing.assert_array_equal(both[0], both[1])
    assert _is_one_of(both[0, 2], z) and _is_one_of(both[0, 4], z)


def test_a_codebook_starts_from_different_outputs():
    z = _outputs(4)
    book = codebook.drawn_from(z, 32, jax.random.key(0))
    distance = np.linalg.norm(np.asarray(book)[:, None] - np.asarray(z).reshape(-1, 3), axis=-1)
    assert sorted(distance.argmin(1)) == list(range(32)), "each output once, as there are 32"
    assert distance.min(1).max() < 0.06
    more = codebook.drawn_from(z[:1], 32, jax.random.key(0))
    assert len(np.unique(np.asarray(more), axis=0)) == 32
