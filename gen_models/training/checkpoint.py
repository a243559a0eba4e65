"""Save and restore a training state with Orbax: asynchronous, complete or not there at all, and never in wrong values.

A checkpoint holds the whole `TrainState`, so that a resumed run takes the very step that it would have taken: the key
is never replaced and the order of the data is a function of the step, hence nothing else is needed. Beside it, in the
same atomic save, stand each leaf's shape, dtype and checksum (`checksums.py`), as Orbax restores a flipped bit as a
wrong value. A checkpoint that does not match them is named, the one before it is used, and nothing is deleted: the
folder of the damaged one is put aside once training saves again.
"""

import logging
import shutil
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from gen_models.training import checksums, packing
from gen_models.training.orbax_messages import first_line, not_about_merging, reading
from gen_models.training.orbax_messages import quiet as quiet

_REMOVED = ".removed"


class Damaged(UserWarning):
    """A checkpoint on disk is not what was saved."""


class Unverified(UserWarning):
    """A checkpoint was saved without checksums."""


class Checkpoints:
    """The checkpoints of one run, numbered by step; a context manager that waits for the last save.

    A state of moderate size on one device, or the same on each, is saved as one array for each dtype: Orbax takes
    longer over many small leaves than over their bytes. Larger ones and those in pieces are saved leaf by leaf.

    Args:
      folder: where they are; made at the first save.
      keep: how many of the newest are kept.
      protected: steps whose checkpoints are kept besides; the attribute of this name may be changed.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, protected: Iterable[int] = ()) -> None:
        self.folder = Path(folder).absolute()
        self.protected = set(protected)
        self._keep = keep
        handler = ocp.CompositeCheckpointHandler(
            packed=ocp.PyTreeCheckpointHandler(use_ocdbt=False),
            state=ocp.StandardCheckpointHandler(),
            leaves=ocp.JsonCheckpointHandler(),
        )
        # Orbax measures its patience by the system's clock, so that setting the clock forward would fail a save under
        # way. One process therefore waits for ever; several do not, as one of them may have died.
        patience = {} if jax.process_count() > 1 else {"timeout_secs": 10**9}
        logging.getLogger("absl").addFilter(not_about_merging)  # logging keeps one copy of a filter
        self._checkpointer = ocp.AsyncCheckpointer(handler, **patience)
        self._damaged: set[int] = set()
        self._saving: int | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.wait()
        except OSError:
            if kind is None:  # else the first error is the one to show
                raise
        finally:
            self._checkpointer.close()

    def latest(self) -> int | None:
        """The newest step with a checkpoint that is not known to be damaged, or None; waits for the save under way."""
        self.wait()
        return max(self._steps(), default=None)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / str(step)

    def save(self, step: int, state: Any, notes: Mapping[str, Any] | None = None) -> None:
        """Start saving; returns once the state is copied, so that its buffers may be donated.

        A step that has a checkpoint already is not saved again.

        Damaged checkpoints that `restore` passed over are put aside first: renamed, with "damaged-" before the step.

        Args:
          step: the state's step, which names the checkpoint.
          state: a tree of arrays.
          notes: what else belongs to this step, as JSON holds it; `notes` gives it back.

        Raises:
          OSError: this save or the one before cannot be written; checkpoints before them are as they were.
        """
        self.wait()
        self._put_aside()
        if step in self._all_steps():
            return
        packs = packing.fits(state)
        recorded = checksums.describe(state, {**(notes or {}), "packed": packs})
        item = (
            {"packed": ocp.args.PyTreeSave(packing.pack(state))} if packs else {"state": ocp.args.StandardSave(state)}
        )
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._saving = step
            args = ocp.args.Composite(leaves=ocp.args.JsonSave(recorded), **item)
            self._checkpointer.save(self.path(step), args=args)

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The state saved at `step`, by default the newest that is undamaged, on the devices that JAX uses now.

        A damaged one is named in a warning (`Damaged`) before the one before it is tried.

        Args:
          like: a state, or its `jax.eval_shape`: structure, shapes and dtypes that the saved one must have. Leaves with
            a sharding are restored to it, others to the first device; the devices need not be those that saved.
          step: which checkpoint; then no other is tried.

        Raises:
          FileNotFoundError: there is no such checkpoint.
          ValueError: the saved state has another structure, other shapes or dtypes; or every checkpoint is damaged.
        """
        self.wait()
        steps = self._all_steps()
        if step not in steps if step is not None else not steps:
            which = "" if step is None else f"of step {step} "
            raise FileNotFoundError(f"no complete checkpoint {which}in {self.folder}")
        for candidate in sorted(steps, reverse=True) if step is None else [step]:
            state, problem = None, ""
            try:
                state = self._restore(candidate, like)
            except _NotAsSaved as error:
                problem = str(error)
            if _on_every_host(not problem):
                return state
            self._damaged.add(candidate)
            problem = problem or "another host cannot read it"
            warnings.warn(
                f"the checkpoint {self.path(candidate)} is damaged and is not used: {problem}", Damaged, stacklevel=2
            )
        named = ", ".join(str(self.path(s)) for s in sorted(steps if step is None else [step]))
        raise ValueError(
            f"every checkpoint is damaged: {named}. Put a copy in place; or, to train from the start, move them away"
        )

    def notes(self, step: int) -> dict[str, Any]:
        """The notes that were saved with `step`; none where its checkpoint is not there, or damaged."""
        self.wait()
        if step not in self._steps() or not (self.path(step) / "leaves").is_dir():
            return {}
        try:
            return dict(self._recorded(step)["notes"])
        except _NotAsSaved:
            return {}

    def described(self, step: int) -> Mapping[str, Any]:
        """What `checksums.describe` said of the state of a step when it was saved: no array is read.

        Raises:
          ValueError: the checkpoint is damaged.
        """
        self.wait()
        try:
            return self._recorded(step)
        except _NotAsSaved as error:
            raise ValueError(f"the checkpoint {self.path(step)} is damaged: {error}") from None

    def leaves(self, step: int, within: Collection[str]) -> dict[str, jax.Array]:
        """Leaves of the state of a step by name, on one device, whatever else the state holds.

        Args:
          step: which checkpoint.
          within: the state's fields whose leaves are wanted, such as "params".

        Raises:
          ValueError: the checkpoint is damaged.
        """
        recorded = self.described(step)
        wanted = {name for name in recorded["leaves"] if name.split("/")[0] in within}
        with reading():
            try:
                read = self._read_packed if recorded["notes"]["packed"] else self._read_some
                found = {name: leaf for name, leaf in read(step, recorded, within).items() if name in wanted}
            except (MemoryError, PermissionError):
                raise
            except Exception as error:
                problem = f"it cannot be read ({first_line(error)})"
                raise ValueError(f"the checkpoint {self.path(step)} is damaged: {problem}") from None
        wrong = next(iter(wanted - set(found)), None) or checksums.changed(recorded, found)
        if wrong:
            raise ValueError(f"the checkpoint {self.path(step)} is damaged: {wrong} has other values than were saved")
        return found

    def _read_packed(self, step: int, recorded: Mapping[str, Any], _: Collection[str]) -> dict[str, jax.Array]:
        """All leaves, which lie in their order in one array for each dtype."""
        like = [jax.ShapeDtypeStruct(leaf["shape"], _dtype(leaf["dtype"])) for leaf in recorded["leaves"].values()]
        return dict(zip(recorded["leaves"], self._restore_packed(step, packing.placed(like)), strict=True))

    def _read_some(self, step: int, _: Mapping[str, Any], within: Collection[str]) -> dict[str, jax.Array]:
        """Some fields' leaves, of a state that was saved leaf by leaf."""
        with ocp.PyTreeCheckpointer() as checkpointer:
            folder = self.path(step) / "state"
            metadata = checkpointer.metadata(folder)
            tree = getattr(metadata, "item_metadata", metadata)
            some = {name: inner for name, inner in getattr(tree, "tree", tree).items() if name in within}
            like = packing.placed(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), some))
            types = ocp.checkpoint_utils.construct_restore_args(like)
            asked = ocp.args.PyTreeRestore(item=like, restore_args=types, partial_restore=True)
            return checksums.named_leaves(checkpointer.restore(folder, args=asked))

    def _restore_packed(self, step: int, wanted: Any) -> Any:
        """A packed state, whose leaves are put where `wanted`, of `packing.placed`, says."""
        saved = packing.shapes(wanted)
        types = ocp.checkpoint_utils.construct_restore_args(saved, jax.tree.map(lambda leaf: leaf.sharding, saved))
        args = ocp.args.Composite(packed=ocp.args.PyTreeRestore(saved, restore_args=types))
        return packing.unpack(self._checkpointer.restore(self.path(step), args=args)["packed"], wanted)

    def remove_after(self, step: int) -> None:
        """Remove the checkpoints of later steps."""
        self.wait()
        self._remove(found for found in self._all_steps() if found > step)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("later checkpoints are removed")

    def wait(self) -> None:
        """Wait until the save under way is complete on disk.

        Raises:
          OSError: it cannot be written.
        """
        with self._writing():
            self._checkpointer.wait_until_finished()
        if self._saving is not None:
            self._saving = None
            self.remove_old()

    def _all_steps(self) -> list[int]:
        """The steps of all complete checkpoints: Orbax gives a folder its name once all of it is written."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def _steps(self) -> list[int]:
        """The steps of the checkpoints that are not known to be damaged."""
        return [step for step in self._all_steps() if step not in self._damaged]

    def remove_old(self) -> None:
        """Remove all but the newest and those that are protected."""
        self._remove(set(self._steps()[: -self._keep]) - self.protected)

    def _remove(self, steps: Iterable[int]) -> None:
        """Remove these. Each is renamed first, so that a removal cut short leaves no checkpoint."""
        if jax.process_index() == 0:
            for step in list(steps):
                unwanted = self.folder / f"{step}{_REMOVED}"
                self.path(step).rename(unwanted)
                shutil.rmtree(unwanted, ignore_errors=True)

    def _restore(self, step: int, like: Any) -> Any:
        """The state of one checkpoint; raises `_NotAsSaved` for a damaged one, ValueError for another model's."""
        unverified = not (self.path(step) / "leaves").is_dir() and (self.path(step) / "default").is_dir()
        if unverified:  # as gen_models 0.1.0 of before 2026-11-23 saved it
            recorded: Mapping[str, Any] = _described_by_orbax(self.path(step) / "default")
        else:
            recorded = self._recorded(step)
        checksums.same_form(recorded, like, self.path(step))
        wanted = packing.placed(like)
        if unverified:
            said = f"the checkpoint {self.path(step)} was saved without checksums: it cannot be verified"
            warnings.warn(said, Unverified, stacklevel=4)
            with ocp.StandardCheckpointer() as checkpointer:
                return checkpointer.restore(self.path(step) / "default", wanted)
        packs = recorded["notes"]["packed"]
        with reading():
            try:
                if packs:
                    state = self._restore_packed(step, wanted)
                else:
                    args = ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
                    state = self._checkpointer.restore(self.path(step), args=args)["state"]
            except (MemoryError, PermissionError):
                raise
            except Exception as error:
                raise _NotAsSaved(f"it cannot be read ({first_line(error)})") from None
        if wrong := checksums.changed(recorded, state):
            raise _NotAsSaved(f"{wrong} has other values than were saved")
        return state

    def _recorded(self, step: int) -> Mapping[str, Any]:
        """What `checksums.describe` said of the state when it was saved."""
        with reading():
            try:
                args = ocp.args.Composite(leaves=ocp.args.JsonRestore())
                recorded = self._checkpointer.restore(self.path(step), args=args)["leaves"]
            except PermissionError:
                raise
            except Exception as error:
                raise _NotAsSaved(f"the list of its leaves cannot be read ({first_line(error)})") from None
        if not checksums.intact(recorded):
            raise _NotAsSaved("the list of its leaves is not as it was saved")
        return recorded

    def _put_aside(self) -> None:
        """Rename the damaged checkpoints that `restore` passed over."""
        if not self._damaged:
            return
        if jax.process_index() == 0:
            for step in self._damaged:
                target, number = self.folder / f"damaged-{step}", 1
                while target.exists():
                    number += 1
                    target = self.folder / f"damaged-{step}-{number}"
                self.path(step).rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are put aside")
        self._damaged = set()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make whatever Orbax and TensorStore raise when they cannot write an OSError that says what is safe."""
        try:
            yield
        except Exception as error:
            safe = max(self._steps(), default=None)
            kept = "there is no checkpoint before it" if safe is None else f"{self.path(safe)} is complete"
            raise OSError(f"cannot save a checkpoint in {self.folder}: {first_line(error)}; {kept}") from error


class _NotAsSaved(Exception):
    """Why a checkpoint is damaged."""


def _on_every_host(good: bool) -> bool:
    """Whether all hosts say so: they must use the same checkpoint."""
    return good if jax.process_count() == 1 else bool(np.all(multihost_utils.process_allgather(np.array(good))))


def _described_by_orbax(folder: Path) -> dict[str, Any]:
    """Shapes and dtypes of a checkpoint that holds no list of its leaves."""
    with ocp.StandardCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(folder)
    tree = getattr(metadata, "item_metadata", metadata)
    leaves = checksums.named_leaves(getattr(tree, "tree", tree))
    return {"leaves": {name: {"shape": list(x.shape), "dtype": str(x.dtype)} for name, x in leaves.items()}}


def _dtype(name: str) -> Any:
    """The dtype of this name; of random keys too, such as "key<fry>"."""
    keys = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
    return jax.random.key(0, impl=keys[name]).dtype if name in keys else jnp.dtype(name)


def remove_unfinished(folder: Path) -> None:
    """Remove what saves and removals that were killed have left; only while nobody else can be saving there."""
    for pattern in ("*.orbax-checkpoint-tmp*", f"*{_REMOVED}"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
