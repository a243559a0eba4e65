"""Data that are not there: their shape is known, and no example of them."""

from typing import Any, NoReturn


class DataAbsent(ValueError):
    """An example was wanted of data that cannot be read now; the message names them, the reason and the remedy."""


class AbsentSource:
    """What stands for the examples of data that are not there: their number is known, and reading one raises."""

    def __init__(self, name: str, total: int, why: Exception):
        self.name, self.total, self.why = name, total, why

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> Any:
        self.refuse()

    def __getitems__(self, indices: Any) -> Any:
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise the error.

        Raises:
          DataAbsent: always.
        """
        raise DataAbsent(
            f"this needs examples of {self.name!r}, which cannot be read ({self.why}): put the data back there, "
            "or give their new place, by --dataset or --data-dir (dataset= or data_dir= of load_run in the library)"
        ) from self.why
