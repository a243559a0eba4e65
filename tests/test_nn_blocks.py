"""Convolutions of every kind, norms and pooling against PyTorch's, whose values a file keeps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gen_models.nn.blocks import NORMS, Norm, pool, pooled
from gen_models.nn.conv import conv
from tests.fixtures.make_convolutions_torch import CASES

with np.load(Path(__file__).parent / "fixtures" / "convolutions_torch.npz") as _archive:
    THEIRS = dict(_archive)
OF_LAYERS = {name.removeprefix("layers/"): value for name, value in THEIRS.items() if name.startswith("layers/")}


def test_convolutions_and_their_gradients_are_pytorchs():
    """All cases by one compiled program."""
    arrays = {name: {key: THEIRS[f"{name}/{key}"] for key in ("x", "kernel", "gy")} for name in CASES}

    @jax.jit
    def every(arrays):
        found = {}
        for name, (_, _, stride, padding, dilation, groups) in CASES.items():

            def own(x, kernel, how=(stride, padding, dilation, groups)):
                stride, padding, dilation, groups = how
                return conv(x, kernel, strides=stride, padding=padding, dilation=dilation, groups=groups)

            y, pull = jax.vjp(own, arrays[name]["x"], arrays[name]["kernel"])
            found[name] = {"y": y, **dict(zip(("gx", "gkernel"), pull(arrays[name]["gy"]), strict=True))}
        return found

    for name, own in every(arrays).items():
        for key, value in own.items():
            np.testing.assert_allclose(value, THEIRS[f"{name}/{key}"], rtol=1e-4, atol=2e-5, err_msg=f"{name}, {key}")


def test_norms_are_pytorchs_and_see_what_they_should():
    x = jnp.asarray(OF_LAYERS["x"])
    for kind in NORMS[1:]:
        layer = Norm(kind, groups=2)
        variables = layer.init(jax.random.key(0), x, True)
        weights = {"norm": {"scale": OF_LAYERS["scale"], "bias": OF_LAYERS["bias"]}}
        assert jax.tree.structure(variables["params"]) == jax.tree.structure(weights)
        y, _ = layer.apply({**variables, "params": weights}, x, True, mutable=["batch_stats"])
        np.testing.assert_allclose(y, OF_LAYERS[kind], rtol=1e-4, atol=1e-5, err_msg=kind)
    assert Norm("none").apply({}, x, True) is x
    assert (Norm("group", zero=True).init(jax.random.key(0), x, True)["params"]["norm"]["scale"] == 0).all()


def test_pooling_is_pytorchs_and_its_gradient_goes_to_what_was_taken():
    x = jnp.asarray(OF_LAYERS["x"])
    for kind, theirs in (("max", nn.max_pool), ("average", nn.avg_pool)):
        np.testing.assert_allclose(pool(x, kind), OF_LAYERS[kind], rtol=1e-6)
        odd = x[:, :7, :5]  # a rest is left out, as by PyTorch and Linen
        np.testing.assert_allclose(pool(odd, kind), theirs(odd, (2, 2), (2, 2)), rtol=1e-6)
        own, other = (
            jax.grad(lambda x, f=f: jnp.sin(f(x)).sum())(x)
            for f in (lambda x, kind=kind: pool(x, kind), lambda x, theirs=theirs: theirs(x, (2, 2), (2, 2)))
        )
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    volume = x.reshape(3, 4, 2, 6, 4)
    np.testing.assert_allclose(pool(volume, "max"), nn.max_pool(volume, (2, 2, 2), (2, 2, 2)))
    np.testing.assert_allclose(pooled(x, "max"), np.asarray(x).max((1, 2)))
    np.testing.assert_allclose(pooled(x), np.asarray(x).mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused():
    x = jnp.zeros((1, 3, 4, 2))
    with pytest.raises(ValueError, match="a window of 4 does not fit"):
        pool(x, "max", 4)
    with pytest.raises(ValueError, match="unknown pooling 'mean'"):
        pool(x, "mean")
    with pytest.raises(ValueError, match="unknown pooling 'sum'"):
        pooled(x, "sum")
    with pytest.raises(ValueError, match="unknown norm 'bach'"):
        Norm("bach").init(jax.random.key(0), x, True)
