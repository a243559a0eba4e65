"""Files that PyTorch saved, read without it: every type and layout, what is damaged, and what means harm."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from gen_models.features.torch_files import RefusedFile, read_tensors

FIXTURES = Path(__file__).parent / "fixtures"
FORMS = ("archive", "pickles")
FILES = {form: FIXTURES / f"weights_torch_{form}.pth" for form in FORMS}


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURES / "weights_torch.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_pytorchs(form, expected):
    found = read_tensors(FILES[form])
    assert set(found) == set(expected)
    for name, array in found.items():
        assert str(array.dtype) == name or name not in ("float64", "float16", "bfloat16", "int64", "int8", "bool")
        assert array.shape == expected[name].shape and array.flags.owndata
        np.testing.assert_array_equal(array.astype(expected[name].dtype), expected[name])


class Harm:
    """What calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def archived(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def behind_one_another(path, content):
    parts = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*parts, content, pickle.dumps([], 2)]))
    return path


@pytest.mark.parametrize("write", [archived, behind_one_another])
@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (lambda path: Harm(os.system, f"touch {path}"), f"{os.name}.system"),
        (lambda path: Harm(eval, f"open({str(path)!r}, 'w')"), "__builtin__.eval"),
        (lambda path: Harm(getattr, "", "join"), "__builtin__.getattr"),
        (lambda path: OrderedDict(weight=Harm(os.mkdir, str(path))), f"{os.name}.mkdir"),
    ],
)
def test_what_means_harm_is_refused_by_name_and_not_called(harm, name, write, tmp_path):
    mark = tmp_path / "mark"
    file = write(tmp_path / "weights.pth", pickle.dumps(harm(mark), 2))
    with pytest.raises(RefusedFile, match=f"weights.pth is refused: it names {name}"):
        read_tensors(file)
    assert not mark.exists()


def test_a_pickle_alone_that_means_harm_is_refused_too(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Harm(os.mkdir, str(tmp_path / "mark"))))
    with pytest.raises(RefusedFile, match="mkdir"):
        read_tensors(file)
    assert not (tmp_path / "mark").exists()


# Opcodes by hand: a global is c MODULE newline NAME newline, b sets the state of what lies below.
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ctorch\nFloatStorage\nN}(X\x01\x00\x00\x00dK\x01u\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}(X\x08\x00\x00\x00__code__K\x01u\x86b.",
        b"\x80\x02ccollections\nOrderedDict\nN}(X\x06\x00\x00\x00updateK\x01u\x86b.",
    ],
)
def test_what_is_allowed_cannot_be_changed_by_a_pickle(content, tmp_path, expected):
    with pytest.raises(ValueError):
        read_tensors(archived(tmp_path / "weights.pth", content))
    assert OrderedDict().update is not None and set(read_tensors(FILES["archive"])) == set(expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_cut_or_whose_storages_are_short_is_damaged(form, tmp_path):
    whole = FILES[form].read_bytes()
    for part in (0, 10, len(whole) // 2, len(whole) - 30):
        file = tmp_path / f"cut_{part}.pth"
        file.write_bytes(whole[:part])
        with pytest.raises(ValueError, match="is damaged, or no file that PyTorch saved"):
            read_tensors(file)


def test_a_tensor_that_reaches_beyond_its_storage_is_damaged(tmp_path):
    whole = FILES["pickles"].read_bytes()
    shape = b"K\x04K\x03\x86"  # (4, 3), of which the first tensor is
    assert whole.count(shape) >= 1
    for other in (b"K\x04K\x04\x86", b"K\xffK\x03\x86"):
        file = tmp_path / "weights.pth"
        file.write_bytes(whole.replace(shape, other, 1))
        with pytest.raises(ValueError, match="a tensor reaches beyond storage"):
            read_tensors(file)


def test_the_number_of_elements_must_be_the_storages(tmp_path):
    whole = FILES["pickles"].read_bytes()
    count = struct.pack("<q", 12)
    file = tmp_path / "weights.pth"
    file.write_bytes(whole.replace(count, struct.pack("<q", 2**60), 1))
    with pytest.raises(ValueError, match=f"has {2**60} elements"):
        read_tensors(file)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "it holds a list"),
        ({"state_dict": {}}, "no tensors with a name, the first 'state_dict': save a state_dict"),
    ],
)
def test_what_is_no_mapping_of_tensors_is_refused(value, words, tmp_path):
    with pytest.raises(RefusedFile, match=words):
        read_tensors(archived(tmp_path / "weights.pth", pickle.dumps(value, 2)))


def test_other_files_are_no_weights(tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ValueError, match=r"text.pth is damaged, or no file that PyTorch saved"):
        read_tensors(tmp_path / "text.pth")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.pth")
