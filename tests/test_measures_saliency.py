"""Measures of what a network looks at: their figures from the functions they draw on, and the pictures."""

import itertools

import jax
import numpy as np
import pytest
from PIL import Image

from gen_models.evaluation import feature_maps as look
from gen_models.evaluation import saliency as of
from gen_models.measures import FeatureMaps, ReceptiveFields, Saliency, StrongestPatches, Trained
from gen_models.measures.feature_maps import _first_kernel, pictures
from gen_models.models.supervised.cnn import cnn
from tests.measured import KEY, figures_of, split_of

RNG = np.random.default_rng(0)
N = 12


@pytest.fixture(scope="module")
def given():
    """A small network as it starts, and images."""
    arrays = {"x": RNG.uniform(size=(N, 8, 8, 1)).astype(np.float32), "y": (np.arange(N) % 3).astype(np.int32)}
    model = cnn((8, 8, 1), 3, channels=(2, 3), strides=(1, 2), dropout=0.0)
    params, stats = jax.jit(model.init)(KEY, arrays)
    return Trained(model, params, stats, 3), split_of(arrays, num_classes=3), arrays


@pytest.mark.slow  # 13 s of a core: many programs
def test_fields_and_saliency_say_what_their_functions_do(given, tmp_path):
    trained, split, _ = given
    found = figures_of(ReceptiveFields(images=4), trained, split)
    assert [found[f"field of layer {i}"].value for i in (1, 2)] == [3, 5]
    x = split.some(4)["x"]
    for i in (1, 2):
        field = look.receptive_field(*trained[:3], x, i - 1)
        size = found[f"effective field of layer {i} at the end"].value
        assert size == pytest.approx(look.effective_size(field)) and 1 <= size <= found[f"field of layer {i}"].value

    measure = Saliency(images=6, randomised=3, shown=2)
    found = figures_of(measure, trained, split)
    x = split.some(6)["x"]
    classes = np.asarray(trained.model.apply(*trained[1:3], x)).argmax(1).astype(np.int32)
    curves = of.removed(*trained[:3], x, classes, x.mean(-1))
    area = np.trapezoid(curves, dx=1 / 28, axis=1)
    assert found["deletion, brightness"].value == pytest.approx(area.mean(), rel=1e-5)
    assert found["deletion, brightness"].spread == pytest.approx(area.std(ddof=1) / 6**0.5, rel=1e-4)
    assert {"deletion, Grad-CAM", "gradient with all layers random"} <= set(found)
    kernel = trained.params["Conv_0"]["kernel"]
    np.testing.assert_array_equal(_first_kernel(*trained[:3], x), kernel)
    for each in (FeatureMaps(), ReceptiveFields(images=4), measure):
        each.draw(trained, split, KEY, tmp_path)
    drawn = {"kernels", "maps", "fields", "saliency", "deletion", "randomised", "randomised_correlation"}
    assert {path.stem for path in tmp_path.glob("*.png")} == drawn


@pytest.mark.slow  # test_evaluation_feature_maps.py finds the strongest places
def test_the_strongest_patches_are_cut_out_of_the_images(given, tmp_path, monkeypatch):
    """A unit's value, computed again from the patch alone, is the one by which the image was chosen."""
    trained, split, arrays = given
    rows = []
    monkeypatch.setattr(
        "gen_models.measures.feature_maps.pictures", lambda path, of, **words: rows.append(of) or pictures(path, of)
    )
    measure = StrongestPatches(count=6, shown=2)
    found = figures_of(measure, trained, split)
    measure.draw(trained, split, KEY, tmp_path)
    maps = look.maps(*trained[:3], arrays["x"], normed=True)
    kernel = np.asarray(trained.params["Conv_0"]["kernel"])[..., 0, :]
    norm, stats = trained.params["BatchNorm_0"], trained.stats["BatchNorm_0"]
    whole = 0
    for channel, row in zip((0, 1), rows[0], strict=True):
        largest = np.sort(np.asarray(maps[0])[..., channel].reshape(N, -1).max(1))[::-1]
        for value, patch in zip(largest, row, strict=False):
            assert patch.shape == (3, 3)
            if 0.33 in patch:  # it lies beyond the edge, where the network saw zeros
                continue
            whole += 1
            z = ((patch * kernel[..., channel]).sum() - stats["mean"][channel]) / np.sqrt(stats["var"][channel] + 1e-5)
            assert z * norm["scale"][channel] + norm["bias"][channel] == pytest.approx(value, rel=1e-4)
    assert whole >= 2
    for i, size in ((1, 3), (2, 5)):
        assert rows[i - 1][0][0].shape == (size, size)
        values = np.asarray(maps[i - 1]).reshape(N, -1, maps[i - 1].shape[-1]).max(1)
        chosen = [arrays["y"][each.argsort()[-6:]] for each in values.T]
        shares = [np.mean([a == b for a, b in itertools.combinations(each, 2)]) for each in chosen]
        assert found[f"one class, layer {i}"].value == pytest.approx(np.mean(shares))


def test_pictures_stand_in_rows(tmp_path):
    """Unsigned ones in grey, those with negative values in blue and red."""
    pictures(tmp_path / "p.png", [[np.ones((2, 2)), None], [np.array([[1.0, -1.0]]), np.zeros((2, 2))]], names="ab")
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3).astype(int)
    red, blue = ((pixels[:, i] > pixels[:, 2 - i] + 60).any() for i in (0, 2))
    assert red and blue
