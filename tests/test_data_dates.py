"""Dates that are translated: their forms can be read, and days for testing are in no other part."""

import re
from datetime import date

import numpy as np
import pytest
from PIL import Image

from gen_models import plots
from gen_models.data.dates import DAYS, END, FIRST_DAY, FORMS, MONTHS, READ, WEEKDAYS, date_splits, written_date


def _texts(dataset):
    """[(what is read, what is asked for)] of a part."""
    fields = (dataset.arrays[name] for name in ("source", "source_length", "y"))
    meaning = dataset.meaning
    return [(meaning.decode(source[:count], 0), meaning.decode(y)) for source, count, y in zip(*fields, strict=True)]


def _understood(text):
    """The day that a text says, by a reader that knows no form: names, then numbers by their places."""
    numbers = [int(number) for number in re.findall(r"[0-9]+", text)]
    named = [index + 1 for index, month in enumerate(MONTHS) if re.search(rf"\b{month[:3]}", text)]
    (year,) = [number for number in numbers if number > 31]
    first, *rest = [number for number in numbers if number <= 31]
    if named:
        return date(year, named[0], first)
    return date(year, rest[0], first) if "." in text else date(year, first, rest[0])


def test_every_form_says_its_day():
    days = np.random.default_rng(0).integers(DAYS, size=300)
    for number, form in zip(days, FORMS * 34, strict=False):
        day = date.fromordinal(FIRST_DAY.toordinal() + int(number))
        text = written_date(day, form)
        assert _understood(text) == day and set(text) <= set(READ)
        weekday = next((name for name in WEEKDAYS if name in text), None)
        assert weekday is None or weekday == day.strftime("%A").lower()
    assert written_date(date(2001, 12, 11), FORMS[2]) == "tuesday, december 11th 2001"
    assert [written_date(date(2001, 1, n), "{day}{th}") for n in (1, 2, 3, 4, 12, 23)] == [
        *("1st", "2nd", "3rd", "4th", "12th", "23rd")
    ]
    assert date.fromordinal(FIRST_DAY.toordinal() + DAYS - 1) == date(2049, 12, 31)


def test_parts_share_no_day_and_are_the_same_each_time():
    splits = date_splits(3000)
    texts = [_texts(part) for part in (splits.train, splits.held_out, splits.test)]
    days = [{asked for _, asked in part} for part in texts]
    assert [len(part) for part in texts] == [3000, 1826, 1826] and min(map(len, days)) > 1800
    assert not days[0] & days[1] and not days[0] & days[2] and not days[1] & days[2]
    for read, asked in texts[2]:
        assert _understood(read).isoformat() == asked
    again = date_splits(3000)
    for name, values in splits.train.arrays.items():
        np.testing.assert_array_equal(values, again.train.arrays[name])
    x, y = splits.test.arrays["x"], splits.test.arrays["y"]
    assert (x[:, 0] == END).all() and (x[:, 1:] == y[:, :-1]).all() and (y[:, -1] == END).all()


def test_alignments_are_as_large_as_what_they_name(tmp_path):
    weights = np.full((3, 4, 9), 0.5)
    sizes = []
    for names in ([("ab", "cde")], [("ab", "cde"), ("abcd", "abcdefghi"), ("a", "$")]):
        path = plots.alignments(weights[: len(names)], names, tmp_path / "a.png")
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes[1][0] > 2 * sizes[0][0] and sizes[1][1] > 2 * sizes[0][1]
    with pytest.raises(ValueError, match="names"):
        plots.alignments(weights, [], tmp_path / "a.png")
