"""Batches of the zoo: of a seed and a size, of every kind that its models take."""

import numpy as np

from .entry import SHAPE


def labelled(seed, size):
    """Images in three classes that a linear map can tell apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=size, dtype=np.int32)
    image = rng.normal(0, 0.3, size=(size, *SHAPE)).astype(np.float32)
    image[np.arange(size), :, label] += 1  # a bright column for each class
    return {"x": image, "y": label}


def numbered(seed, size):
    """Rows of four numbers, and one that is linear in them."""
    x = np.random.default_rng(seed).normal(size=(size, 4)).astype(np.float32)
    return {"x": x, "y": 2 + 3 * x @ np.array([0.5, -1, 0.3, 0], np.float32)}


def measured(seed, size):
    """The images of `labelled` and two numbers that are affine in their class."""
    batch = labelled(seed, size)
    noise = np.random.default_rng(seed + 1).normal(0, 0.1, (size, 2))
    y = np.stack([batch["y"] - 1.0, 0.5 * batch["y"]], 1) + noise
    return {"x": batch["x"], "y": y.astype(np.float32)}


def sided(seed, size):
    """The images of `labelled`, of whose classes the first is 0 and the others are 1."""
    batch = labelled(seed, size)
    return batch | {"y": (batch["y"] > 0).astype(np.int32)}


def lit(seed, size):
    """The images of `labelled` as zeros and ones."""
    batch = labelled(seed, size)
    return batch | {"x": (batch["x"] > 0.5).astype(np.float32)}


def binary(seed, size):
    """Images of zeros and ones."""
    return {"x": (np.random.default_rng(seed).uniform(size=(size, *SHAPE)) < 0.2).astype(np.float32)}


def bright(seed, size):
    """The images of `labelled`, between 0 and 1."""
    batch = labelled(seed, size)
    return batch | {"x": np.clip(batch["x"], 0, 1)}


def bright_alone(seed, size):
    """The same without labels."""
    return {"x": bright(seed, size)["x"]}


def few_labels(seed, size):
    """Images of zeros and ones without labels, and as many with one, whose class is a column."""
    batch = labelled(seed, size)
    return binary(seed, size) | {"labelled_x": (batch["x"] > 0.5).astype(np.float32), "labelled_y": batch["y"]}


def small(seed, size):
    """4x4 images of zeros and ones whose rows tend to be equal."""
    rng = np.random.default_rng(seed)
    row = rng.uniform(size=(size, 1, 4, 1)) < 0.5
    return {"x": (row ^ (rng.uniform(size=(size, 4, 4, 1)) < 0.1)).astype(np.float32)}


def points(seed, size):
    """Points of the plane, half around (1, 1) and half around (-1, -1)."""
    rng = np.random.default_rng(seed)
    centre = rng.choice([-1.0, 1.0], size=(size, 1))
    return {"x": (centre + 0.1 * rng.normal(size=(size, 2))).astype(np.float32)}


def columns(seed, size):
    """The images of `labelled`, with the class of each pixel, the share that marks it, and the column as an object."""
    batch = labelled(seed, size)
    label, height = batch["y"], SHAPE[0]
    mask = np.where(np.arange(SHAPE[1]) == label[:, None], label[:, None] + 1, 0)[:, None].repeat(height, 1)
    boxes = np.stack([label, 0 * label, label + 1, 0 * label + height], -1)[:, None]
    objects = {"boxes": boxes.astype(np.float32), "classes": label[:, None], "count": np.ones(size, np.int32)}
    marked = (mask > 0).astype(np.float32)
    return {"x": batch["x"], "mask": mask.astype(np.uint8), "share": marked} | objects


def sequences(seed, size):
    """Tokens whose last one says the class."""
    tokens = np.random.default_rng(seed).integers(3, size=(size, 4), dtype=np.int32)
    return {"x": tokens, "y": tokens[:, -1]}


def steps(seed, size):
    """Sequences of vectors whose first step says the class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=size, dtype=np.int32)
    x = rng.normal(0, 0.3, size=(size, 4, 2)).astype(np.float32)
    x[:, 0] += np.array([[1, 0], [0, 1], [-1, -1]], np.float32)[label]
    return {"x": x, "y": label}


def waves(seed, size):
    """Windows of eight rows of two waves, and the two rows that follow."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (size, 1, 2))
    rows = np.sin(np.arange(10)[:, None] * np.array([0.7, 1.1]) + phase) + rng.normal(0, 0.1, (size, 10, 2))
    return {"x": rows[:, :8].astype(np.float32), "y": rows[:, 8:].astype(np.float32)}


def noisy_tones(seed, size):
    """Sounds of sixteen samples, a tone with noise and without, some shorter."""
    rng = np.random.default_rng(seed)
    y = np.sin(0.8 * np.arange(16) + rng.uniform(0, 6, (size, 1))).astype(np.float32)
    x = (y + rng.normal(0, 0.5, (size, 16))).astype(np.float32)
    return {"x": x, "y": y, "length": rng.integers(8, 17, size=size, dtype=np.int32)}


def heard(seed, size):
    """Sequences of seven steps, some shorter, in which one of two labels is said, and then often the other one."""
    rng = np.random.default_rng(seed)
    first = rng.integers(2, size=size)
    y = np.stack([first, 1 - first], 1).astype(np.int32)
    x = rng.normal(0, 0.3, size=(size, 7, 2)).astype(np.float32)
    for step, label in ((1, y[:, 0]), (4, y[:, 1])):
        x[np.arange(size), step, label] += 1
    counts = rng.integers(1, 3, size=size, dtype=np.int32)
    return {"x": x, "length": np.where(counts == 2, 7, 4).astype(np.int32), "y": y, "count": counts}


def cycles(seed, size):
    """Windows of texts in which 1 follows 0, 2 follows 1 and 0 follows 2, mostly; some of their ends are padding."""
    rng = np.random.default_rng(seed)
    moves = rng.choice([1, 2], size=(size, 6), p=[0.9, 0.1])
    tokens = (rng.integers(3, size=(size, 1)) + np.cumsum(moves, 1)) % 3
    tokens = tokens.astype(np.int32)
    return {"x": tokens[:, :-1], "y": tokens[:, 1:], "length": rng.integers(3, 6, size=size, dtype=np.int32)}


def chords(seed, size):
    """Windows of rows in which three keys sound together or not at all, mostly in turn; some ends are padding."""
    rng = np.random.default_rng(seed)
    turns = rng.choice([0, 1], size=(size, 6), p=[0.1, 0.9])
    sounds = (rng.integers(2, size=(size, 1)) + np.cumsum(turns, 1)) % 2
    rows = np.repeat(sounds[..., None], 3, 2).astype(np.uint8)
    return {"x": rows[:, :-1], "y": rows[:, 1:], "length": rng.integers(3, 6, size=size, dtype=np.int32)}


def told_cycles(seed, size):
    """The same with a class and features, which say how many steps on the cycle the next token is."""
    batch, rng = cycles(seed, size), np.random.default_rng(seed + 1)
    moves = (batch["y"] - batch["x"]) % 3
    features = np.stack([moves, rng.normal(size=moves.shape)], -1).astype(np.float32)
    return batch | {"label": rng.integers(2, size=size, dtype=np.int32), "features": features}


def reversals(seed, size):
    """Sources of two to four tokens, and as targets the same from their ends, before token 3, which ends them."""
    rng = np.random.default_rng(seed)
    source, counts = rng.integers(3, size=(size, 4), dtype=np.int32), rng.integers(2, 5, size=size, dtype=np.int32)
    place = counts[:, None] - 1 - np.arange(4)
    turned = np.where(place >= 0, np.take_along_axis(source, np.maximum(place, 0), 1), 3).astype(np.int32)
    end = np.full((size, 1), 3, np.int32)
    x, y = np.concatenate([end, turned], 1), np.concatenate([turned, end], 1)
    return {"source": source, "source_length": counts, "x": x, "y": y, "length": counts + 1}


def sentences(seed, size):
    """Words of three kinds, whose last one is the label, and padding."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(1, 4, size=(size, 4), dtype=np.int32), rng.integers(3, size=size, dtype=np.int32)
    counts = rng.integers(2, 5, size=size)
    x[np.arange(size), counts - 1] = y + 1
    return {"x": np.where(np.arange(4) < counts[:, None], x, 0).astype(np.int32), "y": y}


def stories(seed, size):
    """A question, and two sentences of which the newer says the answer; the older may be padding."""
    x = np.random.default_rng(seed).integers(1, 3, size=(size, 3, 2), dtype=np.int32)
    x[:, 2] *= x[:, 2, :1] - 1
    return {"x": x, "y": x[:, 1, 0]}
