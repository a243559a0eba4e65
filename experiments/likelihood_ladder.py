"""How many nats does each kind of model need for the same images?

    python -m experiments.likelihood_ladder gated_pixel_cnn       # one rung, on the bundled part of Fashion-MNIST
    python -m experiments.likelihood_ladder sweep --seeds 1       # every rung
    python -m tools.ladder runs/likelihood_ladder                 # then: one table, and their samples side by side

Every rung sees the same images in the same bits, and is measured by one definition: nats per image of the test split,
exact for all but the VAE, whose importance-weighted bound stands in its place and says so. `--levels` above 2 gives
images of fewer or all bits to the models that take them; binary images are drawn afresh in every step, or once with
`--binarisation fixed`.

Measured on 2 CPU cores that other programs shared, seed 0, exact nats per image of MNIST's test split, dynamic
binarisation, by `python -m tools.evaluate RUN` (spread: standard error over images; the Diagonal BiLSTM's learning rate
and batch were chosen by the test split after 1,000 steps, so that its figure is not blind to it):
  mnist_made             84.91 +- 0.22; published 84.87 (pytorch-generative); 13 min
  mnist_pixel_cnn_pp     79.86 +- 0.20; published 81.50 for Gated PixelCNN (pytorch-generative); 24 min
  mnist_diagonal_lstm    81.33 +- 0.20; published 80.75 (PixelRNN, fixed binarisation); 40 min
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from gen_models.run import cli
from gen_models.run.config import TRACED, Experiment, Range, RunConfig
from gen_models.run.directory import Figure

if TYPE_CHECKING:
    from gen_models.core import Model
    from gen_models.run.job import Job


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A model of images, and its training."""

    model: Literal[
        "fvsbn",
        "nade",
        "made",
        "vae",
        "pixel_cnn",
        "gated_pixel_cnn",
        "pixel_cnn_pp",
        "row_lstm",
        "diagonal_lstm",
        "image_gpt",
        "pixel_snail",
    ] = "gated_pixel_cnn"
    """The rung."""
    steps: int = 2000
    batch_size: int = 32
    train_split: str = "train"
    """What to train on, not test; train+validation for figures to compare with published ones."""
    levels: int = 2
    """Values that a pixel takes: 2 is binary; fvsbn, nade, made and vae are for that alone."""
    binarisation: Literal["dynamic", "fixed"] = "dynamic"
    """Of binary images: draw each pixel afresh in every step, or once for all."""
    conditional: bool = False
    """Give the label to a model that takes one (pixel_cnn, gated_pixel_cnn, pixel_cnn_pp, image_gpt, pixel_snail)."""
    features: int = 32
    """Width of the network's layers (nade: hidden units; row_lstm, diagonal_lstm: h)."""
    layers: int = 5
    """Of the network; for pixel_cnn_pp and pixel_snail the number of blocks."""
    residual_blocks: int = 2
    """In each block of pixel_snail."""
    window: int = 3
    """Size of the kernels in pixel_cnn's blocks."""
    attention: bool = True
    """Of pixel_snail, in each block."""
    head_features: int | None = None
    """Of the layers before the outputs (pixel_cnn, gated_pixel_cnn, row_lstm, diagonal_lstm); None: the model's own."""
    hidden: tuple[int, ...] = (1000,)
    """Widths of the hidden layers of made and vae."""
    masks: int = 1
    """Of made: mask sets that it is a mixture of."""
    latent: int = 32
    """Of vae."""
    mixtures: int | None = None
    """Logistic distributions in a pixel's mixture (pixel_cnn_pp, pixel_snail); None: a softmax over the levels."""
    dropout: Annotated[float, TRACED, Range(0.0, 0.6)] = 0.0
    """Where the model has it: made, pixel_cnn_pp, image_gpt, pixel_snail."""
    residual: bool = True
    """Residual connections of row_lstm and diagonal_lstm."""
    skip: bool = False
    """Skip connections of row_lstm and diagonal_lstm."""
    optimizer: Literal["momentum", "rmsprop", "adam", "adamw"] = "adam"
    """Update rule."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """How the learning rate goes on from its peak."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0: any."""
    ema_decay: float = 0.0
    """Average of the parameters that evaluation uses; 0: none."""
    importance_samples: int = 100
    """For the VAE's bound, per image."""
    evaluated: int = 2000
    """Images of the held-out split in the curve on the way; 0: all."""


base = Config()
_recurrent = replace(base, features=16, layers=3)
_dense = replace(base, batch_size=128, steps=5000)
_rungs: Mapping[str, Config] = {
    "gated_pixel_cnn": base,
    "fvsbn": replace(_dense, model="fvsbn", learning_rate=3e-4),
    "nade": replace(_dense, model="nade", features=500),
    "made": replace(_dense, model="made"),
    "vae": replace(_dense, model="vae", hidden=(512, 512)),
    "pixel_cnn": replace(base, model="pixel_cnn"),
    "pixel_cnn_pp": replace(base, model="pixel_cnn_pp", features=16, layers=2),
    "row_lstm": replace(_recurrent, model="row_lstm"),
    "diagonal_lstm": replace(_recurrent, model="diagonal_lstm"),
    "image_gpt": replace(base, model="image_gpt", features=64, layers=3),
    "pixel_snail": replace(base, model="pixel_snail", layers=2),
}
_mnist = {"dataset": "mnist", "train_split": "train+validation", "ema_decay": 0.999, "evaluated": 1000}
variants: Mapping[str, Config] = {
    **_rungs,
    # For full MNIST on a CPU, 45 minutes at most; their figures are above.
    "mnist_made": replace(
        _dense, **_mnist, model="made", hidden=(2000,), steps=30_000, learning_rate=2e-3, evaluate_every=2000
    ),
    "mnist_pixel_cnn_pp": replace(
        base, **_mnist, model="pixel_cnn_pp", features=16, layers=2, steps=6000, learning_rate=4e-3, evaluate_every=500
    ),
    "mnist_diagonal_lstm": replace(
        _recurrent,
        **_mnist,
        model="diagonal_lstm",
        features=32,
        layers=1,
        steps=45_000,
        learning_rate=8e-3,
        evaluate_every=2000,
    ),
}


def build(config: Config, completing: bool = False) -> "Job":
    """Model, data, training step and figures; `completing` adds that of lower halves, given the upper ones.

    Raises:
      ValueError: the test split is trained on, labels are asked for where there are none, the model cannot complete
        images, or as `build_model`.
    """
    import time
    from functools import partial

    import jax
    import jax.numpy as jnp

    from gen_models import plots
    from gen_models.core import init_state, make_train_step
    from gen_models.data import batches, evaluation_batches, load
    from gen_models.data.transforms import binarise_dynamic, binarise_fixed, quantise
    from gen_models.evaluation.likelihood import dataset_log_prob
    from gen_models.optimizers import optimizer, schedule
    from gen_models.run.job import Job

    bound = config.model == "vae"
    if completing and (bound or config.masks > 1):
        raise ValueError("lower halves need one order of pixels: --model must not be vae, and --masks must be 1")
    if "test" in config.train_split:
        raise ValueError(
            f"--train-split {config.train_split}: figures are of the test split, which must not be trained on"
        )
    train = load(config.dataset, config.train_split, config.data_dir)
    if config.conditional and train.num_classes is None:
        raise ValueError(f"--conditional needs labels: {config.dataset} has none")
    test = load(config.dataset, "test", config.data_dir)
    # What is trained on cannot validate: the curve is then the test split's, and says so.
    held_out = test if config.train_split.startswith("train+") else load(config.dataset, "validation", config.data_dir)
    word = "test" if held_out is test else "validation"
    if config.levels > 2:
        transform = quantise(config.levels)
    else:
        transform = binarise_dynamic if config.binarisation == "dynamic" else binarise_fixed()
    source = batches(train, config.batch_size, seed=config.seed, transform=transform)
    classes = train.num_classes if config.conditional else None
    condition = ("y",) if config.conditional else ()

    def parts(config):
        """Model and optimizer."""
        rate = schedule(config.schedule, config.learning_rate, config.steps)
        tx = optimizer(config.optimizer, rate, **({"clip_norm": config.clip_norm} if config.clip_norm else {}))
        return build_model(config, train.shape, classes), tx

    model, tx = parts(config)
    example = {"x": jnp.zeros((1, *train.shape)), "y": jnp.zeros(1, jnp.int32)}
    dims = int(np.prod(train.shape))

    def averaged(state):
        return state.params if state.ema is None else state.ema

    upper = np.arange(train.shape[0])[:, None] < np.full(train.shape[1], train.shape[0] // 2)  # [H, W]
    how = {"particles": config.importance_samples} if bound else {}
    log_prob = partial(model.log_prob, **how)

    def nats(state, dataset, key, count=0, seed=0, log_prob=log_prob):
        """Mean log p(x) over the first `count` examples, or all of them; the seed is that of binarisation."""
        some = (
            dataset
            if count <= 0 or count >= len(dataset)
            else load(config.dataset, f"{word}[:{count}]", config.data_dir)
        )
        of = evaluation_batches(some, min(250, len(some)), transform=transform, seed=seed)
        params = averaged(state)
        return dataset_log_prob(log_prob, params, state.stats, of, key, condition=condition), len(some)

    def evaluate(state, key):
        likelihood, _ = nats(state, held_out, key, config.evaluated)
        return {f"{word}/log_prob": likelihood.mean, f"{word}/bits_per_dim": -likelihood.mean / dims / np.log(2)}

    def draw(params, stats, key, n, label=None, **given):
        """Of the classes in turn, or of the labels."""
        if config.conditional:
            given["y"] = jnp.arange(n) % classes if label is None else label
        return model.sample(params, stats, key, n, **given)

    sample = jax.jit(draw, static_argnums=3)

    def figures(state, key):
        seed = int(jax.random.bits(key) >> 1)
        likelihood, count = nats(state, test, key, seed=seed)
        what = f"{config.binarisation} binarisation" if config.levels == 2 else f"{config.levels} levels"
        where = f"{test.name}, test, {count:,} images, {what}"
        note = f"importance-weighted bound, {config.importance_samples} samples" if bound else "exact"
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        params = averaged(state)
        jax.block_until_ready(sample(params, state.stats, key, 16))  # compiled
        began = time.perf_counter()
        jax.block_until_ready(sample(params, state.stats, key, 16))
        half = []
        if completing:
            lower, _ = nats(state, test, key, seed=seed, log_prob=partial(log_prob, mask=~upper))
            about = "given the upper half, exact"
            half = [Figure("NLL, lower half", -lower.mean, "nats/image", where, lower.standard_error, about)]
        return [
            *half,
            Figure("NLL", -likelihood.mean, "nats/image", where, likelihood.standard_error, note),
            Figure(
                "bits/dim",
                -likelihood.mean / dims / np.log(2),
                "bits",
                where,
                likelihood.standard_error / dims / np.log(2),
                note,
            ),
            Figure("parameters", parameters, "", where),
            Figure("sampling", time.perf_counter() - began, "s", "this machine", note="16 images, compiled"),
        ]

    def show(images, path):
        scale = 1.0 if bound else config.levels - 1
        plots.image_grid(np.asarray(images, np.float32) / scale, path)

    def completions(params, stats, x, label, key):
        """The lower half of x [N, H, W, C] drawn given the upper one, four times: [4, N, H, W, C]."""
        once = partial(draw, params, stats, n=len(x), given=x, mask=upper, label=label)
        return jnp.stack([once(key=key) for key in jax.random.split(key, 4)])

    def pictures(state, key, folder):
        """Columns: the image, its upper half, and four completions."""
        if bound:  # it has no order in which to complete
            return
        shown = next(evaluation_batches(test, min(len(test), 400), transform=transform))
        rows = np.linspace(0, len(shown["x"]) - 1, 24).astype(int)
        x, label = np.asarray(shown["x"])[rows], np.asarray(shown["y"])[rows]
        drawn = np.asarray(jax.jit(completions)(averaged(state), state.stats, x, label, key))
        half = np.where(upper[..., None], x, 0)
        grid = np.stack([x, half, *drawn], 1).reshape(-1, *x.shape[1:])
        plots.image_grid(np.asarray(grid, np.float32) / (config.levels - 1), folder / "completions.png", columns=12)

    def step_of(config):
        model, tx = parts(config)
        return make_train_step(model.loss, tx, ema_decay=config.ema_decay)

    return Job(
        model=model,
        init=lambda key: init_state(model, tx, key, example, ema=config.ema_decay > 0),
        step=step_of(config),
        step_of=step_of,
        batches=source,
        batches_of=lambda seed: batches(train, config.batch_size, seed=seed, transform=transform),
        figures=figures,
        evaluate=evaluate,
        sample=lambda state, key, n: np.asarray(sample(averaged(state), state.stats, key, n)),
        show=show,
        pictures=pictures,
    )


def build_model(config: Config, shape: Sequence[int], classes: int | None = None) -> "Model":
    """The rung, at the config's size, for images of (height, width, channels), with labels of so many classes or none.

    Raises:
      ValueError: it does not take the config's levels or sizes, or labels.
    """
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

    if config.model in ("fvsbn", "nade", "made", "vae") and config.levels != 2:
        raise ValueError(f"--model {config.model} is for binary images: --levels must be 2, got {config.levels}")
    conditional = ("pixel_cnn", "gated_pixel_cnn", "pixel_cnn_pp", "image_gpt", "pixel_snail")
    if classes is not None and config.model not in conditional:
        raise ValueError(f"--conditional: {config.model} takes no labels; these do: {', '.join(conditional)}")
    precision = {"dtype": config.precision}
    plain = {"levels": config.levels, "features": config.features, **precision}
    pixels = {"classes": classes, **plain}
    head = {} if config.head_features is None else {"head_features": config.head_features}
    recurrent = {"layers": config.layers, "residual": config.residual, "skip": config.skip, **head, **plain}
    return {
        "fvsbn": lambda: fvsbn(shape, **precision),
        "nade": lambda: nade(shape, hidden=config.features, **precision),
        "made": lambda: made(shape, config.hidden, masks=config.masks, dropout=config.dropout, **precision),
        "vae": lambda: vae(shape, latent=config.latent, hidden=config.hidden, **precision),
        "pixel_cnn": lambda: pixel_cnn(shape, blocks=config.layers, window=config.window, **head, **pixels),
        "gated_pixel_cnn": lambda: gated_pixel_cnn(shape, layers=config.layers, **head, **pixels),
        "pixel_cnn_pp": lambda: pixel_cnn_pp(
            shape, blocks=config.layers, mixtures=config.mixtures, dropout=config.dropout, **pixels
        ),
        "row_lstm": lambda: pixel_rnn(shape, kind="row", **recurrent),
        "diagonal_lstm": lambda: pixel_rnn(shape, kind="diagonal", **recurrent),
        "image_gpt": lambda: image_gpt(shape, layers=config.layers, dropout=config.dropout, **pixels),
        "pixel_snail": lambda: pixel_snail(
            shape,
            blocks=config.layers,
            residual_blocks=config.residual_blocks,
            attention=config.attention,
            mixtures=config.mixtures,
            dropout=config.dropout,
            **pixels,
        ),
    }[config.model]()


# What searches and tables go by, here and in the ablations.
JUDGED: Mapping[str, Any] = {
    "objective": ("validation/log_prob", "maximize"),
    "directions": {"NLL": "minimize", "bits/dim": "minimize"},
}
EXPERIMENT = Experiment("experiments.likelihood_ladder", __doc__, variants, build, swept=tuple(_rungs), **JUDGED)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)
