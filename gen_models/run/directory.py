"""A run's directory: what was asked for, where it ran, what it measured and what came out.

    config.json        the experiment's module, the variant and every field
    data.json          what was read, and what a batch is, so that the model can be restored without the data
    environment.json   versions, devices, commit and command, one entry each time the run was started
    metrics.jsonl      one JSON object a line: step, seconds of training, and metrics
    samples/           pictures taken during training and at the end
    curves.png         metrics against steps
    checkpoints/       Orbax
    best/              the checkpoint that was best in evaluations, where it is asked for
    batch_stats.npz    batch norm's statistics for averaged parameters, once the run has finished (kept_stats.py)
    result.json        the figures, once the run has finished
    result_at_40.json  those that it had before it was trained for longer; the pictures of then are in samples/at_40/
    stopped.json       why it has not: it diverged, say
    .lock              held by the process that trains

JSON files are written whole or not at all: to a temporary file, then renamed. `metrics.jsonl` grows by lines; one that
a kill cut short is left out when it is read.
"""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gen_models.run import paths
from gen_models.run.asked_again import LENGTHS as LENGTHS
from gen_models.run.asked_again import data_to_keep, refuse_another_run
from gen_models.run.asked_again import finished_as_asked as finished_as_asked
from gen_models.run.asked_again import moved as moved
from gen_models.run.asked_again import refuse_other_data as refuse_other_data
from gen_models.run.asked_again import steps_before as steps_before
from gen_models.run.endings import warn
from gen_models.run.fields import to_json
from gen_models.run.record import FORM as FORM
from gen_models.run.record import Request as Request
from gen_models.run.record import Run as Run
from gen_models.run.record import as_json as as_json
from gen_models.run.record import existing_run as existing_run
from gen_models.run.record import read_json as read_json
from gen_models.run.record import refuse_earlier_form as refuse_earlier_form
from gen_models.run.record import write_json as write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class InUse(ValueError):
    """Another process holds the run directory."""


def check_run(request: Request) -> Run | None:
    """The run in the request's folder, or None where the directory is new; nothing is written.

    A run whose data have `moved` passes: whether they are the same data is known once they are read (`open_run`).

    Raises:
      ValueError: the directory belongs to another experiment or config (the fields that differ are named), or is of
        another form, or holds something that is not a run.
    """
    folder = request.folder
    if (folder / "config.json").exists():
        refuse_another_run(request, Run(folder).config())
        return Run(folder)
    if folder.exists() and (not folder.is_dir() or not all(map(_is_beginning, folder.iterdir()))):
        raise ValueError(f"{folder} is not empty and holds no run: choose another --run-dir")
    return None


@contextmanager
def open_run(request: Request, data: Mapping[str, Any] | None = None) -> Iterator[Run]:
    """Make the run's directory, or continue in the one that is there, and hold it.

    Args:
      request: the run.
      data: what `Job.described` says of its data; None: they are neither kept nor compared.

    Raises:
      InUse: another process holds the directory.
      ValueError: as `check_run`; or something in it is a link, through which a run would write elsewhere; or the data
        are others than the run's (`kept_data.to_keep`).
      OSError: it cannot be written.
    """
    folder = request.folder
    check_run(request)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(folder)
        held = _hold(folder)
        try:
            # It may have been made since. Fields that may change, as the folder of the data, are kept as they are now.
            run = check_run(request)
            kept = None if data is None else data_to_keep(request, data)  # first: it may be another run's
            before = None if run is None else steps_before(request)
            if run is not None and before is not None:
                run.put_result_aside()  # first: a result beside the new config.json would count as the new one's
            if run is None or read_json(folder / "config.json") != _asked(request):
                write_json(folder / "config.json", _asked(request))
            if kept is not None and kept != Run(folder).data():
                write_json(folder / "data.json", kept)
            (folder / "samples").mkdir(exist_ok=True)
            for left in folder.glob(".*"):  # by a process that was killed while it wrote
                if _TEMPORARY.fullmatch(left.name):
                    left.unlink()
        except BaseException:
            held.close()
            raise
    except OSError as error:
        raise OSError(
            f"cannot write the run directory {folder} ({error.strerror}): choose another --run-dir"
        ) from error
    with held:
        yield Run(folder, before)


_TEMPORARY = re.compile(
    r"\.(batch_stats\.npz|config\.json|data\.json|environment\.json|metrics\.jsonl|result\.json|stopped\.json)\.\d+"
)


def _is_beginning(path: Path) -> bool:
    """Whether this is what a process leaves that was killed before it wrote config.json."""
    return path.name == ".lock" or bool(_TEMPORARY.fullmatch(path.name))


def _refuse_links(folder: Path) -> None:
    """Refuse a directory that holds a link, through which a run would write elsewhere."""
    for path in folder.rglob("*"):
        # Weights & Biases links to its own logs; nothing else of a run is written there.
        if path.is_symlink() and "wandb" not in path.relative_to(folder).parts[:-1]:
            raise ValueError(
                f"{path} is a symbolic link, and a run writes in its own directory alone: remove it, or give the "
                "folder that you want as --run-dir"
            )


def _hold(folder: Path) -> IO[str]:
    """An open file whose lock ends when it is closed, or with the process, however that ends.

    Where the file system has no locks (ENOSYS of Lustre, ENOLCK of NFS) the user is warned: only a held lock refuses.
    """
    file = (folder / ".lock").open("a+")
    if fcntl is None:  # Windows: two processes are not kept apart
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InUse(f"{folder} is in use by {holder}: wait for it, or choose another --run-dir") from None
    except OSError as error:
        warn(
            f"the file system of {folder} has no locks ({error.strerror}): nothing keeps a second process from "
            "training there, so start only one"
        )
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


def _asked(request: Request) -> dict[str, Any]:
    """The content of `config.json`."""
    experiment = request.experiment
    named = {"form": FORM, "experiment": experiment.name, "variant": request.variant}
    if "." not in experiment.name:  # of somebody's own project: `find` takes its file
        named["file"] = str(Path(experiment.file).resolve())
    return named | {"config": to_json(paths.with_absolute_paths(request.config))}
