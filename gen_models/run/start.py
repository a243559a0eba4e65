"""What a run starts from: a fresh state, and on request the weights of another run, of any experiment and variant.

They are read from that run's checkpoint alone: neither its data nor its code need be there. What was taken is kept in
`init_from.json`, and the state from which training starts in the checkpoint of step 0, so that a run that goes on needs
its source no more.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from gen_models.core import TrainState
from gen_models.run import console
from gen_models.run.directory import Request, Run, read_json, write_json
from gen_models.run.job import Job, optimizer_of
from gen_models.run.restore import folder_of_states, initial_or_saved
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.checksums import named_leaves

LISTED = 6  # names in a line


class Source(NamedTuple):
    """A checkpoint to start from, compared with the state that it is for. Shapes stand by the names of leaves."""

    states: Path  # the folder of checkpoints
    step: int
    digest: str  # of all that was recorded when it was saved
    averaged: bool  # whether the moving average of the parameters is taken, as it is what that run is measured with
    matched: dict[str, list[int]]
    other_shape: dict[str, list[list[int]]]  # here, there
    only_here: dict[str, list[int]]
    only_there: dict[str, list[int]]

    def lines(self) -> list[str]:
        """What is taken, and what is not."""
        what = "averaged parameters" if self.averaged else "parameters"
        count = len(self.matched) + len(self.other_shape) + len(self.only_here)
        first = (
            f"starts from {self.states / str(self.step)}, {what}: {len(self.matched)} of this model's {count} arrays"
        )
        lines = [f"{first} are taken: {_listed(f'{name} {shape}' for name, shape in self.matched.items())}"]
        rest = [f"{name} is {here} here and {there} there" for name, (here, there) in self.other_shape.items()]
        parts = [_listed(rest)] if rest else []
        for where, names in (("only here", self.only_here), ("only there", self.only_there)):
            if names:
                parts.append(f"{where}: {_listed(f'{name} {shape}' for name, shape in names.items())}")
        return lines + ([f"not taken: {'; '.join(parts)}"] if parts else [])


def source(folder: str | Path, like: TrainState) -> Source:
    """The newest undamaged checkpoint of a run, or the one that it is measured at, compared with a state's shapes.

    Args:
      folder: a run's directory, or a folder of checkpoints (RUN/best), or one of these (RUN/checkpoints/400).
      like: the state that is to start from it, or its shapes.

    Raises:
      ValueError: there is no checkpoint, all are damaged, or none of its arrays has the name and shape of one of ours.
    """
    states, wanted = _located(Path(folder).expanduser())
    with Checkpoints(states) as checkpoints:
        steps = sorted((int(path.name) for path in states.glob("*") if path.name.isdigit()), reverse=True)
        for step in steps if wanted is None else [wanted]:
            try:
                recorded = checkpoints.described(step)
            except ValueError as error:
                console.say(f"warning: {error}")
                continue
            found = _compared(states, step, recorded, like)
            if not found.matched:
                raise ValueError(f"--init-from {folder}: no array of it fits this model. {found.lines()[-1]}")
            return found
    raise ValueError(
        f"--init-from {folder}: it has no checkpoint that can be read: train that run first, or name another"
        if steps
        else f"--init-from {folder}: it has no checkpoint: train that run first, or name another"
    )


def init_from(state: TrainState, folder: str | Path | Source, tx: Any = None) -> TrainState:
    """A fresh state with the weights of another run, where names and shapes agree; says which in a line or two.

    Taken are parameters, their moving average in their place where that run keeps one, and statistics such as batch
    norm's. The average of this state starts as a copy of its parameters; its optimizer starts afresh.

    Args:
      state: the fresh state; each leaf stays on its devices.
      folder: as for `source`, or what that gave.
      tx: the state's optimizer, or one for each player; None: one that keeps no copy of the parameters.

    Raises:
      ValueError: as for `source`; or the checkpoint is damaged.
    """
    found = folder if isinstance(folder, Source) else source(folder, state)
    within = ("ema" if found.averaged else "params", "stats")
    with Checkpoints(found.states) as checkpoints:
        leaves = checkpoints.leaves(found.step, within)
    taken = {_ours(name): leaf for name, leaf in leaves.items() if _ours(name) in found.matched}

    def one(name: str, leaf: jax.Array) -> jax.Array:
        return jax.device_put(jnp.asarray(taken[name], leaf.dtype), leaf.sharding) if name in taken else leaf

    def filled(field: str, tree: Any) -> Any:
        named = named_leaves({field: tree})
        return jax.tree.unflatten(jax.tree.structure(tree), [one(name, leaf) for name, leaf in named.items()])

    params, stats = filled("params", state.params), filled("stats", state.stats)
    ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
    for line in found.lines():
        console.say(line)
    return state._replace(params=params, stats=stats, ema=ema, opt_state=_fresh(state, params, tx))


def source_of(job: Job, asked: Request) -> Source | None:
    """What a run that begins is to start from; None where nothing is asked for, or the run has begun.

    Raises:
      ValueError: as `source`; or the run is to start from itself.
    """
    folder = asked.config.init_from
    if not folder or any(path.name.isdigit() for path in Run(asked.folder).checkpoints.glob("*")):
        return None
    if os.path.realpath(folder) == os.path.realpath(asked.folder):
        raise ValueError(
            f"--init-from {folder} is the run itself: leave it out to go on with it, or choose another --run-dir"
        )
    return source(folder, job.shapes())


def starting_state(
    job: Job,
    asked: Request,
    checkpoints: Checkpoints,
    start: Source | None,
    mesh: Mesh | None = None,
    shard_parameters: bool = False,
) -> TrainState:
    """The state of the newest checkpoint, or else a fresh one, which is saved where it starts from another run's.

    Raises:
      ValueError: as `initial_or_saved` and `init_from`.
      OSError: it cannot be written.
    """
    state = initial_or_saved(job, asked.config.seed, checkpoints, mesh, shard_parameters)
    if start is None or checkpoints.latest() is not None:
        return state
    state = init_from(state, start, optimizer_of(job.experiment, asked.config))
    if jax.process_index() == 0:
        write_json(asked.folder / "init_from.json", start._asdict() | {"states": str(start.states)})
    checkpoints.save(0, state)
    return state


def _located(folder: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints that a path names, and the step where it names one."""
    if (folder / "config.json").exists():
        run = Run(folder)
        fields = read_json(folder / "config.json").get("config", {})
        return folder_of_states(run, None, fields.get("early_stopping", 0) > 0).absolute(), None
    if folder.name.isdigit() and (folder / "leaves").is_dir():
        return folder.parent.absolute(), int(folder.name)
    if any(path.name.isdigit() and (path / "leaves").is_dir() for path in folder.glob("*")):
        return folder.absolute(), None
    raise ValueError(
        f"--init-from {folder} holds neither a run nor checkpoints: give a run's directory, such as runs/vae/base/0 "
        "(init_from= in the library)"
    )


def _compared(states: Path, step: int, recorded: Mapping[str, Any], like: TrainState) -> Source:
    """Which of a checkpoint's arrays have the name and shape of ours."""
    averaged = any(name.startswith("ema/") for name in recorded["leaves"])
    fields = ("ema" if averaged else "params", "stats")
    there = {_ours(n): leaf["shape"] for n, leaf in recorded["leaves"].items() if n.split("/")[0] in fields}
    here = {n: list(leaf.shape) for n, leaf in named_leaves({"params": like.params, "stats": like.stats}).items()}
    both = {name for name in here if name in there}
    return Source(
        states,
        step,
        recorded["digest"],
        averaged,
        {name: shape for name, shape in here.items() if name in both and shape == there[name]},
        {name: [here[name], there[name]] for name in here if name in both and here[name] != there[name]},
        {name: shape for name, shape in here.items() if name not in both},
        {name: shape for name, shape in there.items() if name not in both},
    )


def _ours(name: str) -> str:
    """The name under which a leaf is taken: an average is taken as the parameter."""
    return f"params/{name.removeprefix('ema/')}" if name.startswith("ema/") else name


def _fresh(state: TrainState, params: Any, tx: Any) -> Any:
    """The optimizers' fresh states for these parameters, where those of `state` lie."""
    if tx is None:
        return state.opt_state

    def initial(params: Any) -> Any:
        players = state.opt_state
        if not isinstance(tx, Mapping):
            return {name: tx.init(params) for name in players}
        return {name: tx[name].init(params[name]) for name in players}

    return jax.jit(initial, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state.opt_state))(params)


def _listed(words: Iterable[str]) -> str:
    """The first words, and how many more there are."""
    listed = list(words)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more
