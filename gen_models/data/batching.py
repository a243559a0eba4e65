"""Batches whose content is a pure function of (seed, step).

The host picks rows, the compiled program gathers and transforms them:

    data, rows, make, *_ = batches(load("fashion_mnist_bundled"), 128, transform=binarise_dynamic)
    batch = make(data, jax.tree.map(lambda x: x[0], rows(step, 1)), key)

so that a chunk of steps is one `lax.scan` over `rows(step, count)`, the data on the device in their own dtype. Epoch e
visits the rows in the permutation that `epoch_order(seed, e, n)` gives; what does not fill a batch at an epoch's end is
dropped. So a run that starts at step k sees what an unbroken run sees from there on, in memory and streamed alike.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gen_models.data.access import ArraySource, Rows
from gen_models.data.dataset import Dataset, of_arrays
from gen_models.data.transforms import Transform, compose, on, to_unit, to_waveform

Batch = dict[str, jax.Array]


class Batches(NamedTuple):
    """What a training loop needs of the data."""

    data: Any  # pytree of device arrays for every call of the compiled program; () where batches come from the host
    # (step, count, part=None) -> pytree of NumPy arrays [count, B, ...]: steps step to step + count - 1. With `part`, a
    # slice of 0 to B - 1, only those examples of each batch: what one of several hosts needs.
    rows: Callable[..., Any]
    make: Callable[[Any, Any, Any], Batch]  # pure: (data, one row, key) -> {"x" [B, ...], "y", "index" [B], ...}
    steps_per_epoch: int
    batch_size: int  # B, in examples
    streamed: bool = (
        False  # whether the rows are the examples themselves, read from disk, not their positions in `data`
    )


class Placed(NamedTuple):
    """A data set made ready for batches of any size and seed, which share the arrays on the device and `make`."""

    data: Any  # as in `Batches`
    make: Callable[[Any, Any, Any], Batch]
    total: int  # examples
    source: Any | None  # a random-access source where batches are read from disk, else None
    starts: bool  # whether examples say that they begin a document


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
    dataset: Dataset | Mapping[str, np.ndarray],
    batch_size: int,
    *,
    seed: int = 0,
    transform: Transform | None = None,
    shuffle: bool = True,
) -> Batches:
    """Batches of arrays that live on the device in the dtype they came with; rows are int32 indices [count, B].

    Args:
      dataset: a data set in memory, or a mapping of arrays with one leading axis, such as `{"x": [N, ...]}`.
      batch_size: B.
      seed: of the order.
      transform: `(batch, key) -> batch`; None makes uint8 images float32 in [0, 1] and leaves all else alone.
      shuffle: False keeps the order of the data in every epoch.

    Raises:
      ValueError: the batch is larger than the data, the data are on disk, lengths disagree, floats are not finite.
    """
    arrays, _, _ = _arrays(dataset)
    order = _Order(seed, len(next(iter(arrays.values()))), batch_size, shuffle)  # a bad size or seed is told at once
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
    order = _Order(seed, len(dataset), batch_size, shuffle)
    return _of_order(_loose(place(dataset, transform, on_device=False)), order, workers, prefetch)


def place(
    dataset: Dataset | Mapping[str, np.ndarray], transform: Transform | None = None, *, on_device: bool | None = None
) -> Placed:
    """The part of `batches` that does not depend on their size or seed: `batches_of` makes batches of it.

    `on_device=False` streams a data set though it is in memory; None streams what is on disk, and nothing else.

    Raises:
      ValueError: as `in_memory`.
    """
    if isinstance(dataset, Dataset) and (on_device is False or (on_device is None and dataset.arrays is None)):
        return Placed(
            (),
            _make_of_row(transform, dataset.levels, dataset.kind),
            len(dataset),
            _source(dataset),
            dataset.kind == "tokens",
        )
    arrays, levels, kind = _arrays(dataset)
    data = {key: jnp.asarray(value) for key, value in arrays.items()}
    return Placed(
        data, _make_of_index(transform, levels, kind), len(next(iter(arrays.values()))), None, kind == "tokens"
    )


def batches_of(
    placed: Placed, batch_size: int, *, seed: int = 0, shuffle: bool = True, contiguous: bool = False
) -> Batches:
    """`batches` of what `place` gave; those of all sizes and seeds share its arrays and its `make`.

    Raises:
      ValueError: the batch is larger than the data, or the seed is negative.
    """
    if not contiguous:
        return _of_order(_loose(placed), _Order(seed, placed.total, batch_size, shuffle))
    order = _Tracks(seed, placed.total, batch_size, False)
    plain = _of_order(placed, order)

    def rows(step: int, count: int, part: slice | None = None) -> dict[str, Any]:
        first = np.array([k % order.steps_per_epoch == 0 for k in range(step, step + count)])
        own = plain.rows(step, count, part)
        size = len(range(batch_size)[part or slice(None)])
        return {"own": own, "start": np.repeat(first[:, None], size, 1)}

    return plain._replace(rows=rows, make=_carrying(placed.make))


def _of_order(placed: Placed, order: "_Order", workers: int = 4, prefetch: int = 8) -> Batches:
    if placed.source is None:
        return Batches(placed.data, order.rows, placed.make, order.steps_per_epoch, order.batch_size, False)
    if min(workers, prefetch) < 1:
        raise ValueError(f"workers and prefetch must be 1 or more, got {workers=}, {prefetch=}")
    reader = _Reader(placed.source, order, workers, prefetch)
    return Batches((), reader.rows, placed.make, order.steps_per_epoch, order.batch_size, True)


def _loose(placed: Placed) -> Placed:
    """What was placed, for batches whose examples are drawn one by one."""
    return placed._replace(make=_forgetting(placed.make)) if placed.starts else placed


@lru_cache(maxsize=16)
def _carrying(make: Callable[..., Any]) -> Callable[..., Batch]:
    """`make` for rows that also say which examples begin an epoch; one for each `make`, as programs are kept by it."""

    def carrying(data, row, key) -> Batch:
        batch = make(data, row["own"], key)
        return batch | {"start": row["start"] | batch.get("start", False)}

    return carrying


@lru_cache(maxsize=16)
def _forgetting(make: Callable[..., Any]) -> Callable[..., Batch]:
    """`make` without `start`, which is of no meaning where the example before is another document's."""

    def forgetting(data, row, key) -> Batch:
        batch = make(data, row, key)
        del batch["start"]
        return batch

    return forgetting


def _make_of_index(transform: Transform | None, levels: int, kind: str):
    def make(data, row, key) -> Batch:
        batch = {name: value[row] for name, value in data.items()}
        return _finish(batch | {"index": row}, transform, key, levels, kind)

    return make


def _make_of_row(transform: Transform | None, levels: int, kind: str):
    def make(data, row, key) -> Batch:
        return _finish(row, transform, key, levels, kind)

    return make


def evaluation_batches(
    dataset: Dataset | Mapping[str, np.ndarray], batch_size: int, *, transform: Transform | None = None, seed: int = 0
) -> Iterator[Batch]:
    """Every example once, in order, in batches of one static shape, for figures over a split.

    Each batch has `weight` float32 [B]: 1, and 0 for the rows that fill up the last batch (copies of the last example).
    A mean over the split is sum(weight * value) / sum(weight) over all batches. Batch i's transform gets
    `fold_in(key(seed), i)`: the same randomness every time.

    Raises:
      ValueError: as `in_memory`, but a batch may be larger than the data.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    if isinstance(dataset, Dataset) and dataset.arrays is None:
        total, levels, kind = len(dataset), dataset.levels, dataset.kind
        read: Callable[[Any], dict[str, np.ndarray]] = partial(_read, dataset.source)
    else:
        arrays, levels, kind = _arrays(dataset)
        total = len(next(iter(arrays.values())))
        read = partial(_gather, arrays)
    finish = _compiled_finish(transform, levels, kind)
    root = jax.random.key(seed)

    def generate():
        for number, start in enumerate(range(0, total, batch_size)):
            index = np.arange(start, start + batch_size, dtype=np.int32)
            weight = (index < total).astype(np.float32)
            index = np.minimum(index, total - 1)
            found = read(index)
            if kind == "tokens":
                del found["start"]  # these batches do not go on where the ones before ended
            batch = finish(found | {"index": index}, jax.random.fold_in(root, number))
            yield batch | {"weight": jnp.asarray(weight)}

    return generate()  # a generator of its own, so that bad input raises at the call and not at the first batch


@lru_cache(maxsize=16)
def _compiled_finish(transform: Transform | None, levels: int, kind: str) -> Callable[..., Batch]:
    """`_finish` compiled once for a transform, as a split is gone through for each measure and evaluation."""
    return jax.jit(lambda batch, key: _finish(batch, transform, key, levels, kind))


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, total: int) -> Int[np.ndarray, "total"]:
    """The permutation of epoch `epoch`: a pure function of its arguments (Philox keyed by a SeedSequence)."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed, spawn_key=(epoch,))))
    order = generator.permutation(total).astype(np.int32)
    order.flags.writeable = False  # the cache hands out one array to all
    return order


class _Order:
    """Which rows step k takes."""

    def __init__(self, seed: int, total: int, batch_size: int, shuffle: bool):
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if batch_size > total:
            raise ValueError(f"batch_size={batch_size} is larger than the data, which have {total} examples: lower it")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        self.seed, self.total, self.batch_size, self.shuffle = seed, total, batch_size, shuffle
        self.steps_per_epoch = total // batch_size

    def step(self, step: int) -> Int[np.ndarray, "batch"]:
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        if not self.shuffle:
            return np.arange(start, start + self.batch_size, dtype=np.int32)
        return epoch_order(self.seed, epoch, self.total)[start : start + self.batch_size]

    def rows(self, step: int, count: int, part: slice | None = None) -> Int[np.ndarray, "count batch"]:
        _check_rows(step, count, part, self.batch_size)
        return np.stack([self.step(k)[part or slice(None)] for k in range(step, step + count)])


class _Tracks(_Order):
    """The order of contiguous batches: track b is the rows from b * steps_per_epoch on."""

    def step(self, step: int) -> Int[np.ndarray, "batch"]:
        return (np.arange(self.batch_size) * self.steps_per_epoch + step % self.steps_per_epoch).astype(np.int32)


class _Reader:
    """Batches of a source by step: sequential calls for the same part are served from a prefetching iterator."""

    def __init__(self, source, order: _Order, workers: int, prefetch: int):
        self.source, self.order, self.workers, self.prefetch = source, order, workers, prefetch
        self.iterator: Any = None
        self.next: tuple[int, slice | None] = (-1, None)  # the step and the part that the iterator gives next

    def rows(self, step: int, count: int, part: slice | None = None) -> dict[str, np.ndarray]:
        _check_rows(step, count, part, self.order.batch_size)
        if (step, part) != self.next:
            self.iterator = self._iterate(step, part)
        self.next = (-1, None)  # an error while reading leaves the iterator anywhere: seek next time
        read = [next(self.iterator) for _ in range(count)]
        self.next = (step + count, part)
        return {key: np.stack([batch[key] for batch in read]) for key in read[0]}

    def _iterate(self, step: int, part: slice | None):
        import grain

        def read(step: int) -> dict[str, np.ndarray]:
            index = self.order.step(step)[part or slice(None)]
            return _read(self.source, index) | {"index": index}

        steps = grain.MapDataset.range(step, 2**31 - 1).map(read)
        return iter(steps.to_iter_dataset(grain.ReadOptions(self.workers, self.prefetch)))


def _gather(arrays, index) -> dict[str, np.ndarray]:
    return {key: value[index] for key, value in arrays.items()}


def _read(source, index) -> dict[str, np.ndarray]:
    """The rows `index` of a source as arrays with a leading axis, each field in the dtype of the source."""
    many = getattr(source, "__getitems__", None)
    examples = many(index) if many else [source[int(i)] for i in index]
    return {field: np.stack([np.asarray(example[field]) for example in examples]) for field in examples[0]}


def _source(dataset: Dataset):
    if dataset.source is not None:
        return dataset.source
    assert dataset.arrays is not None
    return Rows(ArraySource(dataset.arrays), range(len(dataset)))


def _arrays(dataset) -> tuple[Mapping[str, np.ndarray], int, str]:
    """The arrays, the number of levels and the kind."""
    if isinstance(dataset, Dataset):
        if dataset.arrays is None:
            raise ValueError(f"{dataset.name!r} is too large for the memory: use streamed() or batches()")
        return dataset.arrays, dataset.levels, dataset.kind
    dataset = of_arrays(dataset)
    return dataset.arrays, dataset.levels, dataset.kind


def _finish(batch, transform: Transform | None, key, levels: int, kind: str) -> Batch:
    """The transform, told the number of levels; without one, what is stored as integers for its size becomes float."""
    if transform is None:
        transform = _default(batch, kind)
    out = dict(transform({**batch, "levels": levels}, key))
    out.pop("levels", None)
    return out


def _default(batch, kind: str) -> Transform:
    """Images to [0, 1], sound to [-1, 1): by the kind, as integers of other kinds are no intensities."""
    dtype = batch["x"].dtype if "x" in batch else None
    if kind == "pairs":
        return compose(to_unit, on("y", to_unit))
    if kind in ("images", "boxes") and dtype == jnp.uint8:
        return to_unit
    return to_waveform if kind == "audio" else _unchanged


def _unchanged(batch, key):
    return batch


def _check_rows(step: int, count: int, part: slice | None, batch_size: int) -> None:
    if step < 0 or count < 1:
        raise ValueError(f"rows(step, count) needs step >= 0 and count >= 1, got {step=}, {count=}")
    if part is not None and not len(range(batch_size)[part]):
        raise ValueError(f"{part} takes nothing of a batch of {batch_size} examples")
