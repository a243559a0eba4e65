"""Tables as columns of words: CSV files, and Parquet files by PyArrow (extra `tables`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.data.csvs import is_number, read_rows
from gen_models.data.listing import SPLIT_FOLDERS

ENDINGS = (".csv", ".parquet")


class Table(NamedTuple):
    """A table as it was read."""

    words: dict[str, list[str]]  # column -> its cells, in the order of the rows; "" is missing
    passed_over: list[str]  # columns that were, in phrases
    texts: frozenset[str]  # columns that the file itself says are texts, whatever stands in them


def files_of(path: Path) -> dict[str, Path]:
    """Split -> file; "train" alone where the path is a file."""
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise ValueError(f"table:{path}: there is no such file or folder")
    found: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        for file in (path / f"{name}{ending}" for ending in ENDINGS for name in names):
            if file.is_file():
                found[split] = file
    if not {"train", "test"} <= set(found):
        raise ValueError(f"table:{path} lacks train.csv or test.csv: add them, or give one file")
    return found


def read_table(path: Path) -> Table:
    """A CSV file, or a Parquet file where the name ends so.

    Raises:
      ValueError: there are no rows, names are missing or come twice, or the file is no table.
      ImportError: PyArrow is missing, and the file is Parquet.
    """
    return _parquet(path) if path.suffix == ".parquet" else _csv(path)


def _csv(path: Path) -> Table:
    rows = read_rows(path)
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below the names of its columns: get it again")
    names = [name.strip() for name in rows[0][1]]
    names[0] = names[0].lstrip("# ")  # as np.savetxt marks its header
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: {len(row)} values for {len(names)} columns")
    _check_names(names, path)
    columns = [list(column) for column in zip(*(row for _, row in rows[1:]), strict=True)]
    table, passed_over = {}, []
    for index, (name, words) in enumerate(zip(names, columns, strict=True)):
        if name:
            table[name] = words
        elif not any(words):
            passed_over.append(f"column {index + 1}, which has no name and is empty")
        elif words in (_count(0, len(words)), _count(1, len(words))):
            passed_over.append(f"column {index + 1}, which has no name and counts rows")
        else:
            raise ValueError(f"{path}: column {index + 1} has no name: give it one")
    return Table(table, passed_over, frozenset())


def _check_names(names: Sequence[str], path: Path) -> None:
    """Refuse names that are no names, as those of a file whose first line is a row."""
    own = [name for name in names if name]
    if len(set(own)) < len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise ValueError(
            f"{path}: two columns are called {twice!r}: each column needs a name of its own in the first line"
        )
    numbers = [name for name in own if is_number(name)]
    if numbers and not _counts_up(numbers):  # columns may be called 1, 2, 3, but a row of values seldom looks so
        raise ValueError(
            f"{path}: the first line must name the columns, and {numbers[0]!r} is a number: "
            "put a line of names before it"
        )


def _counts_up(words: Sequence[str]) -> bool:
    """Whether the words are whole numbers, each one more than the one before."""
    if not all(word.isdecimal() for word in words):
        return False
    first = int(words[0])
    return [int(word) for word in words] == list(range(first, first + len(words)))


def _count(start: int, total: int) -> list[str]:
    """The words of an index of rows."""
    return [str(number) for number in range(start, start + total)]


def _parquet(path: Path) -> Table:
    """Columns of a Parquet file as words; nested ones are refused."""
    try:
        import pyarrow
        import pyarrow.parquet
        import pyarrow.types as kinds
    except ImportError:
        raise ImportError("Parquet files need PyArrow: pip install 'gen_models[tables]'") from None
    try:
        read = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no Parquet file that can be read ({reason}): get it again") from None
    if not read.num_rows:
        raise ValueError(f"{path} has no rows: get it again")
    _check_names(read.column_names, path)
    table, texts = {}, set()
    for name, column in zip(read.column_names, read.columns, strict=True):
        kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
        if kinds.is_nested(kind) or kinds.is_binary(kind) or kinds.is_large_binary(kind):
            raise ValueError(
                f"{path}: column {name!r} is {column.type}, and a table has numbers and words: leave it out"
            )
        if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)):
            texts.add(name)
        table[name] = [_word(value) for value in column.to_pylist()]
    return Table(table, [], frozenset(texts))


def _word(value: Any) -> str:
    """A cell as a CSV file would have it; texts without the spaces around them, and numbers with all their digits."""
    return "" if value is None else value.strip() if isinstance(value, str) else str(value)
