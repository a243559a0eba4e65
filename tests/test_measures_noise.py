"""Pictures of a GAN's noise: the lines that walks follow, and arithmetic that a toy's pixels can check."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_models.core import Model
from gen_models.data.splits import Splits
from gen_models.measures.base import Split, Trained
from gen_models.measures.noise import NoiseArithmetic, NoiseWalk, arc, drawn_noise, straight
from gen_models.plots import image_grid
from gen_models.run.experiments import find

SHARE = np.linspace(0, 1, 7)


def test_an_arc_turns_evenly_and_keeps_the_norms():
    """Its angle to the start is a share of the whole, its norm goes evenly from one end's to the other's."""
    a, b = np.random.default_rng(0).normal(size=(2, 5))
    points = arc(a, b, SHARE)
    norms = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(points[[0, -1]], [a, b], atol=1e-12)
    np.testing.assert_allclose(norms, np.linspace(norms[0], norms[-1], 7), rtol=1e-12)
    angles = np.arccos(np.clip(points @ a / (norms * np.linalg.norm(a)), -1, 1))
    np.testing.assert_allclose(angles, SHARE * angles[-1], atol=1e-7)


def test_an_arc_of_one_direction_is_a_line():
    """There is no angle to turn by, and nothing is divided by 0."""
    a = np.array([1.0, 2.0])
    np.testing.assert_allclose(arc(a, 2 * a, SHARE), straight(a, 2 * a, SHARE))
    assert np.isfinite(arc(a, -a, SHARE)).all()


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_walks_go_from_draw_to_draw(noise, tmp_path):
    """Of a toy that shows its noise: rows begin and end with draws of the model's own distribution."""
    trained, split = toy()
    NoiseWalk(latent=4, noise=noise, walks=3, steps=5).draw(trained, split, jax.random.key(1), tmp_path)
    ends = drawn_noise(jax.random.key(1), 6, 4, noise)
    between = straight if noise == "uniform" else arc
    rows = [between(a, b, np.linspace(0, 1, 5)) for a, b in zip(ends[0::2], ends[1::2], strict=True)]
    same_picture(np.concatenate(rows).astype(np.float32), 5, tmp_path, "noise_walk.png")


def test_arithmetic_adds_the_noise_of_classes(tmp_path):
    """Of a toy whose class is the brightest of its noise's first three numbers: which is what a linear probe learns."""
    trained, split = toy()
    NoiseArithmetic((2, 0, 1), latent=4, drawn=200).draw(trained, split, jax.random.key(1), tmp_path)
    shown = np.asarray(Image.open(tmp_path / "noise_arithmetic.png"), np.float64)
    assert shown.ndim == 2
    image_grid(np.zeros((20, 2, 2, 1), np.float32), tmp_path / "size.png", columns=4)
    assert shown.shape == np.asarray(Image.open(tmp_path / "size.png")).shape  # three rows of terms, two of results
    pixels = cells(shown, 4)
    for row, term in enumerate((2, 0, 1)):
        chosen = pixels[row]  # three samples of the class, then what their mean noise makes
        assert (chosen[:, :3].argmax(1) == term).all()
        np.testing.assert_allclose(chosen[3], chosen[:3].mean(0), atol=1.01)
    z = pixels[:3, 3] / 255 * 2 - 1
    result = np.clip((z[0] - z[1] + z[2] + 1) / 2, 0, 1) * 255
    np.testing.assert_allclose(pixels[3, 0], result, atol=4)
    around = np.abs(pixels[3:].reshape(-1, 4)[1:] - pixels[3, 0]) / 255 * 2
    assert 0.05 < around.max() < 0.27


def test_arithmetic_needs_classes_of_the_data(tmp_path):
    """There is no picture of classes that the data have not."""
    trained, split = toy()
    NoiseArithmetic((2, 0, 7), latent=4).draw(trained, split, jax.random.key(1), tmp_path)
    assert not list(tmp_path.iterdir())


def toy():
    """A model whose images of 2x2 are its noise from -1 to 1, coded by themselves, on images like its samples."""
    z = np.random.default_rng(0).uniform(-1, 1, (300, 4)).astype(np.float32)
    data = {"x": ((z + 1) / 2).reshape(-1, 2, 2, 1), "y": z[:, :3].argmax(1).astype(np.int32)}

    def decode(params, stats, z):
        return jnp.clip((z + 1) / 2, 0, 1).reshape(-1, 2, 2, 1)

    model = Model(
        lambda key, batch: ({}, {}),
        lambda *_, **__: (0.0, ({}, {})),
        encode=lambda params, stats, x: x.reshape(len(x), -1),
        decode=decode,
    )
    splits = Splits.of_arrays(data, data, num_classes=3, examples="images")
    return Trained(model, {}, {}, 3), Split(splits, splits.test, "test")


def same_picture(z, columns, folder, name):
    """Whether the picture is that of the images that the toy makes of z."""
    images = np.clip((z + 1) / 2, 0, 1).reshape(-1, 2, 2, 1)
    image_grid(images, folder / "expected.png", columns=columns)
    found, expected = (np.asarray(Image.open(folder / file), np.int32) for file in (name, "expected.png"))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def cells(picture, columns):
    """The four pixels of each image in a grid, [rows, columns, 4], each 2x2 of the file, between gaps of 2."""
    side = 6  # 2 * 2 for an image, and the gap
    tops, lefts = range(2, picture.shape[0] - 2, side), range(2, 2 + columns * side, side)
    return np.array([[picture[top : top + 4 : 2, left : left + 4 : 2].reshape(-1) for left in lefts] for top in tops])


def test_classes_of_the_arithmetic_are_classes():
    with pytest.raises(ValueError, match="terms are classes, from 0 on"):
        NoiseArithmetic((-1, 0, 3), latent=4)
    dcgan = find("experiments.dcgan")
    config = replace(dcgan.variants["dcgan"], dataset="digits", terms=(2, 0, 12))
    with pytest.raises(ValueError, match="--terms are classes of the data, which have 10, got"):
        dcgan.data(config)
