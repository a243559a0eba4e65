"""A file is written whole or not at all."""

import re

import pytest

from gen_models.files import whole_file, write_bytes, write_text


def test_an_error_while_writing_leaves_the_old_content(tmp_path):
    path = tmp_path / "x.json"
    write_text(path, "né")
    assert path.read_bytes() == "né".encode()

    def half():
        with whole_file(path) as file:
            file.write(b"half")
            (beside,) = (p.name for p in tmp_path.iterdir() if p != path)
            assert re.fullmatch(r"\.x\.json\.\d+", beside)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_bytes() == "né".encode() and list(tmp_path.iterdir()) == [path]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_process_do_not_meet(tmp_path):
    path = tmp_path / "x"
    with whole_file(path) as one, whole_file(path) as two:
        one.write(b"one")
        two.write(b"twotwo")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]
