"""Tables, points and texts as programs write them: what is read, as what, and what is refused."""

import gzip

import numpy as np
import pytest

from gen_models.data import load, load_splits
from gen_models.data.report import report_of, told

ROWS = [(i * 1.5, i % 7, "ab"[i % 2]) for i in range(30)]


def csv_of(separator=",", head="a,b,c", form=str):
    lines = [head.replace(",", separator), *(separator.join(form(value) for value in row) for row in ROWS)]
    return "\n".join(lines) + "\n"


def comma(value):
    return str(value).replace(".", ",")


CSV = {
    "plain": csv_of().encode(),
    "semicolons": csv_of(";").encode(),
    "tabs": csv_of("\t").encode(),
    "bars": csv_of("|").encode(),
    "decimal commas": csv_of(";", form=comma).encode(),
    "quoted decimal commas": csv_of(";", form=lambda value: f'"{comma(value)}"').encode(),
    "quotes": csv_of(form=lambda value: f'"{value}"').encode(),
    "spaces": csv_of(", ").encode(),
    "marked": csv_of().encode("utf-8-sig"),
    "utf-16": csv_of().encode("utf-16"),
    "carriage returns": csv_of().replace("\n", "\r\n").encode(),
    "gzip": gzip.compress(csv_of().encode()),
    "index": "".join(
        f",{line}\n" if i < 0 else f"{i},{line}\n" for i, line in enumerate(csv_of().splitlines(), -1)
    ).encode(),
    "empty last column": csv_of().replace("\n", ",\n").encode(),
    "header of savetxt": csv_of(head="# a,b,c").encode(),
}


@pytest.mark.parametrize("raw", CSV.values(), ids=CSV)
def test_one_table_in_many_forms(tmp_path, raw):
    (tmp_path / "t.csv").write_bytes(raw)
    data = load(f"table:{tmp_path}/t.csv?target=c", "train+validation")
    assert (data.meaning.numeric, data.meaning.categorical, data.meaning.classes) == (("a", "b"), (), ("a", "b"))
    rows = {(a, b, "ab"[c]) for (a, b), c in zip(data.arrays["x"].tolist(), data.arrays["y"], strict=True)}
    assert len(rows) == 27 and rows < set(ROWS)


@pytest.mark.parametrize("word", ["", "NA", "n/a", "#N/A", "NaN", "null", "None", "?", "-", "<NA>"])
def test_words_for_a_missing_number(tmp_path, word):
    (tmp_path / "t.csv").write_text(csv_of().replace("\n1.5,", f"\n{word},"))
    parts = [load(f"table:{tmp_path}/t.csv?target=c", split) for split in ("train+validation", "test")]
    assert sum(int((~part.arrays["mask"]).sum()) for part in parts) == 1


REFUSED = {
    "a word among numbers": (csv_of().replace("\n1.5,", "\nlost,"), "has numbers, but 'lost' in row 2: repair it"),
    "few numbers and a word": ("a,b\n" + "1,1\n2,2\n" * 9 + "lost,3\n", "has numbers, but 'lost' in row 19"),
    "infinity": (csv_of().replace("\n1.5,", "\ninf,"), "has numbers, but 'inf'"),
    "thousands": ("a,b\n" + "".join(f'"1,{i:03d}",{i}\n' for i in range(9)), "has numbers, but '1,000' in row 1"),
    "percent": ("a,b\n" + "".join(f"{i}%,{i}\n" for i in range(9)), "has numbers, but '0%'"),
    "no names": (csv_of().split("\n", 1)[1], "the first line must name the columns, and '0.0' is a number"),
    "no names for words": ("5,3,u\n" + "4,1,v\n" * 9, "the first line must name the columns, and '5' is a number"),
    "two names": (csv_of(head="a,a,c"), "two columns are called 'a'"),
    "too large": ("a,b\n" + "".join(f"{i}e40,{i}\n" for i in range(9)), "has 8e.40, too large"),
    "too fine": ("a,b\n" + "".join(f"{10**9 + i},{i}\n" for i in range(30)), "differ beyond 7 digits"),
    "zero bytes": ("a,b\n1,2\0\n3,4\n", "holds zero bytes"),
    "a workbook": ("PK\3\4...", "is a workbook or an archive"),
    "a column without a name": (csv_of(head=",b,c"), "column 1 has no name: give it one"),
    "a target that is missing": (csv_of().replace("\n0.0,", "\n-,"), "row 1 has no 'a', the target"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_tables_that_cannot_be_meant(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    target = "?target=a" if "target" in message else ""
    with pytest.raises(ValueError, match=message) as error:
        load_splits(f"table:{tmp_path}/t.csv{target}")
    assert "\n" not in str(error.value)


def test_what_a_table_passes_over_is_told(tmp_path):
    (tmp_path / "t.csv").write_bytes(CSV["index"])
    line = told(report_of(load_splits(f"table:{tmp_path}/t.csv?target=b")))
    assert "rows of 1 numbers and 1 words, target 'b' (a number)" in line
    assert line.endswith("; passed over: column 1, which has no name and counts rows")
    (tmp_path / "t.csv").write_text("0,1,2,label\n" + "5,6,7,x\n" * 20)  # columns of pixels are numbered in order
    assert load(f"table:{tmp_path}/t.csv?target=label").meaning.numeric == ("0", "1", "2")


@pytest.mark.parametrize("text", ["1.5,2\n3,4\n", "x,y\n1.5,2\n3,4\n", "1,5;2\n3;4\n", "x\ty\n1.5\t2\n3\t4\n"])
def test_points_in_many_forms(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    points = load(f"points:{tmp_path}/p.csv", "train+validation").arrays["x"]
    test = load(f"points:{tmp_path}/p.csv", "test").arrays["x"]
    assert sorted(np.concatenate([points, test]).tolist()) == [[1.5, 2.0], [3.0, 4.0]]


def test_a_first_line_with_a_number_is_no_header(tmp_path):
    (tmp_path / "p.csv").write_text("1.5,lost\n3,4\n5,6\n")
    with pytest.raises(ValueError, match="line 1: could not convert string to float: 'lost'"):
        load(f"points:{tmp_path}/p.csv")


def test_points_under_other_names(tmp_path):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30)[:, None] % 3
    np.savez(tmp_path / "p.npz", X_train=x, y_train=y, X_test=x[:5], weights=y)
    splits = load_splits(f"points:{tmp_path}/p.npz")
    assert (splits.num_classes, splits.test.num_classes, splits.train.arrays["y"].shape) == (3, None, (27,))
    assert told(report_of(splits)).endswith("; test has no labels; passed over: 1 array (weights)")
    np.savez(tmp_path / "p.npz", x=x * 1e38)
    with pytest.raises(ValueError, match="not finite in float32"):
        load(f"points:{tmp_path}/p.npz")


def test_carriage_returns_and_a_mark_are_no_tokens(tmp_path):
    text = "one line\nanother line\n" * 20
    (tmp_path / "plain.txt").write_text(text)
    (tmp_path / "windows.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    plain, other = (load_splits(f"tokens:{tmp_path}/{name}.txt?length=8") for name in ("plain", "windows"))
    assert other.train.meaning == plain.train.meaning
    np.testing.assert_array_equal(other.train.arrays["x"], plain.train.arrays["x"])
    assert told(report_of(other)).endswith("; passed over: 40 carriage returns before newlines")
    assert "passed over" not in told(report_of(plain))
    raw = load(f"tokens:{tmp_path}/windows.txt?length=8&unit=bytes")
    assert (raw.arrays["x"] == ord("\r")).any()  # bytes are the file's


def test_empty_lines_are_told(tmp_path):
    (tmp_path / "t.txt").write_text("\none\n\n\ntwo\n" * 20)
    line = told(report_of(load_splits(f"tokens:{tmp_path}/t.txt?documents=lines")))
    assert line.endswith("; passed over: 60 empty lines")


def test_an_archive_is_no_text(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"a.txt" + bytes(95) + b"some text " * 199)
    with pytest.raises(ValueError, match=r"is no text .it holds zero bytes, as archives do.: unpack it"):
        load(f"tokens:{tmp_path}/t.txt")
    assert len(load(f"tokens:{tmp_path}/t.txt?unit=bytes"))


def test_texts_that_come_with_the_package_have_their_sizes_and_take_options():
    """Tiny Shakespeare has 1,115,394 characters of 65 kinds, the last tenth for tests; makemore's names are 32,033."""
    train, test = (load("tiny_shakespeare?length=64", split) for split in ("train+validation", "test"))
    assert train.num_classes == 65 and train.shape == (64,) and "public domain" in train.note
    assert (
        len(train) == (round(0.9 * 1_115_394) - 1) // 64 and len(test) == (1_115_394 - round(0.9 * 1_115_394) - 1) // 64
    )
    assert train.meaning.decode(np.asarray(train.arrays["x"][0])[:14]) == "First Citizen:"
    names = [load("names", split) for split in ("train", "validation", "test")]
    assert sum(map(len, names)) == 32_033 and names[0].shape == (16,) and names[0].num_classes == 27
    assert load("names?length=8").shape == (8,) and load("tiny_shakespeare?unit=bytes").num_classes == 256
    with pytest.raises(ValueError, match="option"):
        load("names?lenght=8")
    with pytest.raises(ValueError, match="no images to resize"):
        load("names", size=8)
