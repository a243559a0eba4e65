"""Training on all images first, and on the few that have a label from a step on.

What unsupervised pre-training is (Erhan et al., Why Does Unsupervised Pre-training Help Deep Learning?, 2010): a model
that learns layers of images alone, and then a classifier on top of them, such as `stacked_denoising_autoencoder` with
`classes`, whose layers may see every image, while its fine-tuning knows the labels of a few.
"""

from dataclasses import replace

import jax.numpy as jnp

from gen_models.core import Model
from gen_models.models.inputs import field

_REMEDY = "with_few_labels of gen_models.data.few_labels makes batches with a few labelled examples"


def labelled_after(model: Model, steps: int) -> Model:
    """The model, whose first steps see the images of a batch, and all later ones its labelled examples alone.

    It is for batches as `with_few_labels` of the data makes them. The model's own loss reads "x", which is the batch's
    "x" in the first steps and "labelled_x" from then on, and "y", which is "labelled_y". With `train=False` it sees the
    labelled examples.

    Args:
      model: with one loss, which does not read "y" in the first steps, as labels there are not those of "x".
      steps: K S of `stacked_denoising_autoencoder` with K layers of S steps; 0: labelled examples from the start on.

    Raises:
      ValueError: the model has several players, or `steps` is negative; a batch has no labelled examples.
    """
    whole = model.loss
    if not callable(whole):
        raise ValueError(f"the players {sorted(whole)} would each need labelled examples: give a model with one loss")
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")

    def loss(params, stats, batch, key, *, step, train=True):
        x, labelled = field(batch, "x", "name the model's input 'x'"), field(batch, "labelled_x", _REMEDY)
        seen = jnp.where(step < steps, x, labelled) if train else labelled
        own = {"x": seen, "y": field(batch, "labelled_y", _REMEDY)}
        return whole(params, stats, own, key, step=step, train=train)

    return replace(model, loss=loss)
