"""What the experiments on lost modes give their models: enough examples for all updates and packs, each once."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from gen_models.run.experiments import find
from gen_models.run.job import make_job
from gen_models.run.tiny import tiny_config

GRID, STACKED = find("gan_mode_collapse"), find("stacked_mnist")


@pytest.mark.parametrize(("variant", "packs"), [("gan", 1), ("packing3", 3), ("wgan_gp", 5)])
def test_each_update_of_the_discriminator_has_packs_of_its_own(variant, packs):
    own = tiny_config(GRID, variant)
    assert make_job(GRID, own).batches(0).batch_size == own.batch_size * packs
    assert GRID.repeats(own) == {"discriminator": 5 if variant == "wgan_gp" else 1}


def test_both_networks_have_the_published_sizes():
    """Counted from the layers; PacGAN's are those of `gan_grid`, maxout of five pieces."""
    params = {name: make_job(GRID, GRID.variants[name]).shapes().params for name in ("r1", "maxout_r1")}
    count = {
        name: [sum(x.size for x in jax.tree.leaves(tree)) for tree in own.values()] for name, own in params.items()
    }
    assert count["r1"] == [3 * 128 + 129, 255 * 128 + 129 * 128 + 129 * 2]
    grid = make_job(find("gan_grid"), find("gan_grid").variants["gan"]).shapes().params
    assert jax.tree.map(lambda x: x.shape, params["maxout_r1"]) == jax.tree.map(lambda x: x.shape, grid)


def test_an_epoch_of_stacks_has_every_image_once():
    own = replace(tiny_config(STACKED, "packing2"), batch_size=5)
    batches = make_job(STACKED, own).batches(0)
    assert batches.batch_size == 5 * 2 * 3
    rows = batches.rows(0, batches.steps_per_epoch)
    assert len(np.unique(rows)) == rows.size
    batch = batches.make(batches.data, rows[0], jax.random.key(0))
    assert batch["x"].shape == (10, 8, 8, 3) and batch["y"].shape == (10, 3)
    alone = np.asarray(batches.data["x"])[rows[0]][..., 0] / 16  # digits of 17 levels
    np.testing.assert_allclose(batch["x"], alone.reshape(10, 3, 8, 8).transpose(0, 2, 3, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        (GRID, {"discriminator_updates": 0}, "--discriminator-updates must be 1 or more, got 0"),
        (GRID, {"packing": 0}, "--packing must be 1 or more, got 0"),
        (GRID, {"kernels": 2, "penalty": "r1"}, "these make logits depend on the whole batch: discrimination"),
        (STACKED, {"samples": 0}, "--samples must be 1 or more, got 0"),
        (STACKED, {"classifier": "nowhere"}, "nowhere holds no run"),
    ],
)
def test_bad_fields_are_refused_before_anything_is_compiled(experiment, fields, message):
    own = replace(tiny_config(experiment, next(iter(experiment.variants))), **fields)
    with pytest.raises((ValueError, OSError), match=message):
        make_job(experiment, own)
