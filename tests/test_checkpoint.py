"""Checkpoints: the same bits back, and never another model's."""

import gc
import random
import shutil
import subprocess
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from gen_models.core import Model, init_state
from gen_models.training import checksums
from gen_models.training.checkpoint import Checkpoints, Damaged, Unverified
from gen_models.training.parallel import data_mesh, shardings

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=1e-3))


# Where a file is damaged, Orbax leaves a coroutine that failed to be collected later, amid whichever test then runs.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object _read_array")


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


def _state(width=4, dtype=jnp.float32, tx=TX):
    def init(key, batch):
        params = {"a": {"kernel": jax.random.normal(key, (3, width), dtype)}, "b": [jnp.ones(2, jnp.bfloat16)]}
        return params, {"mean": jnp.full(2, jnp.nan)}

    return init_state(Model(init, lambda *a, **k: None), tx, jax.random.key(7), {}, ema=True)


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_round_trip_is_bit_equal(tmp_path):
    state = _state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
    with Checkpoints(tmp_path) as checkpoints:  # as in a new process: nothing was saved through this one
        restored = checkpoints.restore(jax.eval_shape(_state))
    _assert_same(restored, state)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: _state(width=5), r"params/a/kernel.*\[3, 4\].*\[3, 5\]"),
        (lambda: _state(dtype=jnp.bfloat16), "a/kernel.*float32.*bfloat16"),
        (lambda: _state(tx=optax.sgd(1.0)), "opt_state"),
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path, other, named):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state())
        checkpoints.wait()
        with pytest.raises(ValueError, match=named):
            checkpoints.restore(jax.eval_shape(other))


def test_keeps_the_newest_and_names_what_is_missing(tmp_path):
    with Checkpoints(tmp_path / "new", keep=2) as checkpoints:
        assert checkpoints.latest() is None
        with pytest.raises(FileNotFoundError, match="no complete checkpoint in"):
            checkpoints.restore(jax.eval_shape(_state))
        for step in (1, 2, 3):
            checkpoints.save(step, _state())
        checkpoints.wait()
        assert checkpoints.latest() == 3 and not checkpoints.path(1).exists() and checkpoints.path(2).exists()
        with pytest.raises(FileNotFoundError, match="step 1"):
            checkpoints.restore(jax.eval_shape(_state), 1)


def _corrupt(folder, rng):
    """A bit flipped, a file cut short, or one deleted; says what."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Half of the times any file, half of the times any byte: large files would else be hit too often or too seldom.
    sizes = [path.stat().st_size for path in files]
    path = rng.choice(files) if rng.random() < 0.5 else rng.choices(files, sizes)[0]
    content, kind = bytearray(path.read_bytes()), rng.choice(["flip", "flip", "cut", "delete"])
    if kind == "delete":
        path.unlink()
    elif kind == "cut" or not content:
        path.write_bytes(content[: rng.randrange(len(content) or 1)])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return f"{kind} {path.relative_to(folder)}"


# Where a file is damaged, TensorStore's threads report to an event loop that Orbax has closed: not ours to mend.
ABANDONED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@ABANDONED
@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_random_corruptions_never_restore_wrong_values(count, tmp_path):
    rng, older, newer = random.Random(0), _state(width=300), _state(width=300)
    newer = newer._replace(params=jax.tree.map(lambda x: x + 1, newer.params))
    like = jax.eval_shape(lambda: _state(width=300))
    with Checkpoints(tmp_path / "good") as checkpoints:
        checkpoints.save(1, older)
        checkpoints.save(2, newer)
    fell_back = 0
    for number in range(count):
        folder = tmp_path / "bad"
        shutil.copytree(tmp_path / "good", folder)
        _corrupt(folder / "2", rng)
        with Checkpoints(folder) as checkpoints, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", Damaged)
            state = checkpoints.restore(like)
            if any(issubclass(warning.category, Damaged) for warning in said):
                fell_back += 1
                assert str(folder / "2") in str(said[0].message)
                _assert_same(state, older)
                assert checkpoints.latest() == 1
            else:  # what was hit does not matter: the values are those that were saved
                _assert_same(state, newer)
        assert (folder / "1").exists() and (folder / "2").exists(), number
        shutil.rmtree(folder)
    assert count / 5 < fell_back < count


@ABANDONED
def test_a_damaged_checkpoint_is_put_aside_when_its_step_is_saved_again(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _state())
        checkpoints.save(2, _state())
    for _ in range(2):
        (tmp_path / "2" / "packed" / "float32" / ".zarray").write_bytes(b"nonsense")
        with Checkpoints(tmp_path) as checkpoints:
            with pytest.warns(Damaged, match=r"/2 is damaged and is not used: it cannot be read"):
                checkpoints.restore(jax.eval_shape(_state))
            assert checkpoints.latest() == 1
            checkpoints.save(2, _state())
    assert {"1", "2", "damaged-2", "damaged-2-2"} == {path.name for path in tmp_path.iterdir()}
    with Checkpoints(tmp_path) as checkpoints:
        _assert_same(checkpoints.restore(jax.eval_shape(_state)), _state())


def test_nothing_is_restored_where_all_is_damaged(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _state())
    (tmp_path / "1" / "leaves" / "metadata").unlink()
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.warns(Damaged),
        pytest.raises(ValueError, match=r"every checkpoint is damaged: .*/1\. Put a copy in place"),
    ):
        checkpoints.restore(jax.eval_shape(_state))
    assert (tmp_path / "1").exists()


def test_checkpoints_of_before_checksums_are_restored_and_said_to_be_unverified(tmp_path):
    with ocp.CheckpointManager(tmp_path / "old") as manager:  # as this package saved them then
        manager.save(4, args=ocp.args.StandardSave(_state()))
    with Checkpoints(tmp_path / "old") as checkpoints:
        with pytest.warns(Unverified, match="saved without checksums"):
            _assert_same(checkpoints.restore(jax.eval_shape(_state)), _state())
        with pytest.raises(ValueError, match="of another model"):
            checkpoints.restore(jax.eval_shape(lambda: _state(width=5)))


def test_another_number_of_devices(tmp_path):
    """Saved in pieces on eight devices; restored whole on one, and in pieces on two."""

    def init():
        return _state(width=400)

    places = shardings(jax.eval_shape(init), data_mesh(), shard_parameters=True)
    state = jax.jit(init, out_shardings=places)()
    assert len(state.params["a"]["kernel"].devices()) == 8
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        whole = checkpoints.restore(jax.eval_shape(init))
        two = shardings(jax.eval_shape(init), data_mesh(2), shard_parameters=True)
        shapes = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), jax.eval_shape(init), two
        )
        halves = checkpoints.restore(shapes)
    assert len(whole.params["a"]["kernel"].devices()) == 1 and len(halves.params["a"]["kernel"].devices()) == 2
    _assert_same(whole, state)
    _assert_same(halves, state)


def test_checksums_are_the_same_on_the_host_and_in_a_program():
    """Of every kind of leaf: one that lies in memory in another order, without axes, of 8 bytes, of half a byte."""
    rng = np.random.default_rng(0)
    kinds = ("float32", "bfloat16", "float16", "float8_e4m3fn", "int4", "int8", "uint8", "uint16", "int32", "complex64")
    with jax.enable_x64(True):
        leaves = [jnp.asarray(rng.normal(size=(7, 3)) * 9, kind) for kind in (*kinds, "bool", "float64", "int64")]
        leaves += [np.arange(6, dtype=np.float32).reshape(2, 3).T, np.zeros((0, 3)), np.float32(3.5)]
        leaves += [jax.random.split(jax.random.key(3), (2, 3)), jax.random.key(4), np.zeros(0)]
        host, program = checksums._sums_on_host(leaves), np.asarray(checksums._sums(leaves))
    np.testing.assert_array_equal(host, program)
    assert len(set(map(tuple, host))) == len(leaves) - 1  # the two empty ones alone are alike


@pytest.mark.parametrize("on_host", [0, checksums.ON_HOST])
def test_checksums_see_every_bit_wherever_a_leaf_lies(on_host, monkeypatch):
    monkeypatch.setattr(checksums, "ON_HOST", on_host)
    rng = np.random.default_rng(0)
    leaves = {
        "float32": rng.normal(size=(16, 8)).astype(np.float32),
        "bfloat16": jnp.asarray(rng.normal(size=(16,)), jnp.bfloat16),
        "int8": rng.integers(-100, 100, size=(16,), dtype=np.int8),
        "bool": rng.integers(2, size=(16,)).astype(bool),
        "complex": rng.normal(size=(8,)).astype(np.complex64),
        "float8": jnp.asarray(rng.normal(size=(16,)), jnp.float8_e4m3fn),
        "empty": np.zeros((0, 3), np.float32),
        "key": jax.random.key(3),
    }
    recorded = checksums.describe(leaves)
    assert checksums.intact(recorded) and checksums.changed(recorded, leaves) is None
    assert not checksums.intact({**recorded, "leaves": {**recorded["leaves"], "more": {}}})
    assert not checksums.intact({**recorded, "notes": {"count": 1}})
    cut = jax.device_put(leaves["float32"], jax.sharding.NamedSharding(data_mesh(), jax.sharding.PartitionSpec("data")))
    assert checksums.changed(recorded, {**leaves, "float32": cut}) is None
    for name in leaves.keys() - {"empty", "key"}:
        array = np.asarray(leaves[name])
        words = array.view(np.uint8).reshape(-1)
        for _ in range(4):
            other = words.copy()
            other[rng.integers(len(words))] ^= 1 if name == "bool" else 1 << int(rng.integers(8))
            changed = other.view(array.dtype).reshape(array.shape)
            assert checksums.changed(recorded, {**leaves, name: changed}) == name
    swapped = leaves["float32"][::-1]  # the same values in other places
    assert checksums.changed(recorded, {**leaves, "float32": swapped}) == "float32"
    assert checksums.changed(recorded, {**leaves, "key": jax.random.key(4)}) == "key"


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    """The newest is the one of the highest step, whatever the clock and the files' times say."""
    now = time.time()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, shift in ((1, 0), (2, -1e6), (3, 1e6), (4, -2e6)):
            monkeypatch.setattr(time, "time", lambda shift=shift: now + shift)
            checkpoints.save(step, _state()._replace(step=jnp.int32(step)))
    subprocess.run(["touch", "-d", "2001-01-01", tmp_path / "4"], check=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore(jax.eval_shape(_state)).step) == checkpoints.latest() == 4
        assert {path.name for path in tmp_path.iterdir()} == {"3", "4"}
