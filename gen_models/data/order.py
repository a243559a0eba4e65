"""Which examples each step takes, as a pure function of (seed, step), and a reader that takes them from disk."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int


@lru_cache(maxsize=16)  # as many runs may be stacked, each with a seed of its own
def epoch_order(seed: int, epoch: int, total: int) -> Int[np.ndarray, "total"]:
    """The permutation of epoch `epoch`: a pure function of its arguments (Philox keyed by a SeedSequence)."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed, spawn_key=(epoch,))))
    order = generator.permutation(total).astype(np.int32)
    order.flags.writeable = False  # the cache hands out one array to all
    return order


class Order:
    """Which of `total` examples each step takes: an epoch's permutation, cut into batches."""

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
        """The indices of the examples of one step, int32."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        if not self.shuffle:
            return np.arange(start, start + self.batch_size, dtype=np.int32)
        return epoch_order(self.seed, epoch, self.total)[start : start + self.batch_size]

    def rows(self, step: int, count: int, part: slice | None = None) -> Int[np.ndarray, "count batch"]:
        """The indices of `count` steps from `step` on; with `part`, of these examples of each batch alone."""
        _check_steps(step, count, part, self.batch_size)
        return np.stack([self.step(k)[part or slice(None)] for k in range(step, step + count)])


class Tracks(Order):
    """The order of contiguous batches: track b is the examples from b * steps_per_epoch on, one a step."""

    def step(self, step: int) -> Int[np.ndarray, "batch"]:
        """The indices of the examples of one step, int32: the next one of each track."""
        return (np.arange(self.batch_size) * self.steps_per_epoch + step % self.steps_per_epoch).astype(np.int32)


class Reader:
    """Batches of a source by step: sequential calls for the same part are served from a prefetching iterator."""

    def __init__(self, source: Any, order: Order, workers: int, prefetch: int):
        self.source, self.order, self.workers, self.prefetch = source, order, workers, prefetch
        self.iterator: Any = None
        self.next: tuple[int, slice | None] = (-1, None)  # the step and the part that the iterator gives next

    def rows(self, step: int, count: int, part: slice | None = None) -> dict[str, np.ndarray]:
        """The examples of `count` steps from `step` on: field -> [count, B, ...]; with `part`, these of each batch."""
        _check_steps(step, count, part, self.order.batch_size)
        if (step, part) != self.next:
            self.iterator = self._iterate(step, part)
        self.next = (-1, None)  # an error while reading leaves the iterator anywhere: seek next time
        read = [next(self.iterator) for _ in range(count)]
        self.next = (step + count, part)
        return {key: np.stack([batch[key] for batch in read]) for key in read[0]}

    def _iterate(self, step: int, part: slice | None) -> Iterator[dict[str, np.ndarray]]:
        import grain

        def read(step: int) -> dict[str, np.ndarray]:
            index = self.order.step(step)[part or slice(None)]
            return read_examples(self.source, index) | {"index": index}

        steps = grain.MapDataset.range(step, 2**31 - 1).map(read)
        return iter(steps.to_iter_dataset(grain.ReadOptions(self.workers, self.prefetch)))


def read_examples(source: Any, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples of a source at these indices [B], as arrays [B, ...] in the dtypes of the source."""
    many = getattr(source, "__getitems__", None)
    examples = many(indices) if many else [source[int(i)] for i in indices]
    return {field: np.stack([np.asarray(example[field]) for example in examples]) for field in examples[0]}


def _check_steps(step: int, count: int, part: slice | None, batch_size: int) -> None:
    """Refuse steps before the first, no steps, and an empty part of the batch."""
    if step < 0 or count < 1:
        raise ValueError(f"rows(step, count) needs step >= 0 and count >= 1, got {step=}, {count=}")
    if part is not None and not len(range(batch_size)[part]):
        raise ValueError(f"{part} takes nothing of a batch of {batch_size} examples")
