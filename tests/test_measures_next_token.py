"""Top-k accuracy against ranks by hand, of windows with padding, and tables that show what is most probable."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_models.data.tokens import Vocabulary
from gen_models.measures.next_token import NextToken
from tests.measured import KEY, figures_of, split_of, trained_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 6)).astype(np.float32)  # of each token behind each


def _apply(params, stats, x, lengths=None):
    return jnp.asarray(LOGITS)[x]


def _data(n=60, length=7):
    arrays = {name: RNG.integers(6, size=(n, length), dtype=np.int32) for name in ("x", "y")}
    return arrays | {"length": RNG.integers(1, length + 1, size=n).astype(np.int32)}


@pytest.mark.parametrize("padded", [False, True])
def test_the_token_that_follows_is_among_the_most_probable(padded):
    arrays = _data()
    counts = arrays["length"] if padded else np.full(60, 7)
    if not padded:
        del arrays["length"]
    found = figures_of(NextToken(tops=(1, 3), size=17), trained_of(apply=_apply), split_of(arrays))
    for k in (1, 3):
        best = np.argsort(-LOGITS[arrays["x"]], -1)[..., :k]
        right = ((best == arrays["y"][..., None]).any(-1) & (np.arange(7) < counts[:, None])).sum(1)
        share = right.sum() / counts.sum()
        without = (right.sum() - right) / (counts.sum() - counts)  # the jackknife leaves out each window in turn
        jackknife = np.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum())
        assert found[f"top-{k} accuracy"].value == pytest.approx(share, rel=1e-6)
        assert found[f"top-{k} accuracy"].spread == pytest.approx(jackknife, rel=0.05)


@pytest.mark.parametrize("logit", [0.0, np.nan])
def test_what_knows_nothing_has_no_accuracy(logit):
    model = trained_of(apply=lambda params, stats, x, lengths=None: jnp.full((*x.shape, 6), logit))
    found = figures_of(NextToken(tops=(1, 5)), model, split_of(_data(9)))
    assert found["top-1 accuracy"].value == found["top-5 accuracy"].value == 0


def test_tables_show_the_most_probable_tokens_and_the_one_that_followed(tmp_path):
    trained = trained_of(apply=_apply)._replace(vocabulary=Vocabulary(("\n", *"abcde"), "characters"))
    arrays = _data(2)
    NextToken(tables=2, shown=3).draw(trained, split_of(arrays), KEY, tmp_path)
    first = (tmp_path / "next_token.txt").read_text().split("\n\n")[0].splitlines()
    last = arrays["length"][0] - 1
    logits = LOGITS[arrays["x"][0, last]]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert [float(line.split()[-1]) for line in first[2:]] == pytest.approx(np.sort(probabilities)[:-4:-1], abs=1e-4)
    followed = repr("\nabcde"[arrays["y"][0, last]])
    assert first[1].endswith(followed)
    assert all(line.startswith(" *") == (f" {followed} " in line) for line in first[2:])
    with Image.open(tmp_path / "next_token.png") as image:
        assert image.size[0] > 300
