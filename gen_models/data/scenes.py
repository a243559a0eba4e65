"""Drawn scenes of one or two things, and what may be said of them: captions whose entropy is known.

A scene is an image of 24 x 24 pixels with one or two things in different quarters, which differ in shape, colour or
size. A caption of one thing is "a small red square". Of two, either may come first, and any relation that holds may
stand between, of which there are two where the things lie diagonally:

    a small red square left of a large blue disc        a large blue disc right of a small red square
    a small red square above a large blue disc          a large blue disc below a small red square

Each is drawn with the same probability, so that no model of captions given scenes can have less than their logarithm,
the entropy: 0, log 2 or log 4 nats, `caption_entropy` of a scene. Which captions are right is known: `captions_of`.
"""

import numpy as np
from jaxtyping import Integer

from gen_models.data.splits import Splits
from gen_models.data.symbols import Symbols, with_meaning
from gen_models.data.transforms import on, to_unit

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("square", "disc", "triangle")
RELATIONS = ("left of", "right of", "above", "below")
WORDS = ("", "a", *SIZES, *COLOURS, *SHAPES, *RELATIONS)  # of a caption, by token; 0 is its end
LENGTH = 10  # tokens of the longest caption, with its end
SIDE = 24  # pixels
NOTHING = -1  # in place of the second thing, where there is one alone
_RGB = np.array([[220, 50, 50], [60, 190, 70], [70, 90, 230], [230, 210, 60]])
_RADII = (2.0, 4.0)
Scene = Integer[np.ndarray, "2 5"]  # of each thing its line and column of quarters, size, colour and shape


def scene_splits(examples: int) -> Splits:
    """Scenes with a caption each: `examples` to train on, and 1,000 each to validate and to test on.

    An example is {"source": float32 [24, 24, 3] in [0, 1] (uint8 before the transform), "x": int32 [10], "y": int32
    [10], "length": int32 [], "scene": int32 [2, 5]}; x begins with the end, 0, and y[t] follows x[t].

    Raises:
      ValueError: `examples` is not positive.
    """
    train, held_out, test = (generated_scenes(count, seed) for seed, count in enumerate((examples, 1000, 1000)))
    picture = on("source", to_unit)
    splits = Splits.of_arrays(train, test, held_out, name="scenes", examples="captions", transform=picture)
    return with_meaning(splits, Symbols((WORDS, WORDS), (0, 0), " "))


def generated_scenes(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Scenes and a caption of each, drawn from those that are right.

    Raises:
      ValueError: `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    draw = np.random.default_rng(seed)
    scenes = np.stack([_scene(draw) for _ in range(count)])
    tokens = np.zeros((count, LENGTH + 1), np.int32)
    for row, scene in zip(tokens, scenes, strict=True):
        right = captions_of(scene)
        words = right[draw.integers(len(right))]
        row[1 : len(words) + 1] = [WORDS.index(word) for word in words]
    images = np.stack([drawn_scene(scene, draw) for scene in scenes])
    found = {"source": images, "x": tokens[:, :-1], "y": tokens[:, 1:], "scene": scenes}
    return found | {"length": (tokens > 0).sum(1).astype(np.int32) + 1}


def captions_of(scene: Scene) -> list[tuple[str, ...]]:
    """All captions of a scene that are right, each as its words."""
    first, second = (tuple(int(value) for value in thing) for thing in np.asarray(scene))
    if second[0] == NOTHING:
        return [_named(first)]
    return [
        (*_named(one), relation, *_named(other))
        for one, other in ((first, second), (second, first))
        for relation, holds in zip(RELATIONS, _relations(one, other), strict=True)
        if holds
    ]


def caption_entropy(scene: Scene) -> float:
    """The entropy of a scene's captions, in nats: the logarithm of their number."""
    return float(np.log(len(captions_of(scene))))


def drawn_scene(scene: Scene, draw: np.random.Generator) -> np.ndarray:
    """The image uint8 [24, 24, 3] of a scene, on grey of some noise, each thing a pixel or none beside its middle."""
    image = np.clip(draw.normal(40, 8, (SIDE, SIDE, 3)), 0, 255)
    lines, columns = np.mgrid[:SIDE, :SIDE]
    for line, column, size, colour, shape in np.asarray(scene):
        if line == NOTHING:
            continue
        y, x = (SIDE / 4 - 0.5 + SIDE / 2 * place + draw.integers(-1, 2) for place in (line, column))
        down, right, radius = lines - y, np.abs(columns - x), _RADII[size]
        inside = {
            "square": np.maximum(np.abs(down), right) <= 0.9 * radius,
            "disc": down**2 + right**2 <= (1.05 * radius) ** 2,
            "triangle": (np.abs(down) <= radius) & (right <= (down + radius) / 2),
        }[SHAPES[shape]]
        image[inside] = _RGB[colour]
    return np.rint(image).astype(np.uint8)


def _scene(draw: np.random.Generator) -> np.ndarray:
    """A scene of one thing or two, as probable as each other."""
    things = np.full((2, 5), NOTHING, np.int32)
    places = draw.permutation(4)
    for index in range(1 + draw.integers(2)):
        while True:
            looks = [draw.integers(len(kinds)) for kinds in (SIZES, COLOURS, SHAPES)]
            if not index or looks != things[0, 2:].tolist():
                break
        things[index] = [*divmod(places[index], 2), *looks]
    return things


def _named(thing: tuple[int, ...]) -> tuple[str, ...]:
    _, _, size, colour, shape = thing
    return "a", SIZES[size], COLOURS[colour], SHAPES[shape]


def _relations(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[bool, bool, bool, bool]:
    """Whether each of `RELATIONS` holds between two things."""
    return one[1] < other[1], one[1] > other[1], one[0] < other[0], one[0] > other[0]
