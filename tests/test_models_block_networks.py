"""Networks as MobileNetV2, ResNeXt and ResNet-18: losses and gradients of PyTorch's layers, and their sizes."""

import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.classifier import EXPERIMENT
from gen_models.core import init_state, make_train_step
from gen_models.models.supervised.block_networks import mobile_net, resnet18, resnext

with np.load(Path(__file__).parent / "fixtures" / "block_networks_torch.npz") as _archive:
    THEIRS = dict(_archive)
BATCH = {"x": THEIRS["x"], "y": THEIRS["labels"]}
SHAPE = BATCH["x"].shape[1:]
MODELS = {
    "basic": lambda: resnet18(SHAPE, 3, width=4, blocks=(1, 1)),
    "grouped": lambda: resnext(SHAPE, 3, channels=(8, 16), blocks=(1, 1), strides=(1, 2), groups=2),
    "inverted": lambda: mobile_net(SHAPE, 3, channels=(4, 6), blocks=(1, 2), strides=(1, 2), expansion=3, last=7),
}


def _tree(kind, of):
    found: dict = {}
    for name, value in THEIRS.items():
        if name.startswith(f"{kind}/{of}/"):
            *path, last = name.split("/")[2:]
            own = found
            for part in path:
                own = own.setdefault(part, {})
            own[last] = jnp.asarray(value)
    return found


def _count(model, shape):
    zeros = {"x": jnp.zeros((1, *shape)), "y": jnp.zeros(1, jnp.int32)}
    params, _ = jax.eval_shape(model.init, jax.random.key(0), zeros)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("kind", ["basic", *(pytest.param(k, marks=pytest.mark.slow) for k in ("inverted", "grouped"))])
def test_loss_and_gradients_in_training_are_pytorchs(kind):
    model, params = MODELS[kind](), _tree(kind, "params")
    made, stats = jax.eval_shape(model.init, jax.random.key(0), BATCH)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)
    stats = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), stats)

    @jax.jit
    def both(params):
        return jax.value_and_grad(lambda p: model.loss(p, stats, BATCH, jax.random.key(0), step=0)[0])(params)

    loss, gradients = both(params)
    np.testing.assert_allclose(loss, THEIRS[f"{kind}/loss"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), gradients, _tree(kind, "gradients")
    )


def test_sizes_are_the_published_ones():
    """ResNet-18 as others write it for CIFAR, and one counted by hand."""
    assert _count(resnet18((32, 32, 3)), (32, 32, 3)) == 11_173_962
    assert _count(resnet18(), (28, 28, 1)) == 11_172_810
    hand = 9 * 4 + 8  # the first convolution
    hand += 4 * 12 + 24 + 9 * 12 + 24 + 12 * 4 + 8  # a block 4 -> 4
    hand += 4 * 12 + 24 + 9 * 12 + 24 + 12 * 6 + 12  # 4 -> 6
    hand += 6 * 18 + 36 + 9 * 18 + 36 + 18 * 6 + 12  # 6 -> 6
    assert _count(MODELS["inverted"](), SHAPE) == hand + 6 * 7 + 14 + 7 * 3 + 3


@pytest.mark.slow
def test_the_recipe_for_an_accelerator_takes_a_step():
    """At its published size, as `experiments.classifier full_resnet18` builds it, on two images."""
    config = replace(EXPERIMENT.variants["full_resnet18"], dataset="fashion_mnist_bundled", train_split="train")
    splits = EXPERIMENT.data(config)
    model, batch = EXPERIMENT.model(config, splits), splits.first_batch(2, jax.random.key(1))
    tx = optax.sgd(0.01)
    state = init_state(model, tx, jax.random.key(0), batch)
    after, metrics = jax.jit(make_train_step(model.loss, tx))(state, batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(after.params)) == 11_172_810
    assert np.isfinite(metrics["loss"]) and int(after.step) == 1


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="channels, blocks and strides must be of one length"):
        mobile_net(channels=(8,), blocks=(1, 1), strides=(1,))
    with pytest.raises(ValueError, match="16 groups times reduction must divide channels=24"):
        resnext(channels=(64, 24), blocks=(1, 1), strides=(1, 2))
    with pytest.raises(ValueError, match="expansion=0"):
        mobile_net(expansion=0)
    with pytest.raises(ValueError, match="width=0"):
        resnet18(width=0)
    with pytest.raises(ValueError, match="momentum must be in"):
        resnet18(momentum=1.0)
