"""What may be wrong with a table: equal rows, constant columns, outliers, what is missing, and labels in doubt.

python -m tools.table_report penguins
python -m tools.table_report 'table:FILE.csv?target=COLUMN' --out report.json

Rows are those for training, counted from 0 in the order in which they are read. Labels in doubt are found by confident
learning from cross-validated predictions (`gen_models/data/table_cleaning.py`, extra `tables`); `--no-labels` leaves
them out. Look at them before you change any: a rare example is not a wrong one.
"""

import argparse
import json
from pathlib import Path

from gen_models.files import write_text
from gen_models.run import cli


def main() -> None:
    """Parse, read, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="table:PATH with options, or penguins")
    parser.add_argument("--no-labels", action="store_true", help="do not look for labels in doubt")
    parser.add_argument("--out", type=Path, help="write all findings there too, as JSON")
    arguments = parser.parse_args()
    if arguments.out is not None and not arguments.out.absolute().parent.is_dir():
        raise ValueError(f"--out: the folder {arguments.out.parent} does not exist")

    from gen_models.data.splits import load_splits
    from gen_models.data.table_cleaning import table_report

    splits = load_splits(arguments.dataset, kinds=("tables",), examples="rows")
    report = table_report(splits, labels=not arguments.no_labels)
    for line in report.lines():
        print(line)
    if arguments.out is not None:
        found = {**report._asdict(), "doubts": [doubt._asdict() for doubt in report.doubts]}
        write_text(arguments.out, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    cli.guard(main)
