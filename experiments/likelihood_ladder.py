"""How many nats does each kind of model need for the same images?

    python -m experiments.likelihood_ladder gated_pixel_cnn       # one rung, on the bundled part of Fashion-MNIST
    python -m experiments.likelihood_ladder sweep --seeds 1       # every rung
    python -m tools.ladder runs/likelihood_ladder                 # then: one table, and their samples side by side

Every rung sees the same images in the same bits, and is measured by one definition: nats per image of the test split,
exact for all but the VAE, whose importance-weighted bound stands in its place and says so. `--levels` above 2 gives
images of fewer or all bits to the models that take them; binary images are drawn afresh in every step, or once with
`--binarisation fixed`.

Measured on 2 CPU cores, seed 0, exact nats per image of MNIST's test split, dynamic binarisation (spread: standard
error over images):
  mnist_made    84.96 +- 0.22; published 84.87 (pytorch-generative); 13 min beside other programs
The other recipes have not been run at full length yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gen_models import cli
from gen_models.config import Experiment, RunConfig
from gen_models.runs import Figure

if TYPE_CHECKING:
    from gen_models.core import Model
    from gen_models.experiment import Job


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
    """What to train on; train+validation for figures to compare with published ones."""
    levels: int = 2
    """Values that a pixel takes: 2 is binary; fvsbn, nade, made and vae are for that alone."""
    binarisation: Literal["dynamic", "fixed"] = "dynamic"
    """Of binary images: draw each pixel afresh in every step, or once for all."""
    features: int = 32
    """Width of the network's layers (nade: hidden units; row_lstm, diagonal_lstm: h)."""
    layers: int = 5
    """Of the network; for pixel_cnn_pp and pixel_snail the number of blocks."""
    residual_blocks: int = 2
    """In each block of pixel_snail."""
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
    dropout: float = 0.0
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
    "pixel_cnn_pp": replace(base, model="pixel_cnn_pp", layers=2),
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
    "mnist_gated_pixel_cnn": replace(base, **_mnist, steps=26_000, learning_rate=4e-3, evaluate_every=2000),
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


def build(config: Config) -> "Job":
    """Model, data, training step and figures."""
    import time
    from functools import partial

    import jax
    import jax.numpy as jnp

    from gen_models import plots
    from gen_models.core import init_state, make_train_step
    from gen_models.data import batches, evaluation_batches, load
    from gen_models.data.transforms import binarise_dynamic, binarise_fixed, quantise
    from gen_models.evaluation.likelihood import dataset_log_prob
    from gen_models.experiment import Job
    from gen_models.optimizers import optimizer, schedule

    train = load(config.dataset, config.train_split, config.data_dir)
    test = load(config.dataset, "test", config.data_dir)
    # What is trained on cannot validate: the curve is then the test split's, and says so.
    held_out = test if config.train_split.startswith("train+") else load(config.dataset, "validation", config.data_dir)
    word = "test" if held_out is test else "validation"
    if config.levels > 2:
        transform = quantise(config.levels)
    else:
        transform = binarise_dynamic if config.binarisation == "dynamic" else binarise_fixed()
    source = batches(train, config.batch_size, seed=config.seed, transform=transform)
    model = build_model(config, train.shape)
    rate = schedule(config.schedule, config.learning_rate, config.steps)
    tx = optimizer(config.optimizer, rate, **({"clip_norm": config.clip_norm} if config.clip_norm else {}))
    example = {"image": jnp.zeros((1, *train.shape))}
    bound = config.model == "vae"
    dims = int(np.prod(train.shape))

    def averaged(state):
        return state.params if state.ema is None else state.ema

    def log_prob(params, stats, x, key):
        if bound:
            return model.log_prob(params, stats, x, key, particles=config.importance_samples)
        return model.log_prob(params, stats, x, key)

    def nats(state, dataset, key, count=0):
        """Mean log p(x) over the first `count` examples, or all of them."""
        some = (
            dataset
            if count <= 0 or count >= len(dataset)
            else load(config.dataset, f"{word}[:{count}]", config.data_dir)
        )
        of = evaluation_batches(some, min(250, len(some)), transform=transform)
        return dataset_log_prob(log_prob, averaged(state), state.stats, of, key), len(some)

    def evaluate(state, key):
        likelihood, _ = nats(state, held_out, key, config.evaluated)
        return {f"{word}/log_prob": likelihood.mean, f"{word}/bits_per_dim": -likelihood.mean / dims / np.log(2)}

    sample = jax.jit(lambda params, stats, key, n: model.sample(params, stats, key, n), static_argnums=3)

    def figures(state, key):
        likelihood, count = nats(state, test, key)
        what = "binarised" if config.levels == 2 else f"{config.levels} levels"
        where = f"{test.name}, test, {count:,} images, {what}"
        note = f"importance-weighted bound, {config.importance_samples} samples" if bound else "exact"
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        params = averaged(state)
        jax.block_until_ready(sample(params, state.stats, key, 16))  # compiled
        began = time.perf_counter()
        jax.block_until_ready(sample(params, state.stats, key, 16))
        return [
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

    def completions(params, stats, x, key):
        """The lower half of x [N, H, W, C] drawn given the upper one, four times: [4, N, H, W, C]."""
        mask = jnp.arange(x.shape[1])[:, None] < x.shape[1] // 2
        mask = jnp.broadcast_to(mask, x.shape[1:3])
        draw = partial(model.sample, params, stats, n=len(x), given=x, mask=mask)
        return jnp.stack([draw(key=key) for key in jax.random.split(key, 4)])

    def pictures(state, key, folder):
        """Columns: the image, its upper half, and four completions."""
        if bound:  # it has no order in which to complete
            return
        shown = next(evaluation_batches(test, min(len(test), 400), transform=transform))["image"]
        x = np.asarray(shown)[np.linspace(0, len(shown) - 1, 24).astype(int)]
        drawn = np.asarray(jax.jit(completions)(averaged(state), state.stats, x, key))
        half = np.where(np.arange(x.shape[1])[:, None, None] < x.shape[1] // 2, x, 0)
        grid = np.stack([x, half, *drawn], 1).reshape(-1, *x.shape[1:])
        plots.image_grid(np.asarray(grid, np.float32) / (config.levels - 1), folder / "completions.png", columns=12)

    return Job(
        model=model,
        init=lambda key: init_state(model, tx, key, example, ema=config.ema_decay > 0),
        step=make_train_step(model.loss, tx, ema_decay=config.ema_decay),
        batches=source,
        figures=figures,
        evaluate=evaluate,
        sample=lambda state, key, n: np.asarray(sample(averaged(state), state.stats, key, n)),
        show=show,
        pictures=pictures,
    )


def build_model(config: Config, shape: Sequence[int]) -> "Model":
    """The rung, at the config's size, for images of (height, width, channels).

    Raises:
      ValueError: it does not take the config's levels or sizes.
    """
    from gen_models.models.fvsbn import fvsbn
    from gen_models.models.gated_pixel_cnn import gated_pixel_cnn
    from gen_models.models.image_gpt import image_gpt
    from gen_models.models.made import made
    from gen_models.models.nade import nade
    from gen_models.models.pixel_cnn import pixel_cnn
    from gen_models.models.pixel_cnn_pp import pixel_cnn_pp
    from gen_models.models.pixel_rnn import pixel_rnn
    from gen_models.models.pixel_snail import pixel_snail
    from gen_models.models.vae import vae

    if config.model in ("fvsbn", "nade", "made", "vae") and config.levels != 2:
        raise ValueError(f"--model {config.model} is for binary images: --levels must be 2, got {config.levels}")
    precision = {"dtype": config.precision}
    pixels = {"levels": config.levels, "features": config.features, **precision}
    head = {} if config.head_features is None else {"head_features": config.head_features}
    recurrent = {"layers": config.layers, "residual": config.residual, "skip": config.skip, **head, **pixels}
    return {
        "fvsbn": lambda: fvsbn(shape, **precision),
        "nade": lambda: nade(shape, hidden=config.features, **precision),
        "made": lambda: made(shape, config.hidden, masks=config.masks, dropout=config.dropout, **precision),
        "vae": lambda: vae(shape, latent=config.latent, hidden=config.hidden, **precision),
        "pixel_cnn": lambda: pixel_cnn(shape, blocks=config.layers, **head, **pixels),
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
            mixtures=config.mixtures,
            dropout=config.dropout,
            **pixels,
        ),
    }[config.model]()


EXPERIMENT = Experiment("experiments.likelihood_ladder", __doc__, variants, build, tuple(_rungs))

if __name__ == "__main__":
    cli.launch(EXPERIMENT)
