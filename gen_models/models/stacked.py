"""Several models of one kind as one: member m of the parameters learns what member m of each example says.

An example is M examples side by side, one for each member, such as the i-th of each of M cross-validation splits. The
members share a program and nothing else: the loss is the sum of theirs, so that each one's gradient is its own, and
rules of updates that treat each parameter alone (SGD, momentum, Adam; not clipping by the global norm) train each as if
it were alone.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gen_models.core import Model
from gen_models.models.inputs import field
from gen_models.models.sizes import check_sizes


def stacked(model: Model, members: int) -> Model:
    """M models with parameters and statistics [M, ...]; batches have "x" and "y", [B, M, ...] each.

    `apply(params, stats, x)` gives [B, M, ...]. Metrics are means over the members, and each has noise of its own.

    Args:
      model: a model of one loss, without a carry.
      members: M.

    Raises:
      ValueError: `members` is below 1, or the model is another; when called, a batch's second axis is not M.
    """
    check_sizes(members=members)
    member_loss = model.loss
    if isinstance(member_loss, Mapping) or model.has("init_carry"):
        raise ValueError("a model of several players, or with a carry, cannot be stacked: train its members alone")

    def apart(batch):
        """The fields "x" and "y", member by member, [M, B, ...]; what else a batch has is not theirs."""
        fields = {name: jnp.asarray(field(batch, name, "an example has one of each member")) for name in names(batch)}
        for name, values in fields.items():
            if values.ndim < 2 or values.shape[1] != members:
                raise ValueError(f"{name!r} of {members} models must be [B, {members}, ...], got {list(values.shape)}")
        return {name: jnp.moveaxis(values, 1, 0) for name, values in fields.items()}

    def names(batch):
        return ["x", "y"] if "y" in batch else ["x"]

    def init(key, batch):
        return jax.vmap(model.init)(jax.random.split(key, members), apart(batch))

    def loss(params, stats, batch, key, *, step, train=True):
        """The sum of the members' losses."""

        def own(params, stats, batch, key):
            return member_loss(params, stats, batch, key, step=step, train=train)

        value, (stats, metrics) = jax.vmap(own)(params, stats, apart(batch), jax.random.split(key, members))
        return value.sum(), (stats, {name: each.mean() for name, each in metrics.items()})

    def apply(params, stats, x, **options):
        """What the members say of [B, M, ...]: [B, M, ...] on every leaf."""
        found = jax.vmap(lambda *own: model.apply(*own, **options))(params, stats, apart({"x": x})["x"])
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), found)

    return Model(init, loss, apply=apply)
