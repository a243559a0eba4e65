"""Stories with questions: bAbI's files as an archive and as a folder, what is refused; generated ones told again."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gen_models.data.report import report_of, told
from gen_models.data.sources import load
from gen_models.data.splits import load_splits
from gen_models.data.stories import generated_stories, story_words

FULL = Path(os.environ.get("GEN_MODELS_DATA_DIR", "absent")) / "text" / "babi_en_1k.tar.gz"
TRAIN = """1 Mary went to the garden.
2 Where is Mary?\tgarden\t1
3 John took the Apple.
4 John took milk.
5 What does John carry? \tapple,milk\t3 4
1 John left.
2 Where is John?\tnowhere\t1
"""
TEST = "1 Sue went home.\n2 Where is Sue?\thome\t1\n"


def _folder(path):
    path.mkdir()
    for name, text in (("qa8_lists_train", TRAIN), ("qa8_lists_test", TEST), ("qa18_size_train", TEST)):
        (path / f"{name}.txt").write_text(text)
    (path / "qa8_notes.md").write_text("no task")
    return path


def test_a_question_comes_with_the_sentences_before_it_from_the_newest_back(tmp_path):
    folder = _folder(tmp_path / "en")
    with tarfile.open(tmp_path / "babi.tar.gz", "w:gz") as archive:
        archive.add(folder, "en")
    parts = [
        load(f"babi:{path}?task=8", split, validation=0)
        for path in (folder, tmp_path / "babi.tar.gz")
        for split in ("train", "test")
    ]
    for a, b in ((parts[0], parts[2]), (parts[1], parts[3])):
        assert a.meaning == b.meaning and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in "xy")
    train, test = parts[:2]
    words = train.meaning
    heard = [[words.decode(row) for row in x if row.any()] for x in train.arrays["x"]]
    assert heard == [
        ["where is mary", "mary went to the garden"],
        ["what does john carry", "john took milk", "john took the apple", "mary went to the garden"],
        ["where is john", "john left"],
    ]
    assert [words.symbols[y] for y in train.arrays["y"]] == ["garden", "apple,milk", "nowhere"]
    assert (train.shape, train.num_classes, words.symbols[0]) == ((4, 5), len(words.symbols), "<padding>")
    assert [words.decode(row) for row in test.arrays["x"][0, :2]] == ["where is sue", "sue went home"]
    assert not test.arrays["x"][0, 2:].any() and words.symbols[test.arrays["y"][0]] == "home"
    short = load(f"babi:{folder}?task=8&memory=1", "train", validation=0)
    assert short.shape == (2, 5) and short.meaning.decode(short.arrays["x"][1, 1]) == "john took milk"
    every = load(f"babi:{folder}?task=all", "train", validation=0)
    assert len(every) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?task=21", "task=21 of babi must be 1 to 20, or all"),
        ("?task=x", "task=x of babi must be 1 to 20"),
        ("?memory=0", "memory=0 of babi must be 1 or more"),
        ("?task=18", r"has no qa18_..._test.txt: give the archive or its folder"),
        ("?tasks=1", "unknown option of babi:PATH 'tasks': did you mean 'task'"),
    ],
)
def test_what_are_no_tasks(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(f"babi:{_folder(tmp_path / 'en')}{options}")


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="there is no such file or folder"):
        load(f"babi:{tmp_path / 'absent'}")
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is no archive of bAbI, or a damaged one"):
        load(f"babi:{tmp_path / 'a.tar.gz'}")
    folder = _folder(tmp_path / "en")
    for text, line in (("2 Mary left.\n", "line 1"), (TEST + "a b c\n", "line 3"), (TEST + "1 \tyes\t1\n", "line 3")):
        (folder / "qa8_lists_test.txt").write_text(text)
        with pytest.raises(ValueError, match=f"qa8_lists_test.txt, {line}: a number and a sentence are needed"):
            load(f"babi:{folder}?task=8")
    (folder / "qa8_lists_test.txt").write_bytes("1 Zoë left.\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"qa8_lists_test\.txt is not UTF-8 at byte 4: get it again"):
        load(f"babi:{folder}?task=8")


def test_the_report_says_what_an_example_is(tmp_path):
    folder = _folder(tmp_path / "en")
    splits = load_splits(f"babi:{folder}?task=8", "train+validation")
    assert "about up to 3 sentences of up to 5 words, 20 tokens" in told(report_of(splits))


def test_generated_stories_are_true_when_they_are_told_again():
    """Each sentence is possible, and the answer is where the subject is: a simulation of the words alone."""
    words, data = story_words(), generated_stories(400, 3)
    about_things = 0
    for x, y in zip(data["x"], data["y"], strict=True):
        sentences = [[words[token] for token in row if token] for row in x]
        place, holder = {}, {}
        for one, action, *rest in sentences[:0:-1]:
            thing = rest[-1]
            if action == "went":
                place[one] = thing
                place |= {held: thing for held, who in holder.items() if who == one}
            elif action == "took":
                assert thing not in holder and place.get(thing, place[one]) == place[one]
                holder[thing], place[thing] = one, place[one]
            else:
                assert action == "dropped" and holder.pop(thing) == one
        assert sentences[0][:2] == ["where", "is"] and place[sentences[0][-1]] == words[y]
        about_things += sentences[0][2] == "the"
    assert 100 < about_things < 300
    again = generated_stories(400, 3)
    assert all(np.array_equal(data[name], again[name]) for name in data)
    for call in (lambda: generated_stories(0), lambda: generated_stories(1, sentences=0)):
        with pytest.raises(ValueError, match="must be 1 or more, got 0"):
            call()


@pytest.mark.skipif(not FULL.is_file(), reason="GEN_MODELS_DATA_DIR names no folder with text/babi_en_1k.tar.gz")
def test_each_task_has_a_thousand_questions_for_training_and_as_many_for_the_test():
    for task in (1, 2, 20):
        parts = [load(f"babi:{FULL}?task={task}", split, validation=0) for split in ("train", "test")]
        assert [len(part) for part in parts] == [1000, 1000]
