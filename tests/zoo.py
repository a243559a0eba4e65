"""Every model, small enough to train in a blink. Adding one is one line of `ZOO`; `test_contract` then tests it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from gen_models.core import Model
from gen_models.data.spectrograms import istft, stft
from gen_models.models.adversarial.dcgan import dcgan
from gen_models.models.adversarial.gan import gan
from gen_models.models.adversarial.resnet_gan import resnet_gan
from gen_models.models.adversarial.tiny_dcgan import tiny_dcgan
from gen_models.models.autoregressive.fvsbn import fvsbn
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.made import made
from gen_models.models.autoregressive.nade import nade
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.models.autoregressive.pixel_snail import pixel_snail
from gen_models.models.latent.autoencoder import autoencoder
from gen_models.models.latent.contractive_autoencoder import contractive_autoencoder
from gen_models.models.latent.denoising_autoencoder import denoising_autoencoder
from gen_models.models.latent.hierarchical_vae import hierarchical_vae
from gen_models.models.latent.on_features import on_features
from gen_models.models.latent.pca import pca
from gen_models.models.latent.pixel_vae import pixel_vae
from gen_models.models.latent.restoring_autoencoder import restoring_autoencoder
from gen_models.models.latent.semi_supervised_vae import semi_supervised_vae
from gen_models.models.latent.sparse_autoencoder import sparse_autoencoder
from gen_models.models.latent.stacked_denoising_autoencoder import stacked_denoising_autoencoder
from gen_models.models.latent.vae import vae
from gen_models.models.latent.vq_vae import vq_vae
from gen_models.models.sequences.linear_forecaster import linear_forecaster
from gen_models.models.sequences.mask_network import mask_network
from gen_models.models.sequences.memory_network import memory_network
from gen_models.models.sequences.ngram import ngram
from gen_models.models.sequences.patch_transformer import patch_transformer
from gen_models.models.sequences.polyphonic import polyphonic
from gen_models.models.sequences.recurrent_forecaster import recurrent_forecaster
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from gen_models.models.sequences.recurrent_network import recurrent_network
from gen_models.models.sequences.recurrent_seq2seq import recurrent_seq2seq
from gen_models.models.sequences.sentence_cnn import sentence_cnn
from gen_models.models.sequences.sentence_lstm import sentence_lstm
from gen_models.models.sequences.sentence_transformer import sentence_transformer
from gen_models.models.sequences.sequence_classifier import sequence_classifier
from gen_models.models.sequences.speech_recogniser import speech_recogniser
from gen_models.models.sequences.temporal_convolutional_network import temporal_convolutional_network
from gen_models.models.sequences.temporal_convolutions import temporal_convolutions
from gen_models.models.sequences.transformer import transformer
from gen_models.models.sequences.transformer_seq2seq import transformer_seq2seq
from gen_models.models.sequences.wavenet import wavenet
from gen_models.models.sequences.windowed_mlp import windowed_mlp
from gen_models.models.side_by_side import copies, side_by_side
from gen_models.models.supervised.block_networks import mobile_net, resnet18, resnext
from gen_models.models.supervised.boundaries import boundary_unet
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.detector import detector
from gen_models.models.supervised.fully_connected import fully_connected
from gen_models.models.supervised.fully_convolutional import fully_convolutional
from gen_models.models.supervised.gaussian_discriminant import gaussian_discriminant
from gen_models.models.supervised.linear_regression import linear_regression
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.models.supervised.mlp import mlp
from gen_models.models.supervised.naive_bayes import naive_bayes
from gen_models.models.supervised.residual_cnn import residual_cnn
from gen_models.models.supervised.table_regression import table_regression
from gen_models.models.supervised.unet import unet
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import r1, wasserstein_penalty
from gen_models.nn.likelihoods import bernoulli, gaussian
from gen_models.nn.priors import mixture

SHAPE = (6, 6, 1)


class Entry(NamedTuple):
    """A model, its example batches and its optimizers."""

    model: Model
    batch: Callable[[int, int], dict[str, np.ndarray]]  # (seed, size) -> batch
    tx: Any  # an optax transformation, or one a player; linear in the gradients, so that runs can be compared
    deterministic: bool = False  # the loss does not depend on its key


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


SENTENCES = (
    ("sentence_cnn", sentence_cnn, {"embedding": 5, "windows": (1, 2), "features": 6}),
    ("sentence_lstm", sentence_lstm, {"embedding": 4, "features": 5}),
    ("sentence_transformer", sentence_transformer, {"features": 8, "layers": 1, "heads": 2}),
)
CLASSES = {"shape": SHAPE, "num_classes": 3}
PLANE = {"shape": (2,), "generator_hidden": (8, 8), "discriminator_hidden": (6, 6), "pieces": 3, "weight_scale": 0.5}
SMALL_GAN: dict[str, Any] = {"shape": SHAPE, "latent": 3, "features": (3, 4), "window": 3, "weight_scale": 0.3}
SGD = optax.sgd(0.05, momentum=0.9)
SLOW = optax.sgd(2e-3, momentum=0.9)  # for losses that are sums over the pixels
BITS = {"shape": (4, 4, 1), "levels": 2, "features": 4}

# name -> builder, which takes the computations' dtype; one whose batch norm works across devices takes their axis
ZOO: dict[str, Callable[..., Entry]] = {
    "logistic": lambda dtype=None: Entry(
        logistic_regression(**CLASSES, l2=1e-3, dtype=dtype), labelled, SGD, deterministic=True
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
    "table_regression": lambda dtype=None: Entry(
        table_regression((4,), centre=2.0, scale=3.0, hidden=(6,), dtype=dtype), numbered, SGD, deterministic=True
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
    "sequence_classifier": lambda dtype=None: Entry(
        sequence_classifier(length=4, vocabulary=3, num_classes=3, features=4, dtype=dtype),
        sequences,
        SGD,
        deterministic=True,
    ),
    "transformer": lambda dtype=None: Entry(
        transformer(3, context=5, features=8, layers=1, heads=2, positions="rotary", dtype=dtype),
        cycles,
        optax.sgd(0.5, momentum=0.9),
        deterministic=True,
    ),
    "recurrent_language_model": lambda dtype=None: Entry(
        recurrent_language_model(3, features=6, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    "polyphonic": lambda dtype=None: Entry(
        polyphonic(3, features=5, output="nade", nade_features=4, dtype=dtype),
        chords,
        optax.sgd(0.2, momentum=0.9),
        deterministic=True,
    ),
    "ngram": lambda dtype=None: Entry(
        ngram(3, cycles(9, 4), order=3, dtype=dtype),
        cycles,
        optax.sgd(2.0, momentum=0.9),
        deterministic=True,
    ),
    "windowed_mlp": lambda dtype=None: Entry(
        windowed_mlp(3, context=2, embedding=3, features=6, direct=True, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    "wavenet": lambda dtype=None: Entry(
        wavenet(3, features=4, skip_features=4, layers=2, classes=2, local_features=2, dtype=dtype),
        told_cycles,
        SGD,
        deterministic=True,
    ),
    "temporal_convolutions": lambda dtype=None: Entry(
        temporal_convolutions(3, features=6, layers=2, window=2, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    **{
        name: lambda dtype=None, make=make, sizes=sizes: Entry(
            make(4, 4, 3, **sizes, dropout=0.1, dtype=dtype), sentences, SGD
        )
        for name, make, sizes in SENTENCES
    },
    "recurrent_network": lambda dtype=None: Entry(
        recurrent_network((4, 2), 3, features=5, layer_norm=True, window=2, dtype=dtype),
        steps,
        SGD,
        deterministic=True,
    ),
    "linear_forecaster": lambda dtype=None: Entry(
        linear_forecaster((8, 2), 2, window=3, dtype=dtype), waves, SGD, deterministic=True
    ),
    "recurrent_forecaster": lambda dtype=None: Entry(
        recurrent_forecaster((8, 2), 2, features=4, dtype=dtype), waves, SGD, deterministic=True
    ),
    "patch_transformer": lambda dtype=None: Entry(
        patch_transformer(
            (8, 2), 2, patch=4, stride=2, features=4, layers=1, heads=2, dropout=0.1, quantiles=(0.1, 0.5), dtype=dtype
        ),
        waves,
        SGD,
    ),
    "mask_network": lambda dtype=None: Entry(
        mask_network(
            16,
            partial(stft, window=8, hop=4),
            partial(istft, length=16, window=8, hop=4),
            5,
            features=3,
            hop=4,
            dtype=dtype,
        ),
        noisy_tones,
        SLOW,
        deterministic=True,
    ),
    "speech_recogniser": lambda dtype=None: Entry(
        speech_recogniser((7, 2), 2, features=4, layers=1, dtype=dtype), heard, SLOW, deterministic=True
    ),
    "memory_network": lambda dtype=None: Entry(
        memory_network((3, 2), 3, features=5, hops=2, linear_steps=2, dtype=dtype),
        stories,
        SGD,
        deterministic=True,
    ),
    "temporal_convolutional_network": lambda dtype=None: Entry(
        temporal_convolutional_network((4, 2), 3, features=5, layers=2, window=2, dtype=dtype),
        steps,
        SGD,
        deterministic=True,
    ),
    "recurrent_seq2seq": lambda dtype=None: Entry(
        recurrent_seq2seq(4, source_vocabulary=3, features=6, start=3, stop=3, dtype=dtype),
        reversals,
        SGD,
        deterministic=True,
    ),
    "transformer_seq2seq": lambda dtype=None: Entry(
        transformer_seq2seq(
            4,
            source_vocabulary=3,
            features=8,
            encoder_layers=1,
            decoder_layers=1,
            heads=2,
            label_smoothing=0.1,
            start=3,
            stop=3,
            dtype=dtype,
        ),
        reversals,
        SGD,
        deterministic=True,
    ),
    "vae": lambda dtype=None: Entry(
        vae(SHAPE, latent=2, hidden=(8,), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "convolutional_vae": lambda dtype=None: Entry(
        vae(SHAPE, latent=2, hidden=(8,), channels=(3, 4), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "hierarchical_vae": lambda dtype=None: Entry(
        hierarchical_vae(SHAPE, latents=(3, 2), hidden=((8,), (6,)), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "ladder_vae": lambda dtype=None: Entry(
        hierarchical_vae(SHAPE, latents=(3, 2), hidden=((8,), (6,)), ladder=True, dtype=dtype),
        binary,
        optax.sgd(0.01, momentum=0.9),
    ),
    "importance_vae": lambda dtype=None: Entry(
        vae(
            SHAPE,
            latent=2,
            hidden=(8,),
            particles=3,
            doubly_reparameterised=True,
            likelihood=gaussian("each"),
            prior=mixture(2),
            classes=3,
            dtype=dtype,
        ),
        bright,
        optax.sgd(0.002, momentum=0.9),
    ),
    "semi_supervised_vae": lambda dtype=None: Entry(
        semi_supervised_vae(SHAPE, 3, latent=2, hidden=(8,), dtype=dtype), few_labels, SLOW
    ),
    "m1_m2": lambda dtype=None: Entry(
        on_features(
            vae(SHAPE, latent=2, hidden=(8,), dtype=dtype),
            semi_supervised_vae((2,), 3, latent=2, hidden=(8,), likelihood=gaussian("each", unit=False), dtype=dtype),
        ),
        few_labels,
        {"features": SLOW, "top": optax.sgd(0.01, momentum=0.9)},
    ),
    "autoencoder": lambda dtype=None: Entry(
        autoencoder(SHAPE, latent=2, hidden=(8,), dtype=dtype), binary, SLOW, deterministic=True
    ),
    "denoising_autoencoder": lambda dtype=None: Entry(
        denoising_autoencoder(SHAPE, latent=2, hidden=(), dtype=dtype), binary, SLOW
    ),
    "restoring_autoencoder": lambda dtype=None: Entry(
        restoring_autoencoder(SHAPE, channels=(3,), layers=0, dtype=dtype), binary, SLOW
    ),
    "sparse_autoencoder": lambda axis_name=None, dtype=None: Entry(
        sparse_autoencoder(SHAPE, latent=3, hidden=(), axis_name=axis_name, dtype=dtype),
        binary,
        SLOW,
        deterministic=True,
    ),
    "contractive_autoencoder": lambda dtype=None: Entry(
        contractive_autoencoder(SHAPE, latent=2, hidden=(8,), activation=jnp.tanh, dtype=dtype),
        binary,
        SLOW,
        deterministic=True,
    ),
    "stacked_denoising_autoencoder": lambda dtype=None: Entry(
        stacked_denoising_autoencoder(SHAPE, latent=2, hidden=(8,), steps_per_layer=0, dtype=dtype),
        binary,
        optax.sgd(0.01, momentum=0.9),
        deterministic=True,
    ),
    "pca": lambda dtype=None: Entry(pca(SHAPE, latent=2, dtype=dtype), binary, SLOW, deterministic=True),
    "vq_vae": lambda axis_name=None, dtype=None: Entry(
        vq_vae(
            SHAPE,
            likelihood=bernoulli(),
            channels=(4,),
            residual_blocks=1,
            residual_features=4,
            code_size=3,
            code_features=2,
            prior_features=4,
            prior_layers=1,
            prior_embedded=3,
            axis_name=axis_name,
            dtype=dtype,
        ),
        binary,
        {"autoencoder": SLOW, "prior": SLOW},
        deterministic=True,
    ),
    "pixel_vae": lambda dtype=None: Entry(
        pixel_vae((4, 4, 1), latent=2, hidden=(8,), features=4, layers=2, first_window=3, head_features=4, dtype=dtype),
        small,
        SLOW,
    ),
    "gan": lambda axis_name=None, dtype=None: Entry(
        gan(**PLANE, packing=2, axis_name=axis_name, dtype=dtype), points, {"discriminator": SGD, "generator": SGD}
    ),
    "dcgan": lambda axis_name=None, dtype=None: Entry(
        dcgan(**SMALL_GAN, axis_name=axis_name, dtype=dtype), bright_alone, {"discriminator": SGD, "generator": SGD}
    ),
    "spectral_dcgan": lambda axis_name=None, dtype=None: Entry(
        dcgan(
            **SMALL_GAN,
            penalty=r1(0.1),
            discriminator_norm=False,
            weights="spectral",
            classes=3,
            condition="projection",
            axis_name=axis_name,
            dtype=dtype,
        ),
        bright,
        {"discriminator": SGD, "generator": SGD},
    ),
    "resnet_gan": lambda axis_name=None, dtype=None: Entry(
        resnet_gan(
            SHAPE,
            latent=3,
            generator_features=3,
            discriminator_features=3,
            halvings=1,
            blocks=1,
            weights="plain",
            loss=wasserstein(),
            penalty=wasserstein_penalty(1.0),
            classes=3,
            condition="auxiliary",
            axis_name=axis_name,
            dtype=dtype,
        ),
        bright,
        {"discriminator": SLOW, "generator": SLOW},
    ),
    "tiny_dcgan": lambda axis_name=None, dtype=None: Entry(
        tiny_dcgan(
            SHAPE, latent=3, generator_features=(2, 3), discriminator_features=(2,), axis_name=axis_name, dtype=dtype
        ),
        bright_alone,
        {"discriminator": SGD, "generator": SGD},
    ),
    "fvsbn": lambda dtype=None: Entry(fvsbn((4, 4, 1), dtype=dtype), small, SLOW, deterministic=True),
    "nade": lambda dtype=None: Entry(nade((4, 4, 1), hidden=6, dtype=dtype), small, SLOW, deterministic=True),
    "made": lambda dtype=None: Entry(made((4, 4, 1), hidden=(8,), dtype=dtype), small, SLOW, deterministic=True),
    "pixel_cnn": lambda dtype=None: Entry(
        pixel_cnn(**BITS, blocks=1, first_window=3, head_features=4, dtype=dtype), small, SLOW, deterministic=True
    ),
    "gated_pixel_cnn": lambda dtype=None: Entry(
        gated_pixel_cnn(**BITS, layers=2, first_window=3, head_features=4, dtype=dtype), small, SLOW, deterministic=True
    ),
    "pixel_cnn_pp": lambda dtype=None: Entry(
        pixel_cnn_pp(**BITS, blocks=1, resolutions=2, mixtures=None, dropout=0.0, dtype=dtype),
        small,
        SLOW,
        deterministic=True,
    ),
    **{
        f"{kind}_lstm": lambda dtype=None, kind=kind: Entry(
            pixel_rnn(**BITS, layers=1, kind=kind, first_window=3, head_features=4, skip=True, dtype=dtype),
            small,
            SLOW,
            deterministic=True,
        )
        for kind in ("row", "diagonal")
    },
    "image_gpt": lambda dtype=None: Entry(
        image_gpt(**BITS, layers=1, heads=1, dtype=dtype), small, SLOW, deterministic=True
    ),
    "pixel_snail": lambda dtype=None: Entry(
        pixel_snail(**BITS, blocks=1, residual_blocks=1, key_features=2, dtype=dtype), small, SLOW, deterministic=True
    ),
}
