"""The picture of analogies: a row for each image, which is first, and then its style in each class."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

from gen_models.core import Model
from gen_models.data.splits import Splits
from gen_models.measures.analogies import Analogies
from gen_models.measures.base import Split, Trained
from gen_models.plots import image_grid


def test_each_row_is_an_image_and_its_style_in_every_class(tmp_path):
    """Of a toy whose style is the corner pixel, and whose classes light a column each."""
    x = np.random.default_rng(0).uniform(0.2, 0.6, (5, 3, 3, 1)).astype(np.float32)
    y = np.arange(5, dtype=np.int32) % 3
    data = Splits.of_arrays({"x": x, "y": y}, {"x": x, "y": y}, num_classes=3, examples="images")

    def decode(params, stats, z, label):
        return z[:, :, None, None] * jnp.ones((1, 3, 3, 1)) + 0.4 * jnp.eye(3)[label][:, None, :, None]

    for encode in (lambda p, s, x: x[:, 0, 0], lambda p, s, x: (x[:, 0, 0], None)):  # a code, or a mean and more
        model = Model(lambda key, batch: ({}, {}), lambda *_, **__: (0.0, ({}, {})), encode=encode, decode=decode)
        Analogies(count=4).draw(Trained(model, {}, {}, 3), Split(data, data.test, "test"), None, tmp_path)
        chosen = x[[0, 1, 2, 4]]
        expected = []
        for image in chosen:
            columns = [image[0, 0, 0] + 0.4 * np.eye(3)[k] * np.ones((3, 3)) for k in range(3)]
            expected += [image[..., 0], *columns]
        image_grid(np.stack(expected)[..., None], tmp_path / "expected.png", columns=4)
        np.testing.assert_array_equal(*(Image.open(tmp_path / name) for name in ("analogies.png", "expected.png")))
