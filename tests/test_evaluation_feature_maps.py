"""Maps of a convolutional network, fields by windows and strides against those by gradients, and moved images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.evaluation import feature_maps as look
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.fully_connected import fully_connected
from gen_models.models.supervised.fully_convolutional import fully_convolutional

RNG = np.random.default_rng(0)


@pytest.mark.slow  # 4 s of a core
def test_maps_and_fields_are_those_of_the_convolutions():
    """Of three 3x3 convolutions with strides 1, 2, 1: fields of 3, 5 and 9 pixels; maps by SciPy's correlation."""
    signal = pytest.importorskip("scipy.signal")
    model = cnn((16, 16, 1), 3, channels=(2, 3, 3), strides=(1, 2, 1), dropout=0.0)
    x = RNG.uniform(size=(4, 16, 16, 1)).astype(np.float32)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": np.zeros(4, np.int32)})
    found = look.maps(model, params, stats, x)
    assert [each.shape for each in found] == [(4, 16, 16, 2), (4, 8, 8, 3), (4, 8, 8, 3)]
    kernel = np.asarray(params["Conv_0"]["kernel"])
    for i in range(2):
        expected = signal.correlate2d(x[1, ..., 0], kernel[..., 0, i], mode="same")
        np.testing.assert_allclose(found[0][1, ..., i], expected, atol=1e-5)
    for layer, width in ((0, 3), (1, 5), (2, 9)):
        field = look.receptive_field(model, params, stats, x, layer)
        rows, columns = (np.flatnonzero(field.any(axis)) for axis in (1, 0))
        assert len(rows) <= width and len(columns) <= width
        assert rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == width


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_places_see_the_pixels_that_gradients_reach(padding):
    """Of every place of each map, at the edges too, with strides and dilation; weights of 1, so that none is lost."""
    model = fully_convolutional(
        (15, 16, 1), 2, channels=(1, 1, 1), strides=(2, 1, 2), dilations=(1, 2, 1), norm="none", padding=padding
    )
    x = np.ones((1, 15, 16, 1), np.float32)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), {"x": x, "y": np.zeros(1, np.int32)})
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), params)
    layers = look.convolutions(model, params, stats, x)
    slopes = jax.jit(jax.jacrev(lambda x: [z[0, ..., 0] for z in look.maps(model, params, stats, x)]))(x)
    for layer, slope in enumerate(np.asarray(each)[..., 0, :, :, 0] for each in slopes):
        for at in np.ndindex(slope.shape[:2]):
            ranges, sizes = look.seen_by(layers, layer, at)
            reached = np.argwhere(slope[at])
            for low, high, (first, last), size, edge in zip(
                reached.min(0), reached.max(0), ranges, sizes, (15, 16), strict=True
            ):
                assert last - first + 1 == size == (3, 11, 15)[layer]
                inside = range(max(first, 0), min(last, edge - 1) + 1)
                assert inside[0] <= low <= high <= inside[-1]
                if layer != 1:  # one that is dilated passes over some, which may be those at the edge
                    assert (low, high) == (inside[0], inside[-1])


def test_the_strongest_places_are_those_of_the_maps():
    """Behind norms, which one of `Norm` and one of Linen's inside of it are: z' = (z - mean) / sqrt(var + 1e-5)."""
    model = fully_convolutional((8, 8, 1), 3, channels=(2, 3), strides=(1, 2))
    x = RNG.uniform(size=(4, 8, 8, 1)).astype(np.float32)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": np.zeros(4, np.int32)})
    stats = jax.tree.map(lambda leaf: leaf + 0.3, stats)
    plain, behind, strongest = jax.jit(
        lambda x: (
            look.maps(model, params, stats, x),
            look.maps(model, params, stats, x, normed=True),
            look.strongest(model, params, stats, x),
        )
    )(x)
    assert [each.normed for each in look.convolutions(model, params, stats, x)] == [True, True]
    for i, (values, places) in enumerate(strongest):
        norm = stats[f"norm_{i}"]["norm"]
        own = (plain[i] - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
        np.testing.assert_allclose(behind[i], own, rtol=1e-4, atol=1e-5)
        for image, channel in np.ndindex(values.shape):
            row, column = (int(at) for at in places[image, channel])
            map_of = np.asarray(behind[i])[image, :, :, channel]
            assert map_of[row, column] == values[image, channel] == map_of.max()


def test_an_effective_size_counts_what_is_above_two_deviations():
    field = np.zeros((5, 5))
    field[1:4, 1:4] = 1.0
    field[0, 0], field[4, 4] = 0.045, 0.046
    assert look.effective_size(field) == pytest.approx(10**0.5)
    assert look.even_size(3.0 * (field == 1)) == pytest.approx(3)
    assert look.even_size(np.diag([1.0, 2.0])) == pytest.approx(3 / 5**0.5)
    for size in (look.effective_size, look.even_size):
        with pytest.raises(ValueError, match="finite and not negative"):
            size(-field)
    with pytest.raises(ValueError, match="its unit sees nothing"):
        look.even_size(0 * field)


def test_what_has_no_fields_is_refused():
    model = fully_connected((4, 4, 2), 3, hidden=())
    x = np.ones((1, 4, 4, 2), np.float32)
    params, stats = model.init(jax.random.key(0), {"x": x})
    for call in (look.maps, look.convolutions):
        with pytest.raises(ValueError, match="the model has no convolution"):
            call(model, params, stats, jnp.asarray(x))
    one = look.Convolution((3, 3), (2, 2), (1, 1), ((1, 1), (1, 1)), (8, 8), (4, 4), 1, False)
    with pytest.raises(ValueError, match=r"layer must be 0 to 0, got 1"):
        look.seen_by([one], 1, (0, 0))
    with pytest.raises(ValueError, match=r"within a map of \(4, 4\), got \(4, 0\)"):
        look.seen_by([one], 0, (4, 0))
    with pytest.raises(ValueError, match="where convolutions follow one another"):
        look.seen_by([one, one], 1, (0, 0))


def test_images_are_moved_by_whole_pixels():
    x = RNG.uniform(size=(2, 5, 6, 1)).astype(np.float32)
    for down, right in ((0, 0), (2, 0), (-1, 3), (0, -5)):
        moved = look.shifted(x, down, right)
        rolled = np.roll(x, (down, right), (1, 2))
        kept = np.zeros((5, 6), bool)
        kept[max(down, 0) : 5 + min(down, 0), max(right, 0) : 6 + min(right, 0)] = True
        np.testing.assert_array_equal(moved[:, kept], rolled[:, kept])
        assert not moved[:, ~kept].any()
    with pytest.raises(ValueError, match="nothing of them is left"):
        look.shifted(x, 5, 0)
