"""Predict raw inputs with a trained run: rows of a table, images or sentences; classes with probabilities, or numbers.

python -m tools.predict RUN --input rows.csv                       # or .parquet, with the columns of the run's table
python -m tools.predict RUN --input images --out classes.csv       # a folder of images, one image, or .npz with x
python -m tools.predict RUN --input sentences.txt --out p.npz      # a sentence on each line

Inputs are prepared as the run's own data were: scales, missing values and words are those of its rows for training. The
output has a row for each input, in order. A word that no row for training has is told and counts as missing; a column
that lacks, or a value of a wrong kind, is refused with its row and column.
"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_models.files import write_bytes
from gen_models.run import cli, endings, tool

if TYPE_CHECKING:
    from gen_models.data.raw_inputs import Inputs
    from gen_models.run.predicting import Predictions, Predictor
    from gen_models.run.restore import Loaded

OUTPUTS = (".csv", ".parquet", ".npz")
MOST_NOTES = 5


def main() -> None:
    """Parse, restore, read, predict, write."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, metavar="PATH", help="what is to be predicted; see above")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .csv, .parquet or .npz file (default: INPUT's name "
                        "with _predicted.csv, here)")  # fmt: skip
    arguments = parser.parse_args()
    out = arguments.out or Path(f"{arguments.input.stem}_predicted.csv")
    if out.suffix not in OUTPUTS:
        raise ValueError(f"--out {out}: predictions are written as {', '.join(OUTPUTS)}")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out: the folder {out.parent} does not exist")

    from gen_models.data.raw_inputs import from_file

    predictor = loaded_predictor(tool.loaded(arguments, with_data=False), arguments)
    inputs = from_file(arguments.input, predictor.form)
    for note in inputs.notes[:MOST_NOTES]:
        endings.warn(note)
    if len(inputs.notes) > MOST_NOTES:
        endings.warn(f"and {len(inputs.notes) - MOST_NOTES} more such words")
    predictions = predictor(inputs)
    write(out, inputs, predictions, predictor.target)
    print(f"{out}: {len(inputs):,} predictions of {predictor.target!r}")


def loaded_predictor(found: "Loaded", arguments: Any) -> "Predictor":
    """The predictor of a run that was restored without its data; these are read where they alone say how to prepare."""
    from gen_models.data.absent import DataAbsent
    from gen_models.run.predicting import predictor_of

    try:
        return predictor_of(found)
    except DataAbsent:
        return predictor_of(tool.loaded(arguments))


def write(out: Path, inputs: "Inputs", predictions: "Predictions", target: str) -> None:
    """Write predictions whole or not at all.

    Raises:
      ImportError: the file is Parquet, and PyArrow is missing.
    """
    table = columns(inputs, predictions, target)
    content = io.BytesIO()
    if out.suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        content.write(text.getvalue().encode())
    elif out.suffix == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ImportError("Parquet files need PyArrow: pip install 'gen_models[tables]'") from None
        pyarrow.parquet.write_table(pyarrow.table(table), content)
    else:
        import numpy as np

        arrays: dict[str, Any] = {"prediction": predictions.values}
        if predictions.probabilities is not None:
            arrays |= {"probabilities": predictions.probabilities, "classes": np.array(predictions.classes)}
        if inputs.names:
            arrays["files"] = np.array(inputs.names)
        np.savez(content, **arrays)
    write_bytes(out, content.getvalue())


def columns(inputs: "Inputs", predictions: "Predictions", target: str) -> dict[str, list[Any]]:
    """Column -> its cells: the file or the number of each input, its prediction, and probabilities of classes."""
    table: dict[str, list[Any]] = {"file": list(inputs.names)} if inputs.names else {}
    if not inputs.names:
        table["row"] = list(range(1, len(inputs) + 1))
    if predictions.classes is not None and predictions.probabilities is not None:
        table[target] = predictions.named()
        for name, share in zip(predictions.classes, predictions.probabilities.T, strict=True):
            table[f"p({name})"] = _short(share)
    elif predictions.values.ndim == 1:
        table[target] = _short(predictions.values)
    else:
        for index, values in enumerate(predictions.values.T):
            table[f"{target}[{index}]"] = _short(values)
    return table


def _short(values: Any) -> list[float]:
    """float32 [N] as numbers that are written with no more digits than they have."""
    return [float(str(value)) for value in values]


if __name__ == "__main__":
    cli.guard(main)
