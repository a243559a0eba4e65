"""What is made of stories: empty sentences that shift times, and texts in the order of telling."""

import jax
import numpy as np

from gen_models.data.story_transforms import stories_as_text, with_empty_sentences

X = np.array([[[1, 2], [3, 0], [4, 5], [6, 0], [0, 0], [0, 0]]] * 300, np.int32)


def test_empty_sentences_shift_the_times_of_those_before_and_leave_their_order():
    found = jax.jit(lambda key: with_empty_sentences({"x": X, "y": X[:, 0, 0]}, key, share=0.3)["x"])(jax.random.key(0))
    found = np.asarray(found)
    assert found.shape == X.shape and (found[:, 0] == X[:, 0]).all()
    gaps = []
    for rows in found[:, 1:]:
        kept = [row.tolist() for row in rows if row.any()]
        assert kept == [[3, 0], [4, 5], [6, 0]][: len(kept)] and len(kept) >= 1
        gaps.append(rows.any(-1).argmax())
    assert 0.2 < np.mean(gaps) < 0.4  # before the newest sentence stands an empty one as often as asked for
    none = with_empty_sentences({"x": X}, jax.random.key(0), share=0.0)["x"]
    np.testing.assert_array_equal(none, X)


def test_a_text_is_the_story_from_its_beginning_and_then_the_question():
    gap = np.array([[[1, 2], [0, 0], [4, 5], [6, 0], [0, 0], [0, 0]]], np.int32)
    for x, words in ((X[:1], [6, 4, 5, 3, 1, 2]), (gap, [6, 4, 5, 1, 2])):
        text = np.asarray(stories_as_text({"x": x})["x"])
        assert text.shape == (1, 12) and text[0].tolist() == words + [0] * (12 - len(words))
