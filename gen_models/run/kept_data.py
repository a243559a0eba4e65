"""What a run keeps of its data (`data.json`), and what becomes of it where they are others when it goes on. No JAX.

It is an object of three entries: "report", what was read, as `gen_models.data.report` says it; "batch", shapes and
dtypes of a training batch by field; and, where the data have changed, "changed", for each time the step after which
the run went on and what had changed, in phrases.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Kept = Mapping[str, Any]


def to_keep(folder: Path, before: Kept | None, now: Kept, *, step: int, places: str, accepted: bool) -> Kept:
    """What a run that goes on keeps of its data.

    Args:
      folder: the run's.
      before: what it has kept, if anything.
      now: what `Job.described` says of the data that it goes on with.
      step: the step from which it goes on; at 0 nothing was trained on the data of before.
      places: where the data lay and lie, in words, if they have moved; else "".
      accepted: whether the run goes on with other data too.

    Raises:
      ValueError: the data are others now, and that is not accepted; or they have moved and cannot be compared.
    """
    if before is None:
        if places:
            raise ValueError(
                f"{folder} holds a run with another config: {places}, and it does not know its data to compare them. "
                "Choose another --run-dir, or repeat the old fields"
            )
        return now
    others = importlib.import_module("gen_models.data.report").changes(before["report"], now["report"])
    changed = list(before.get("changed", ()))
    if others and places:
        raise ValueError(
            f"{folder} holds a run with another config: {places}, and other data lie there: {'; '.join(others)}. "
            "Choose another --run-dir, or repeat the old fields"
        )
    if others and step and not accepted:
        raise ValueError(
            f"the data of the run in {folder} are no longer those that it was trained on: {'; '.join(others)}. Put "
            "them back, or choose another --run-dir; or let it go on, which its result will say, by --changed-data "
            "(changed_data=True in the library)"
        )
    if others and step:
        changed.append({"step": step, "changes": others})
    return {**now, **({"changed": changed} if changed else {})}


def remarks(kept: Kept | None) -> list[str]:
    """Lines for whoever reads the run's result: where its data changed."""
    return [
        f"the data changed after step {one['step']:,}: {'; '.join(one['changes'])}"
        for one in (kept or {}).get("changed", ())
    ]
