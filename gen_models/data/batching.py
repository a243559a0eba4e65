"""Batches whose content is a pure function of (seed, step).

The host says which examples a step takes, and the compiled program gathers and transforms them:

    data, rows, make, *_ = batches(load("fashion_mnist_bundled"), 128, transform=binarise_dynamic)
    batch = make(data, jax.tree.map(lambda x: x[0], rows(step, 1)), key)

`rows(step, count)` is what the host says of some steps: indices, or the examples themselves where they are read from
disk. So many steps are one loop over it in a compiled program, with the data on the device in their own dtype. Epoch
e visits the examples in the permutation that `epoch_order(seed, e, n)` gives; what does not fill a batch at its end is
dropped. So a run that starts at step k sees what an unbroken run sees from there on, in memory and streamed alike.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.data.absent import AbsentSource
from gen_models.data.access import ArraySource, Subset
from gen_models.data.dataset import Dataset, of_arrays
from gen_models.data.order import Order, Reader, Tracks, read_examples
from gen_models.data.transforms import Transform, compose, on, to_unit, to_waveform

Batch = dict[str, jax.Array]
IN_TURN = ("tokens", "rolls")  # kinds of data whose examples are windows, one of which may go on where another ended


class Batches(NamedTuple):
    """What a training loop needs of the data."""

    data: Any  # pytree of device arrays for every call of the compiled program; () where batches come from the host
    # (step, count, part=None) -> pytree of NumPy arrays [count, B, ...]: steps step to step + count - 1. With `part`, a
    # slice of 0 to B - 1, only those examples of each batch: what one of several hosts needs.
    rows: Callable[..., Any]
    make: Callable[[Any, Any, Any], Batch]  # pure: (data, a step's rows, key) -> {"x" [B, ...], "y", "index" [B], ...}
    steps_per_epoch: int
    batch_size: int  # B, in examples
    streamed: bool = False  # whether `rows` gives examples, read from disk, and not indices into `data`


class Placed(NamedTuple):
    """A data set made ready for batches of any size and seed, which share the arrays on the device and `make`."""

    data: Any  # as in `Batches`
    make: Callable[[Any, Any, Any], Batch]  # as in `Batches`
    total: int  # number of examples
    source: Any | None  # a random-access source where batches are read from disk, else None
    starts: bool  # whether examples have a field "start", which says that they begin a document


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    transform: Transform | None = None,
    shuffle: bool = True,
    contiguous: bool = False,
) -> Batches:
    """`in_memory` where the data set is in memory, else `streamed`; both give the same batches.

    With `contiguous`, an epoch's batches are B tracks side by side: example b of a batch goes on where example b of the
    batch before it ended, for state that is carried from batch to batch (truncated backpropagation through time). The
    order is then that of the data in every epoch, and `start` bool [B] says which examples go on from nothing: those of
    an epoch's first batch, and those that begin a document. What does not fill the tracks is dropped.

    Raises:
      ValueError: as `in_memory`.
    """
    return batches_of(place(dataset, transform), batch_size, seed=seed, shuffle=shuffle, contiguous=contiguous)


def in_memory(
    dataset: Dataset | Mapping[str, Any],
    batch_size: int,
    *,
    seed: int = 0,
    transform: Transform | None = None,
    shuffle: bool = True,
) -> Batches:
    """Batches of arrays that live on the device in the dtype they came with; `rows` are int32 indices [count, B].

    Args:
      dataset: a data set in memory, or a mapping of arrays with one leading axis, such as `{"x": [N, ...]}`.
      batch_size: B.
      seed: the seed of the order.
      transform: `(batch, key) -> batch`; None makes uint8 images float32 in [0, 1] and leaves all else alone.
      shuffle: False keeps the order of the data in every epoch.

    Raises:
      ValueError: the batch is larger than the data, the data are on disk, lengths disagree, floats are not finite.
    """
    arrays, _, _ = _arrays(dataset)
    order = Order(seed, len(next(iter(arrays.values()))), batch_size, shuffle)  # a bad size or seed is told at once
    return _of_order(_loose(place(dataset, transform)), order)


def streamed(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    transform: Transform | None = None,
    shuffle: bool = True,
    workers: int = 4,
    prefetch: int = 8,
) -> Batches:
    """Batches read from disk by grain, `workers` threads that keep up to `prefetch` batches ready.

    `rows(step, count)` are the examples themselves, `{"x": [count, B, ...], "y", "index"}` in the dtypes of the source.
    Calls in the order of the steps take what the threads have read ahead; any other step is sought in constant time.
    `rows(step, count, part)` reads the examples of `part` and no others.

    Raises:
      ValueError: the batch is larger than the data, or a size is not positive.
    """
    order = Order(seed, len(dataset), batch_size, shuffle)
    return _of_order(_loose(place(dataset, transform, on_device=False)), order, workers, prefetch)


def place(
    dataset: Dataset | Mapping[str, Any], transform: Transform | None = None, *, on_device: bool | None = None
) -> Placed:
    """What batches of all sizes and seeds share, of which `batches_of` makes batches: above all arrays on the device.

    `on_device=False` streams a data set though it is in memory; None streams what is on disk, and nothing else.

    Raises:
      ValueError: as `in_memory`.
    """
    if isinstance(dataset, Dataset) and (on_device is False or (on_device is None and dataset.arrays is None)):
        _refuse_absent(dataset)
        return Placed(
            (),
            _make_of_examples(transform, dataset.levels, dataset.kind),
            len(dataset),
            _source(dataset),
            dataset.kind in IN_TURN,
        )
    arrays, levels, kind = _arrays(dataset)
    data = {key: _placed_array(key, value) for key, value in arrays.items()}
    return Placed(
        data, _make_of_index(transform, levels, kind), len(next(iter(arrays.values()))), None, kind in IN_TURN
    )


def _placed_array(field: str, value: np.ndarray) -> jax.Array:
    """An array on the device; without 64 bits, integers must be those of 32."""
    wide = value.dtype.kind in "iu" and value.dtype.itemsize > 4 and jnp.asarray(0).dtype.itemsize == 4
    if wide and value.size and not -(2**31) <= int(value.min()) <= int(value.max()) < 2**31:
        raise ValueError(
            f"{field!r} has integers of {value.min()} to {value.max()}, which 32 bits do not hold: give smaller ones, "
            "floats, or set jax_enable_x64"
        )
    return jnp.asarray(value)


def _refuse_absent(dataset: Dataset) -> None:
    """Refuse data that are not there, before threads are started to read them."""
    if isinstance(dataset.source, AbsentSource):
        dataset.source.refuse()


def batches_of(
    placed: Placed, batch_size: int, *, seed: int = 0, shuffle: bool = True, contiguous: bool = False
) -> Batches:
    """`batches` of what `place` gave; those of all sizes and seeds share its arrays and its `make`.

    Raises:
      ValueError: the batch is larger than the data, or the seed is negative.
    """
    if not contiguous:
        return _of_order(_loose(placed), Order(seed, placed.total, batch_size, shuffle))
    order = Tracks(seed, placed.total, batch_size, False)
    tracks = _of_order(placed, order)

    def rows(step: int, count: int, part: slice | None = None) -> dict[str, Any]:
        first = np.array([k % order.steps_per_epoch == 0 for k in range(step, step + count)])
        own = tracks.rows(step, count, part)
        size = len(range(batch_size)[part or slice(None)])
        return {"own": own, "start": np.repeat(first[:, None], size, 1)}

    return tracks._replace(rows=rows, make=_carrying(placed.make))


def _of_order(placed: Placed, order: Order, workers: int = 4, prefetch: int = 8) -> Batches:
    """Batches of what was placed, in this order."""
    if placed.source is None:
        return Batches(placed.data, order.rows, placed.make, order.steps_per_epoch, order.batch_size, False)
    if min(workers, prefetch) < 1:
        raise ValueError(f"workers and prefetch must be 1 or more, got {workers=}, {prefetch=}")
    reader = Reader(placed.source, order, workers, prefetch)
    return Batches((), reader.rows, placed.make, order.steps_per_epoch, order.batch_size, True)


def _loose(placed: Placed) -> Placed:
    """What was placed, for batches in which an example does not go on where the one before it ended."""
    return placed._replace(make=_forgetting(placed.make)) if placed.starts else placed


@lru_cache(maxsize=16)
def _carrying(make: Callable[..., Any]) -> Callable[..., Batch]:
    """`make` for rows that also say which examples begin an epoch.

    It is the same function for the same `make`, as compiled programs are kept by it.
    """

    def carrying(data: Any, row: Any, key: Any) -> Batch:
        batch = make(data, row["own"], key)
        return batch | {"start": row["start"] | batch.get("start", False)}

    return carrying


@lru_cache(maxsize=16)
def _forgetting(make: Callable[..., Any]) -> Callable[..., Batch]:
    """`make` without "start", which has no meaning where the example before may be another document's."""

    def forgetting(data: Any, row: Any, key: Any) -> Batch:
        batch = make(data, row, key)
        batch.pop("start", None)
        return batch

    return forgetting


def _make_of_index(transform: Transform | None, levels: int, kind: str) -> Callable[[Any, Any, Any], Batch]:
    """`make` for data on the device: a step's row is the indices [B] of its examples."""

    def make(data: Any, row: Any, key: Any) -> Batch:
        batch = {name: value[row] for name, value in data.items()}
        return _finish(batch | {"index": row}, transform, key, levels, kind)

    return make


def _make_of_examples(transform: Transform | None, levels: int, kind: str) -> Callable[[Any, Any, Any], Batch]:
    """`make` for streamed data: a step's row is its examples."""

    def make(data: Any, row: Any, key: Any) -> Batch:
        return _finish(row, transform, key, levels, kind)

    return make


def evaluation_batches(
    dataset: Dataset | Mapping[str, Any], batch_size: int, *, transform: Transform | None = None, seed: int = 0
) -> Iterator[Batch]:
    """Every example once, in order, in batches of one static shape, for figures over a split.

    Each batch has `weight` float32 [B]: 1, and 0 for what fills up the last batch (copies of the last example). A mean
    over the split is sum(weight * value) / sum(weight) over all batches. The transform gets example i as a batch of
    one, with the key `fold_in(key(seed), i)`: the same randomness every time, and for every `batch_size`.

    Raises:
      ValueError: as `in_memory`, but a batch may be larger than the data.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    if isinstance(dataset, Dataset) and dataset.arrays is None:
        _refuse_absent(dataset)
        total, levels, kind = len(dataset), dataset.levels, dataset.kind
        read: Callable[[Any], dict[str, np.ndarray]] = partial(read_examples, dataset.source)
    else:
        arrays, levels, kind = _arrays(dataset)
        total = len(next(iter(arrays.values())))
        read = partial(_gather, arrays)
    finish = _compiled_finish(transform, levels, kind)
    root = jax.random.key(seed)

    def generate() -> Iterator[Batch]:
        for start in range(0, total, batch_size):
            index = np.arange(start, start + batch_size, dtype=np.int32)
            weight = (index < total).astype(np.float32)
            index = np.minimum(index, total - 1)
            found = read(index)
            if kind in IN_TURN:
                del found["start"]  # these batches do not go on where the ones before ended
            batch = finish(found | {"index": index}, root)
            yield batch | {"weight": jnp.asarray(weight)}

    return generate()  # a generator of its own, so that bad input raises at the call and not at the first batch


@lru_cache(maxsize=16)
def _compiled_finish(transform: Transform | None, levels: int, kind: str) -> Callable[..., Batch]:
    """`_finish` of each example, alone and with a key of its own; compiled once for a transform.

    Whatever a split is gone through for, and in batches of whatever size, an example is the same.
    """

    def one(example: Batch, key: Any) -> Batch:
        alone = jax.tree.map(lambda leaf: leaf[None], example)
        made = _finish(alone, transform, jax.random.fold_in(key, example["index"]), levels, kind)
        return jax.tree.map(lambda leaf: leaf[0], made)

    return jax.jit(jax.vmap(one, (0, None)))


def _gather(arrays: Mapping[str, np.ndarray], indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples of arrays [N, ...] at these indices [B]: [B, ...] a field."""
    return {key: value[indices] for key, value in arrays.items()}


def _source(dataset: Dataset) -> Any:
    """The data set as a random-access source, also where it is in memory."""
    if dataset.source is not None:
        return dataset.source
    assert dataset.arrays is not None
    return Subset(ArraySource(dataset.arrays), range(len(dataset)))


def _arrays(dataset: Dataset | Mapping[str, Any]) -> tuple[Mapping[str, np.ndarray], int, str]:
    """Arrays [N, ...] by field, the number of levels of a pixel, and the kind of the data."""
    if isinstance(dataset, Dataset):
        if dataset.arrays is None:
            raise ValueError(f"{dataset.name!r} is too large for the memory: use streamed() or batches()")
        return dataset.arrays, dataset.levels, dataset.kind
    own = of_arrays(dataset)
    assert own.arrays is not None
    return own.arrays, own.levels, own.kind


def _finish(batch: Mapping[str, Any], transform: Transform | None, key: Any, levels: int, kind: str) -> Batch:
    """The batch as the transform makes it, which is told the number of levels; None is the default of the kind."""
    if transform is None:
        transform = _default(batch, kind)
    out = dict(transform({**batch, "levels": levels}, key))
    out.pop("levels", None)
    return out


def _default(batch: Mapping[str, Any], kind: str) -> Transform:
    """The transform where none is given: images to [0, 1], sound to [-1, 1), nothing else changed.

    It goes by the kind, as integers of other kinds are no intensities.
    """
    dtype = batch["x"].dtype if "x" in batch else None
    if kind == "pairs":
        return compose(to_unit, on("y", to_unit))
    if kind in ("images", "boxes") and dtype == jnp.uint8:
        return to_unit
    return to_waveform if kind == "audio" else _unchanged


def _unchanged(batch: Any, key: Any) -> Any:
    return batch
