"""Features of a batch against loops over its examples."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.nn.minibatch import MinibatchDiscrimination, minibatch_deviation

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def test_minibatch_discrimination_is_the_papers_loop():
    """Salimans et al. (2016), section 3.2."""
    f = RNG.normal(size=(5, 3)).astype(np.float32)
    layer = MinibatchDiscrimination(4, 2)
    variables = layer.init(KEY, f)
    tensor = np.asarray(variables["params"]["tensor"]["kernel"]).reshape(3, 4, 2)
    m = np.einsum("na,abc->nbc", f, tensor)
    expected = np.zeros((5, 4))
    for i in range(5):
        for j in range(5):
            for b in range(4):
                expected[i, b] += np.exp(-np.abs(m[i, b] - m[j, b]).sum())
    found = layer.apply(variables, f)
    np.testing.assert_array_equal(found[:, :3], f)
    np.testing.assert_allclose(found[:, 3:], expected, rtol=1e-5)
    same = layer.apply(variables, np.repeat(f[:1], 5, 0))  # one example five times: each kernel says 5
    np.testing.assert_allclose(same[:, 3:], 5, rtol=1e-6)


def test_minibatch_deviation_is_one_number():
    """Karras et al. (2018), section 3."""
    h = RNG.normal(size=(6, 3, 2, 4)).astype(np.float32)
    found = minibatch_deviation(jnp.asarray(h))
    np.testing.assert_array_equal(found[..., :4], h)
    loop = np.mean([h[:, i, j, c].std() for i in range(3) for j in range(2) for c in range(4)])
    np.testing.assert_allclose(found[..., 4], np.full((6, 3, 2), loop), rtol=1e-5)
    same = jnp.asarray(np.repeat(h[:1], 6, 0))
    assert minibatch_deviation(same)[..., 4].max() < 1e-3
    assert np.isfinite(jax.grad(lambda h: minibatch_deviation(h).sum())(same)).all()
    assert minibatch_deviation(jnp.asarray(h[:, 0, 0])).shape == (6, 5)  # of vectors, too
