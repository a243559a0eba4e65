"""Scenes and what may be said of them: captions against a reader of pixels, each as often, and their entropy."""

from collections import Counter

import numpy as np
import pytest

from gen_models.data.scenes import (
    COLOURS,
    LENGTH,
    NOTHING,
    RELATIONS,
    WORDS,
    caption_entropy,
    captions_of,
    drawn_scene,
    generated_scenes,
    scene_splits,
)

BRIGHT = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}  # channels that are above 128


def _seen(image):
    """{colour: (mean line, mean column, pixels)} of what is brighter than the grey."""
    found = {}
    for colour, bright in BRIGHT.items():
        lines, columns = np.nonzero(((image > 128) == np.array(bright, bool)).all(-1))
        if len(lines):
            found[colour] = (lines.mean(), columns.mean(), len(lines))
    return found


def _holds(words, seen):
    """Whether a caption is true of things of different colours, by their pixels alone."""
    cut = next((index for index, word in enumerate(words) if word in RELATIONS), None)
    one, other = words[:cut], words[cut + 1 :] if cut is not None else None
    for _, size, colour, _ in (one, other) if other else (one,):
        if colour not in seen or (seen[colour][2] > 30) != (size == "large"):
            return False
    if other is None:
        return len(seen) == 1
    (down, right, _), (other_down, other_right, _) = seen[one[2]], seen[other[2]]
    far = 6  # pixels, half a quarter
    return {
        "left of": other_right - right > far,
        "right of": right - other_right > far,
        "above": other_down - down > far,
        "below": down - other_down > far,
    }[words[cut]]


def test_captions_are_true_of_the_pixels_and_all_that_are_true_are_known():
    found = generated_scenes(300, 4)
    checked = 0
    for image, y, scene, length in zip(*(found[name] for name in ("source", "y", "scene", "length")), strict=True):
        own = tuple(WORDS[token] for token in y[: length - 1])
        right = captions_of(scene)
        assert own in right and len(set(right)) == len(right) and y[length - 1] == 0
        colours = [COLOURS[thing[3]] for thing in scene if thing[0] != NOTHING]
        seen = _seen(image)
        assert set(seen) == set(colours)
        if len(set(colours)) == len(colours):
            assert all(_holds(words, seen) for words in right)
            if len(colours) == 2:  # of all orders and relations none that is left out is true
                things = {words[:4] for words in right}
                every = [(*a, relation, *b) for a in things for b in things if a != b for relation in RELATIONS]
                assert sorted(words for words in every if _holds(words, seen)) == sorted(right)
                checked += 1
    assert checked > 80
    np.testing.assert_array_equal(found["x"][:, 1:], found["y"][:, :-1])
    assert (found["x"][:, 0] == 0).all() and found["y"].shape == (300, LENGTH)


def test_each_right_caption_is_drawn_as_often():
    found = generated_scenes(4000, 1)
    counts = Counter()
    for y, scene in zip(found["y"], found["scene"], strict=True):
        right = captions_of(scene)
        counts[len(right), right.index(tuple(WORDS[token] for token in y if token))] += 1
    for number, entropy in ((1, 0.0), (2, np.log(2)), (4, np.log(4))):
        own = np.array([count for (of, _), count in counts.items() if of == number])
        assert len(own) == number
        assert np.abs(own - own.mean()).max() <= 4 * np.sqrt(own.mean())
        scene = next(scene for scene in found["scene"] if len(captions_of(scene)) == number)
        assert caption_entropy(scene) == pytest.approx(entropy)


def test_the_two_triangles_of_a_scene_are_larger_and_smaller():
    """Each shape of one size is another set of pixels, and the larger one has at least twice as many."""
    draw, areas = np.random.default_rng(0), {}
    for size in (0, 1):
        for shape in range(3):
            scene = np.array([[0, 0, size, 0, shape], [NOTHING] * 5])
            areas[size, shape] = (drawn_scene(scene, draw)[..., 0] > 150).sum()
    assert all(areas[1, shape] > 2 * areas[0, shape] for shape in range(3))


def test_parts_are_other_scenes_with_pictures_in_the_unit_interval():
    splits = scene_splits(50)
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [50, 1000, 1000]
    batch = splits.first_batch(8, None)
    assert batch["source"].shape == (8, 24, 24, 3) and batch["source"].dtype == np.float32
    assert batch["source"].min() >= 0 and 0.5 < batch["source"].max() <= 1
    first, second = (part.arrays["source"] for part in (splits.held_out, splits.test))
    assert (first[:50] != second[:50]).any((1, 2, 3)).all()
    meaning = splits.train.meaning
    assert meaning.decode(splits.test.arrays["y"][0]).startswith("a ") and meaning.sizes == (len(WORDS), len(WORDS))
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        generated_scenes(0)
