"""Every model, small enough to train in a blink. Adding one is one line of `ZOO`; `test_contract` then tests it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from gen_models.core import Model
from gen_models.models.cnn import cnn
from gen_models.models.gan import gan
from gen_models.models.logistic import logistic_regression
from gen_models.models.mlp import mlp
from gen_models.models.vae import vae

SHAPE = (6, 6, 1)


class Entry(NamedTuple):
    """A model, its example batches and its optimizers."""

    model: Model
    batch: Callable[[jax.Array, int], dict[str, jax.Array]]  # (key, size) -> batch
    tx: Any  # an optax transformation, or one a player
    deterministic: bool = False  # the loss does not depend on its key


def labelled(key, size):
    """Images in three classes that a linear map can tell apart."""
    label_key, noise_key = jax.random.split(key)
    label = jax.random.randint(label_key, (size,), 0, 3)
    image = 0.3 * jax.random.normal(noise_key, (size, *SHAPE))
    return {"image": image.at[:, :, :3, 0].add(jax.nn.one_hot(label, 3)[:, None, :]), "label": label}


def binary(key, size):
    """Images of zeros and ones."""
    return {"image": (jax.random.uniform(key, (size, *SHAPE)) < 0.2).astype("float32")}


def points(key, size):
    """Points of the plane, half around (1, 1) and half around (-1, -1)."""
    sign_key, noise_key = jax.random.split(key)
    centre = jax.random.rademacher(sign_key, (size, 1), "float32")
    return {"image": centre + 0.1 * jax.random.normal(noise_key, (size, 2))}


def players(*names: str) -> Mapping[str, optax.GradientTransformation]:
    """Adam for each of them."""
    return {name: optax.adam(1e-2) for name in names}


CLASSES = {"shape": SHAPE, "num_classes": 3}
PLANE = {"shape": (2,), "generator_hidden": (8, 8), "discriminator_hidden": (6, 6), "pieces": 3, "weight_scale": 0.3}

# name -> builder; `axis_name` is for the models with batch norm
ZOO: dict[str, Callable[..., Entry]] = {
    "logistic_regression": lambda axis_name=None: Entry(
        logistic_regression(**CLASSES, l2=1e-3), labelled, optax.sgd(0.1), deterministic=True
    ),
    "mlp": lambda axis_name=None: Entry(mlp(**CLASSES, hidden=(8, 5), dropout=0.2), labelled, optax.adam(1e-2)),
    "mlp_batch_norm": lambda axis_name=None: Entry(
        mlp(**CLASSES, hidden=(8, 5), norm="batch", axis_name=axis_name), labelled, optax.adam(1e-2), deterministic=True
    ),
    "cnn": lambda axis_name=None: Entry(
        cnn(**CLASSES, channels=(4, 5), strides=(1, 2), dropout=0.0, axis_name=axis_name),
        labelled,
        optax.adam(1e-2),
        deterministic=True,
    ),
    "vae": lambda axis_name=None: Entry(vae(SHAPE, latent=2, hidden=(8,)), binary, optax.adam(1e-2)),
    "gan": lambda axis_name=None: Entry(
        gan(**PLANE, axis_name=axis_name), points, players("discriminator", "generator")
    ),
    "gan_packed": lambda axis_name=None: Entry(
        gan(**PLANE, packing=2, objective="minimax", axis_name=axis_name), points, players("discriminator", "generator")
    ),
}
