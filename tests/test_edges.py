"""What strangers bring to the models of the zoo: each is one error that names it, or NaN where none can be raised."""

import functools
import inspect
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import ZOO

from gen_models.models.adversarial.gan import gan
from gen_models.models.autoregressive.fvsbn import fvsbn
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.made import made
from gen_models.models.autoregressive.nade import nade
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.models.autoregressive.pixel_snail import pixel_snail
from gen_models.models.latent.vae import vae
from gen_models.models.sequences.sequence_classifier import sequence_classifier
from gen_models.models.supervised.classification import cross_entropy
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.models.supervised.mlp import mlp
from gen_models.models.supervised.residual_cnn import residual_cnn
from tests.checked import unchecked

KEY = jax.random.key(0)
SAMPLED = [name for name, build in ZOO.items() if build().model.has("sample")]
OF_SOURCES = ("recurrent_seq2seq", "transformer_seq2seq")
OF_TOKENS = (  # whose "y" are tokens too
    "transformer",
    "recurrent_language_model",
    "ngram",
    "windowed_mlp",
    "wavenet",
    "temporal_convolutions",
    *OF_SOURCES,
)
FORECASTERS = ("linear_forecaster", "recurrent_forecaster", "patch_transformer")
# Models whose batches are neither images nor labels; they are tested where the models are.
OWN_BATCHES = (*OF_TOKENS, *FORECASTERS, "polyphonic", "speech_recogniser", "mask_network", "in_unit")
OF_NUMBERS = ("linear_regression", "gaussian_mlp")  # whose "y" are numbers; they are tested where heads are
OF_SIDES = ("perceptron",)  # whose "y" are 0 or 1; likewise
OF_ANY_SIZE = ("fully_convolutional", "unet", "boundary_unet")
LABELLED = [
    name
    for name, build in ZOO.items()
    if "y" in build().batch(0, 1) and name not in (*OWN_BATCHES, *OF_NUMBERS, *OF_SIDES)
]


@functools.cache
def _entry(name):
    return ZOO[name]()


def _losses(model):
    return model.loss.values() if isinstance(model.loss, Mapping) else (model.loss,)


def _refused(name, batch, message):
    """By `init` and by each loss, before a parameter is looked at."""
    with pytest.raises(ValueError, match=message):
        _entry(name).model.init(KEY, batch)
    for loss in _losses(_entry(name).model):
        with pytest.raises(ValueError, match=message):
            loss(None, {}, batch, KEY, step=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [name for name in ZOO if name not in OWN_BATCHES])
def test_batches_that_are_none(name):
    batch = _entry(name).batch(0, 2)
    x = batch["x"]
    without = {key: value for key, value in batch.items() if key != "x"}
    _refused(name, without | {"image": x}, r"the batch has no 'x', only \[.*'image'.*name the model's input 'x'")
    _refused(name, batch | {"x": x.tolist()}, "the batch's 'x' must be an array, got list: np.asarray")
    _refused(name, batch | {"x": None}, "must be an array, got NoneType")
    _refused(name, batch | {"x": x.astype(str)}, "'x' must hold real numbers, got <U")
    _refused(name, batch | {"x": x + 0j}, "'x' must hold real numbers, got complex")
    _refused(name, batch | {"x": x[0]}, r"but got one such array: x\[None\] is a batch")
    if name in OF_ANY_SIZE:
        _refused(name, batch | {"x": x[..., :0]}, r"takes batches \[B, any, any, 1\], but the batch is")
    else:
        _refused(name, batch | {"x": x[:, :-1]}, "built for images of shape")
    _refused(name, {key: value[:0] for key, value in batch.items()}, "the batch has no examples")
    _refused(name, [x], "a batch is a dictionary such as .*, got list")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", OF_TOKENS)
def test_batches_of_no_tokens(name):
    batch = _entry(name).batch(0, 2)
    x, y = batch["x"], batch["y"]
    _refused(name, {"image": x, "y": y}, r"the batch has no 'x', only \['image', 'y'\]: name the model's input 'x'")
    _refused(name, {"x": x}, r"the batch has no 'y', only \['x'\]: the tokens that follow those of 'x'")
    _refused(name, batch | {"x": x.tolist()}, "the batch's 'x' must be an array, got list: np.asarray")
    _refused(name, batch | {"x": x.astype(np.float32)}, r"'x' must be tokens, integers \[B, T\], got float32 \[2, 5\]")
    _refused(name, batch | {"x": x[0]}, r"'x' must be tokens, integers \[B, T\], got int32 \[5\]")
    _refused(name, batch | {"y": y[:, 1:]}, r"is followed by one of 'y', got \[2, 5\] and \[2, 4\]")
    _refused(name, {key: value[:0] for key, value in batch.items()}, r"must be tokens, .* got int32 \[0, 5\]")
    _refused(name, [x], "a batch is a dictionary such as .*, got list")
    if name in OF_SOURCES:
        _refused(name, {"x": x, "y": y}, r"the batch has no 'source', only \['x', 'y'\]: what targets are given")
        _refused(name, batch | {"source": batch["source"][:1]}, "each of 2 targets has a source, got 1: give source as")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_none(name):
    batch = _entry(name).batch(0, 2)
    losses = _losses(_entry(name).model)
    for y, message in (
        (None, "no 'y', only"),
        (batch["y"].tolist(), "'y' must be an array, got list"),
        (np.eye(3)[batch["y"]], r"label must be \[2\] integers, got float.* \[2, 3\]"),
        (batch["y"].astype(np.float32), r"label must be \[2\] integers, got float32 \[2\]"),
        (np.array([0, -1]), "labels must be from 0 to 2, got -1"),
        (np.array([3, 0]), "labels must be from 0 to 2, got 3"),
    ):
        for loss in losses:
            with pytest.raises(ValueError, match=message):
                loss(None, {}, {"x": batch["x"]} | ({} if y is None else {"y": y}), KEY, step=0)


def test_a_label_of_no_class_has_no_loss_where_nothing_can_be_raised():
    model = logistic_regression((2,), 3)
    params, stats = model.init(KEY, {"x": np.zeros((2, 2), np.float32)})
    for train in (True, False):
        loss = functools.partial(model.loss, params, stats, key=KEY, step=0, train=train)
        loss = jax.jit(lambda y, loss=loss: loss({"x": jnp.ones((2, 2)), "y": y}))
        value, (_, metrics) = loss(np.array([0, 1]))
        assert np.isfinite([value, *metrics.values()]).all()
        for wrong in (-1, 3):
            value, (_, metrics) = loss(np.array([0, wrong]))
            assert np.isnan([value, *metrics.values()]).all()
    each = jax.jit(cross_entropy)(jnp.zeros((4, 3)), np.array([-1, 0, 2, 3]))
    np.testing.assert_allclose(each, [np.nan, np.log(3), np.log(3), np.nan], rtol=1e-6)
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got -1"):
        cross_entropy(jnp.zeros((2, 3)), np.array([-1, 0]))


def test_a_token_of_no_vocabulary_has_no_logits():
    model = sequence_classifier(length=2, vocabulary=3, num_classes=2, features=2, mixer="none", attention=False)
    params, stats = jax.jit(model.init)(KEY, {"x": np.zeros((1, 2), np.int32)})
    logits = jax.jit(lambda x: model.apply(params, stats, x))(np.array([[0, 2], [-1, 0], [0, 3]]))
    assert np.isnan(logits).all(1).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="tokens must be integers from 0 to 2, got values from -1 to 0: another vocab"):
        model.apply(params, stats, np.array([[-1, 0]]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", SAMPLED)
def test_numbers_of_samples_that_are_none(name):
    sample = functools.partial(_entry(name).model.sample, None, {}, KEY)
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n must be 1 or more, got {n}"):
            sample(n)
    for n in (2.0, "3", None, True, (2, 2)):
        with pytest.raises(ValueError, match="n must be a whole number of examples, 1 or more, got"):
            sample(n)
    with pytest.raises(ValueError, match="n must be known when a sampler is traced"):
        jax.jit(sample)(2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model", [vae((2, 2, 1), latent=3), gan((2,), latent=3)])
def test_latents_that_are_none(model):
    for z, message in (
        (np.zeros((2, 2)), r"z must be \[B, 3\].*\(2, 2\)"),
        (np.zeros(3), r"z must be"),
        ([[0]], "list"),
    ):
        with pytest.raises(ValueError, match=message):
            model.decode(None, {}, z)


def test_pixels_that_a_vae_does_not_take():
    """Grey ones have a loss, as is customary, and no likelihood; beyond black and white there is nothing."""
    model = vae((2, 2, 1), latent=1, hidden=(2,))
    x = np.array([[0.0, 1.0, 1.0, 0.0]] * 2, np.float32).reshape(2, 2, 2, 1)
    params, stats = jax.jit(model.init)(KEY, {"x": x})
    loss = functools.partial(model.loss, params, stats, key=KEY, step=0)
    log_prob = functools.partial(model.log_prob, params, stats, key=KEY, particles=2)
    traced = jax.jit(lambda x: (loss({"x": x})[0], log_prob(x), model.encode(params, stats, x)[0][:, 0]))

    def is_nan(x):
        return [np.isnan(value).tolist() for value in traced(x)]

    assert is_nan(x) == [False, [False] * 2, [False] * 2]
    np.testing.assert_array_equal(traced(x.astype(np.uint8))[1], traced(x)[1])
    for wrong in (x * 255, 2 * x - 1, np.where(x == 0, np.nan, x)):
        for call in (lambda x: loss({"x": x}), log_prob, lambda x: model.encode(params, stats, x)):
            with pytest.raises(
                ValueError, match=r"pixels must be (between|integers from) 0 (and|to) 1, got values from"
            ):
                call(wrong)
        both = np.stack([x[0], wrong[0]])
        assert is_nan(both) == [True, [False, True], [False, True]]
    with pytest.raises(ValueError, match="grey pixels have no probability here"):
        log_prob(0.5 * x)
    assert is_nan(0.5 * x) == [False, [True] * 2, [False] * 2]


def test_invalid_pixels_of_a_mixture_are_an_error_too():
    model = made((2, 2, 1), (4,), masks=2)
    x = jnp.full((1, 2, 2, 1), 0.5)
    params, stats = model.init(KEY, {"x": x})
    for call in (
        lambda: model.log_prob(params, stats, x),
        lambda: model.loss(params, stats, {"x": x}, KEY, step=0, train=False),
        lambda: model.loss(params, stats, {"x": x}, KEY, step=0),
    ):
        with pytest.raises(ValueError, match=r"pixels must be integers from 0 to 1, got values from 0\.5 to 0\.5"):
            call()


def test_a_member_that_there_is_not_is_nan_where_nothing_can_be_raised():
    model = made((2, 2, 1), (4,), masks=2)
    x = jnp.zeros((2, 2, 2, 1))
    params, stats = model.init(KEY, {"x": x})
    calls = (
        lambda index: model.log_prob(params, stats, x, index=index),
        lambda index: model.apply(params, stats, x, index),
        lambda index: model.sample(params, stats, KEY, 2, index=index),
    )
    for call in calls:
        jitted = jax.jit(call)
        assert np.isfinite(jitted(1)).all() and np.isnan(jitted(2)).all() and np.isnan(jitted(-1)).all()
        with unchecked(), pytest.raises(ValueError, match="index must be one integer, got float32"):
            call(jnp.float32(1))


@pytest.mark.slow_cases("model1")
@pytest.mark.parametrize(
    "model", [fvsbn((2, 2, 1)), pixel_cnn((2, 2, 1), features=1, blocks=1, head_features=1, classes=3)]
)
def test_samples_of_bad_arguments_are_marked_where_nothing_can_be_raised(model):
    """NaN, or -1 where images are integers."""
    given = jnp.zeros((2, 2, 2, 1))
    params, stats = model.init(KEY, {"x": given})
    labelled = "label" in inspect.signature(model.apply).parameters
    mask = np.array([[True, False], [False, False]])

    @jax.jit
    def draw(given, temperature, label):
        condition = {"label": label} if labelled else {}
        return model.sample(params, stats, KEY, 2, given=given, mask=mask, temperature=temperature, **condition)

    def marked(given=given, temperature=1.0, label=(0, 1)):
        x = draw(given, temperature, jnp.array(label))
        bad = np.isnan(x) | (np.asarray(x) == -1)
        assert (bad.all((1, 2, 3)) == bad.any((1, 2, 3))).all()
        return bad[:, 0, 0, 0].tolist()

    assert marked() == [False, False]
    assert marked(given.at[1, 0, 0].set(255)) == [False, True]
    assert marked(given.at[1, 1, 1].set(255)) == [False, False]  # which does not count
    assert marked(temperature=-1.0) == marked(temperature=jnp.nan) == [True, True]
    if labelled:
        assert marked(label=(2, 3)) == [False, True]


def test_temperature_zero_takes_the_likelier_value_and_tosses_a_coin_where_there_is_none():
    model = fvsbn((1, 3, 1))
    params, stats = model.init(KEY, {"x": jnp.zeros((1, 1, 3, 1))})
    params = {**params, "b": jnp.array([0.0, 1e-3, -1e-3])}  # a logit of 0, over 0, was no number, and its pixel black
    for temperature in (0.0, 0):
        drawn = np.asarray(model.sample(params, stats, KEY, 1000, temperature=temperature))[:, 0, :, 0]
        assert (drawn[:, 1:] == [1, 0]).all() and abs(drawn[:, 0].mean() - 0.5) < 0.08


def test_masked_likelihoods_keep_their_digits_at_large_logits():
    """x l - log(1 + e^l) is a difference of large numbers; -log(1 + e^-l) is not."""
    model = fvsbn((1, 2, 1))
    params = {"W": jnp.zeros((2, 2)), "b": jnp.array([18.0, 1e4])}
    x = jnp.ones((1, 1, 2, 1))
    log_p = model.log_prob(params, {}, x, mask=np.array([[True, False]]))
    np.testing.assert_allclose(log_p, -np.log1p(np.exp(-18.0)), rtol=1e-6)
    np.testing.assert_array_equal(model.log_prob(params, {}, x, mask=np.array([[False, True]])), 0)


def _each(builds, arguments, message):
    return [(build, arguments, message) for build in builds]


WINDOWED = (pixel_rnn, gated_pixel_cnn, pixel_cnn)
OF_PIXELS = (*WINDOWED, pixel_cnn_pp, image_gpt, pixel_snail)
OF_IMAGES = (pixel_cnn, fvsbn, nade, made, vae, cnn, residual_cnn)
NO_SEQUENCE = r"must be a sequence of sizes, such as \({0},\), got {1}={0}"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        *_each(WINDOWED, {"first_window": 1}, "first_window=1 sees no earlier pixel.*3 or more"),
        *_each(WINDOWED, {"first_window": 4}, "first_window=4"),
        *_each((pixel_rnn, pixel_cnn), {"window": 2}, "window=2"),
        *_each((pixel_rnn, gated_pixel_cnn, image_gpt), {"layers": 0}, "layers=0"),
        *_each(OF_PIXELS, {"features": 2.5}, "whole numbers, and positive, got features=2.5"),
        *_each((*OF_IMAGES, gan, mlp, logistic_regression), {"shape": 28}, NO_SEQUENCE.format(28, "shape")),
        *_each(OF_IMAGES, {"shape": (28, 28)}, r"\(height, width, channels\), got shape=\(28, 28\)"),
        *_each(OF_PIXELS, {"levels": 1}, "a pixel needs two levels or more, got levels=1"),
        *_each(OF_PIXELS, {"levels": 2.5}, "levels=2.5"),
        *_each((gated_pixel_cnn, image_gpt), {"classes": 0}, "classes=0"),
        *_each((gated_pixel_cnn, image_gpt), {"classes": 1.5}, "classes=1.5"),
        (pixel_cnn, {"blocks": 0}, "blocks=0"),
        (pixel_cnn_pp, {"resolutions": 0}, "resolutions=0"),
        (pixel_cnn_pp, {"mixtures": 0}, "mixtures=0"),
        (pixel_cnn_pp, {"dropout": float("nan")}, "dropout must be in"),
        (image_gpt, {"heads": 0}, "heads=0"),
        (image_gpt, {"heads": 3}, "3 heads must divide features=64"),
        (image_gpt, {"chunk": 0}, "chunk=0"),
        (pixel_snail, {"heads": 3}, "3 heads must divide key_features=16"),
        (pixel_snail, {"residual_blocks": 0}, "residual_blocks=0"),
        (nade, {"hidden": 2.5}, "hidden=2.5"),
        *_each((made, vae, mlp), {"hidden": 500}, NO_SEQUENCE.format(500, "hidden")),
        (vae, {"hidden": (500, 2.5)}, r"hidden=\(500, 2.5\)"),
        (vae, {"latent": True}, "latent=True"),
        (vae, {"beta": float("nan")}, "beta must not be negative, infinite or NaN, got nan"),
        (vae, {"warmup_steps": -1}, "warmup_steps must not be negative"),
        (gan, {"generator_hidden": (8, 0)}, r"generator_hidden=\(8, 0\)"),
        (gan, {"shape": ()}, r"an axis or more, got shape=\(\)"),
        (mlp, {"num_classes": 1}, "num_classes=1"),
        (cnn, {"channels": ()}, r"of one length, got channels=\(\)"),
        (residual_cnn, {"windows": (3, 4)}, "windows must be odd"),
        (residual_cnn, {"blocks": 0}, "blocks=0"),
    ],
)
def test_what_cannot_be_built_is_named(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
