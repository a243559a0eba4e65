"""Save and restore a training state with Orbax: asynchronous, complete or not there at all.

A checkpoint holds the whole `TrainState`, so that a resumed run takes the very step that it would have taken: the key
is never replaced and the data order is a function of the step, hence nothing else is needed.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp


class Checkpoints:
    """The checkpoints of one run, numbered by step; a context manager that waits for the last save.

    Args:
      folder: where they are; made at the first save.
      keep: how many of the newest are kept.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        self.folder = Path(folder).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        # The handler is named, so that metadata can be read in a process that has saved nothing.
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handler)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """The newest checkpoint's step, once the save under way is complete, or None."""
        self.wait()
        return self._manager.latest_step()

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / str(step)

    def save(self, step: int, state: Any) -> None:
        """Start saving; returns once the state is copied, so that its buffers may be donated. A known step is kept."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The state saved at `step`, by default the newest, on the devices that JAX uses now.

        Args:
          like: a state, or its `jax.eval_shape`: structure, shapes and dtypes that the saved one must have.
          step: which checkpoint.

        Raises:
          FileNotFoundError: there is no such checkpoint.
          ValueError: the saved state has another structure, other shapes or dtypes.
        """
        newest = self.latest()
        step = newest if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise FileNotFoundError(
                f"no complete checkpoint {'' if step is None else f'of step {step} '}in {self.folder}"
            )
        self._check(step, like)
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

        def abstract(leaf):
            sharding = leaf.sharding if isinstance(leaf, jax.Array) else device
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return self._manager.restore(step, args=ocp.args.StandardRestore(jax.tree.map(abstract, like)))

    def _check(self, step, like) -> None:
        """Compare the saved leaves' shapes and dtypes with what is wanted: Orbax would cast a dtype silently."""
        saved = self._manager.item_metadata(step)
        saved = _leaves(getattr(saved, "tree", saved))
        wanted = _leaves(like)
        for name in sorted(saved.keys() ^ wanted.keys()):
            where = "the checkpoint alone" if name in saved else "the model alone"
            raise ValueError(f"checkpoint {self.path(step)} is of another model: {name!r} is in {where}")
        for name, leaf in wanted.items():
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                continue  # its metadata describes the key's words
            found = saved[name]
            if tuple(found.shape) != tuple(leaf.shape) or str(found.dtype) != str(leaf.dtype):
                raise ValueError(
                    f"checkpoint {self.path(step)} is of another model: {name!r} is {found.dtype}{list(found.shape)} "
                    f"there and {leaf.dtype}{list(leaf.shape)} here"
                )

    def wait(self) -> None:
        """Wait until the save under way is complete on disk."""
        self._manager.wait_until_finished()


def _leaves(tree) -> dict[str, Any]:
    """Leaves by path; named tuples and the dicts that Orbax stores them as give the same path."""

    def name(entry) -> str:
        return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))

    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(map(name, path)): leaf for path, leaf in paths if leaf is not None}
