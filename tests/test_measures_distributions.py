"""The four distributions: entropies counted over samples, and drawn probabilities, against SciPy."""

import numpy as np
import pytest
import scipy.stats

from gen_models.measures import FourDistributions
from gen_models.measures.distributions import CLASSES, COUNTED, TRIALS
from tests.measured import KEY, figures_of, split_of, trained_of


@pytest.mark.slow  # 6 s of a core, most of it compilation; the functions themselves are in test_distributions
def test_counted_entropies_are_within_their_errors_of_scipys(tmp_path):
    measure, split = FourDistributions(), split_of({"x": np.zeros((1, 1), np.float32)})
    found = figures_of(measure, trained_of(), split)
    exact = {
        "normal": scipy.stats.norm(1, 2).entropy(),
        "Bernoulli": scipy.stats.bernoulli(0.3).entropy(),
        "categorical": scipy.stats.entropy(CLASSES),
        "multinomial": scipy.stats.multinomial(TRIALS, COUNTED).entropy(),
    }
    drawn = measure.drawn(KEY)
    for name, entropy in exact.items():
        figure = found[f"entropy, {name}"]
        assert drawn[name].entropy == pytest.approx(entropy, rel=1e-5)
        assert figure.note.endswith(f"exact: {entropy:.4f}")
        assert 0 < figure.spread < 0.02
        assert abs(figure.value - entropy) < 4 * figure.spread
    log_p = scipy.stats.multinomial(TRIALS, COUNTED).logpmf(drawn["multinomial"].samples[:50])
    np.testing.assert_allclose(drawn["multinomial"].log_p[:50], log_p, rtol=1e-4)
    measure.draw(trained_of(), split, KEY, tmp_path)
    assert (tmp_path / "distributions.png").stat().st_size > 10_000
