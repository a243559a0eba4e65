"""Layers that double an image's sides: transposes of strided convolutions, and how many taps make each pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.nn.autoencoding import Decoder, transposed, transposed_with
from gen_models.nn.conv import conv
from gen_models.nn.devices import plain

KEY = jax.random.key(0)


@pytest.mark.parametrize("window", [2, 3, 4])
@pytest.mark.parametrize("side", [7, 8])
def test_a_transposed_convolution_is_the_transpose_of_the_strided_one(window, side):
    """<conv(x), y> = <x, transposed(y)>, by XLA's own gradient of the strided one."""
    kernel = jax.random.normal(KEY, (window, window, 2, 3))
    small = jax.random.normal(jax.random.key(1), (1, -(-side // 2), -(-side // 2), 3))
    with plain():
        _, pull = jax.vjp(lambda x: conv(x, kernel, strides=2), jnp.zeros((1, side, side, 2)))
    (expected,) = pull(small)
    layer = transposed_with(window)(2, (side, side), None)
    params = {"kernel": kernel[::-1, ::-1].swapaxes(2, 3), "bias": jnp.zeros(2)}
    np.testing.assert_allclose(layer.apply({"params": params}, small), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "counts"), [(2, {1}), (3, {1, 2, 4}), (4, {4}), (5, {4, 6, 9})])
def test_pixels_of_even_windows_have_equally_many_taps(window, counts):
    """Odena et al. (2016): where the stride does not divide the window, they take turns in a checkerboard."""
    params = {"kernel": jnp.ones((window, window, 1, 1)), "bias": jnp.zeros(1)}
    made = transposed_with(window)(1, (16, 16), None).apply({"params": params}, jnp.ones((1, 8, 8, 1)))
    assert set(np.unique(made[0, 4:-4, 4:-4, 0]).astype(int)) == counts


@pytest.mark.parametrize("shape", [(7, 6, 3)])
@pytest.mark.slow
def test_a_window_of_four_is_the_default_in_the_same_bits_and_others_have_the_same_names(shape):
    decoders = [Decoder(shape=shape, channels=(4, 5), enlarged=e) for e in (None, transposed, transposed_with(4))]
    z = jax.random.normal(KEY, (2, 3))
    first, *others = [decoder.init(KEY, z) for decoder in decoders]
    for decoder, params in zip(decoders[1:], others, strict=True):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first, params))
        assert (decoder.apply(params, z) == decoders[0].apply(first, z)).all()
    three = Decoder(shape=shape, channels=(4, 5), enlarged=transposed_with(3))
    names = jax.tree.structure(first)
    assert jax.tree.structure(three.init(KEY, z)) == names and three.apply(three.init(KEY, z), z).shape == (2, *shape)


def test_a_window_is_one_layer_and_too_small_ones_are_refused():
    assert transposed_with(3) is transposed_with(3)  # so that equal decoders are equal, and compiled once
    with pytest.raises(ValueError, match="a window of 1 leaves gaps"):
        transposed_with(1)
