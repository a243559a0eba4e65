"""Classifiers, regressions, segmentation and detection, each small enough to train in a blink."""

from collections.abc import Callable
from dataclasses import replace

import jax

from gen_models.models.side_by_side import copies, side_by_side
from gen_models.models.supervised.block_networks import mobile_net, resnet18, resnext
from gen_models.models.supervised.boundaries import boundary_unet
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.detector import detector
from gen_models.models.supervised.fully_connected import fully_connected
from gen_models.models.supervised.fully_convolutional import fully_convolutional
from gen_models.models.supervised.gaussian_discriminant import gaussian_discriminant
from gen_models.models.supervised.in_unit import in_unit
from gen_models.models.supervised.linear_regression import linear_regression
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.models.supervised.mlp import mlp
from gen_models.models.supervised.naive_bayes import naive_bayes
from gen_models.models.supervised.perceptron import perceptron
from gen_models.models.supervised.residual_cnn import residual_cnn
from gen_models.models.supervised.unet import unet

from .batches import columns, labelled, lit, measured, numbered, sided
from .entry import CLASSES, SGD, SHAPE, SLOW, Entry


def started(model, scale):
    """The model with normal noise on what its parameters start from, as the perceptron's loss is 0 at 0."""

    def init(key, batch):
        params, stats = model.init(key, batch)
        leaves, form = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        moved = [
            leaf + scale * jax.random.normal(own, leaf.shape, leaf.dtype)
            for leaf, own in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(form, moved), stats

    return replace(model, init=init)


SUPERVISED: dict[str, Callable[..., Entry]] = {
    "logistic": lambda dtype=None: Entry(
        logistic_regression(**CLASSES, l2=1e-3, dtype=dtype), labelled, SGD, deterministic=True
    ),
    "perceptron": lambda dtype=None: Entry(
        started(perceptron(SHAPE, dtype=dtype), 0.5), sided, SGD, deterministic=True
    ),
    "linear_regression": lambda dtype=None: Entry(
        linear_regression(SHAPE, 2, l2=1e-2, dtype=dtype), measured, SGD, deterministic=True
    ),
    "naive_bayes": lambda dtype=None: Entry(
        naive_bayes(SHAPE, 3, kind="bernoulli", dtype=dtype), lit, SLOW, deterministic=True
    ),
    "gaussian_naive_bayes": lambda dtype=None: Entry(
        naive_bayes(SHAPE, 3, dtype=dtype), labelled, SLOW, deterministic=True
    ),
    "gaussian_discriminant": lambda dtype=None: Entry(
        gaussian_discriminant(SHAPE, 3, dtype=dtype), labelled, SLOW, deterministic=True
    ),
    "gaussian_mlp": lambda dtype=None: Entry(
        mlp(SHAPE, 2, hidden=(8,), answer="normal", dtype=dtype), measured, SLOW, deterministic=True
    ),
    "mlp": lambda axis_name=None, dtype=None: Entry(
        mlp(**CLASSES, hidden=(8, 5), norm="batch", axis_name=axis_name, dtype=dtype),
        labelled,
        SGD,
        deterministic=True,
    ),
    "in_unit": lambda dtype=None: Entry(
        in_unit(mlp((4,), 1, hidden=(6,), answer="numbers", dtype=dtype), centre=2.0, scale=3.0),
        numbered,
        SGD,
        deterministic=True,
    ),
    "fully_connected": lambda dtype=None: Entry(
        fully_connected(SHAPE, 3, hidden=(6,), activation="tanh", dtype=dtype), labelled, SGD, deterministic=True
    ),
    "side_by_side": lambda dtype=None: Entry(
        side_by_side(
            {
                "mlp": copies(mlp(**CLASSES, hidden=(4,), dtype=dtype), 2),
                "logistic": logistic_regression(**CLASSES, dtype=dtype),
            }
        ),
        labelled,
        SGD,
        deterministic=True,
    ),
    "cnn": lambda axis_name=None, dtype=None: Entry(
        cnn(**CLASSES, channels=(4, 5), strides=(1, 2), dropout=0.0, axis_name=axis_name, dtype=dtype),
        labelled,
        SGD,
        deterministic=True,
    ),
    "residual_cnn": lambda axis_name=None, dtype=None: Entry(
        residual_cnn(
            **CLASSES,
            channels=(4, 6),
            strides=(1, 2),
            windows=(3,),
            bottleneck=2,
            activation="prelu",
            axis_name=axis_name,
            dtype=dtype,
        ),
        labelled,
        SGD,
        deterministic=True,
    ),
    **{
        name: lambda axis_name=None, dtype=None, make=make, how=how: Entry(
            make(**CLASSES, **how, axis_name=axis_name, dtype=dtype), labelled, SGD, deterministic=True
        )
        for name, make, how in (
            ("mobile_net", mobile_net, {"channels": (4,), "blocks": (1,), "strides": (1,), "expansion": 2, "last": 6}),
            ("resnext", resnext, {"channels": (8,), "blocks": (1,), "strides": (1,), "groups": 2}),
            ("resnet18", resnet18, {"width": 4, "blocks": (1,)}),
            ("fully_convolutional", fully_convolutional, {"channels": (4, 5), "strides": (1, 2), "shrink": "max"}),
        )
    },
    "unet": lambda axis_name=None, dtype=None: Entry(
        unet(SHAPE, 4, channels=(3, 4), axis_name=axis_name, dtype=dtype), columns, SGD, deterministic=True
    ),
    "boundary_unet": lambda axis_name=None, dtype=None: Entry(
        boundary_unet(SHAPE, channels=(3, 4), axis_name=axis_name, dtype=dtype), columns, SGD, deterministic=True
    ),
    "detector": lambda axis_name=None, dtype=None: Entry(
        detector(SHAPE, 3, channels=(4,), strides=(2,), head=3, found=4, axis_name=axis_name, dtype=dtype),
        columns,
        SGD,
        deterministic=True,
    ),
}
