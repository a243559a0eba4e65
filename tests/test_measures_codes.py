"""How many codes are used, counted by hand; and what is said of a bound by one code."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from gen_models.measures import CodeUsage, NegativeLogLikelihood
from tests.measured import figures_of, split_of, trained_of


def test_codes_that_are_used_and_their_perplexity():
    codes = np.array([[0, 0], [0, 3], [3, 0], [6, 0]], np.int32)
    split = split_of({"x": codes})
    trained = trained_of(encode=lambda params, stats, x: x)
    found = figures_of(CodeUsage(8), trained, split)
    assert found["codes used"].value == 3
    assert found["perplexity of codes"].value == pytest.approx(np.exp(entropy([5, 2, 1])), rel=1e-6)
    assert found["codes used"].note == "of 8"
    alike = figures_of(CodeUsage(8), trained, split_of({"x": np.arange(8).reshape(4, 2)}))
    assert alike["perplexity of codes"].value == pytest.approx(8)


def test_codes_of_what_has_none_are_refused():
    """-1, which stands for an image without a probability, is no code."""
    with pytest.raises(ValueError, match="-1"):
        figures_of(CodeUsage(8), trained_of(encode=lambda p, s, x: x), split_of({"x": np.array([[0], [-1]])}))


def test_a_bound_by_one_code_says_so():
    x = np.ones((3, 2, 2, 1), np.float32)
    trained = trained_of(log_prob=lambda params, stats, x, key: -x.sum((1, 2, 3)))
    found = figures_of(NegativeLogLikelihood(one_code=True), trained, split_of({"x": x}))
    assert found["NLL"].value == 4 and found["NLL"].note == "bound by the one code of each example"
    assert found["bits/dim"].value == pytest.approx(1 / jnp.log(2.0))
