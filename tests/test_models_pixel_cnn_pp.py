"""PixelCNN++: what a pixel may depend on, probabilities, and that each sampler and each resolution says the same."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxprs_in_params

from gen_models.models.autoregressive import pixel_cnn_pp as module
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.nn.causal_resampling import CornerConv, PixelUp, RowDown, RowUp

BINARY = {"shape": (4, 4, 1), "levels": 2, "mixtures": None, "resolutions": 3}
RGB = {"shape": (4, 6, 3), "levels": 4, "mixtures": 2, "resolutions": 2, "classes": 3}
CASES = {"binary": BINARY, "labelled RGB": RGB}
SMALL = {"features": 4, "blocks": 1}
# The labelled images of three channels and several levels say all that binary ones say, and more.
each_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case == "binary" else ()) for case in CASES]
)


def _parameters(model, shape, seed=0):
    """Random ones, none of them near zero in the mean, without the time that it takes to compile `init`."""
    shapes = jax.eval_shape(lambda key: model.init(key, {"x": jnp.zeros((1, *shape))})[0], jax.random.key(0))
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [jnp.asarray(0.3 * rng.normal(size=p.shape), jnp.float32) for p in leaves])


def _recording(records, **options):
    """The model, whose head appends to `records` the outputs from which it draws."""

    def record(head):
        def draw(key, outputs, *rest):
            jax.debug.callback(records.append, outputs, ordered=True)
            return head.draw(key, outputs, *rest)

        return head._replace(draw=draw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "pixel_model", lambda network, head, *rest, **kw: pixel_model(network, record(head), *rest, **kw)
        )
        return pixel_cnn_pp(**options)


class Built:
    """A case with what tests of it share: parameters, images and compiled functions."""

    def __init__(self, shape, levels, classes=None, **options):
        self.n, self.shape, self.levels = 3, shape, levels
        options = {**SMALL, **options, "shape": shape, "levels": levels, "classes": classes}
        self.records: list = []
        self.model, recording = pixel_cnn_pp(**options), _recording(self.records, **options)
        self.params = _parameters(self.model, shape)
        self.label = None if classes is None else jnp.arange(self.n) % classes
        rng = np.random.default_rng(1)
        self.images = rng.integers(levels, size=(self.n, *shape))
        self.mask = rng.uniform(size=shape[:2]) < 0.4

        def sampler(model, method):
            @jax.jit
            def sample(params, key, given, mask):
                given = {"given": given, "mask": mask}
                return model.sample(params, {}, key, self.n, label=self.label, method=method, **given)

            return lambda key, mask: sample(self.params, jax.random.key(key), self.images, mask)

        self.cached, self.naive = sampler(recording, "cached"), sampler(self.model, "naive")
        self.apply = jax.jit(lambda x: self.model.apply(self.params, {}, x, self.label))


@cache
def built(case):
    return Built(**CASES[case])


@pytest.mark.slow
@each_case
def test_outputs_depend_on_all_strictly_earlier_pixels_and_on_no_other(case):
    the = built(case)
    height, width, _ = the.shape
    label = None if the.label is None else the.label[:1]

    @jax.jit
    def jacobian(x):
        outputs, pull = jax.vjp(lambda x: the.model.apply(the.params, {}, x, label), x)
        weights = jax.random.normal(jax.random.key(2), outputs.shape)
        of_pixel = jnp.eye(height * width).reshape(-1, 1, height, width, 1)
        return jnp.abs(jax.vmap(lambda one: pull(one * weights)[0])(of_pixel)).sum((1, -1))  # [H * W, H, W]

    matrix = np.asarray(jacobian(jnp.asarray(the.images[:1], jnp.float32))).reshape(height * width, -1)
    seen = np.tri(height * width, k=-1, dtype=bool)
    assert (matrix[~seen] == 0).all()
    assert (matrix[seen] > 0).all()


@pytest.mark.slow_cases("options0")
@pytest.mark.parametrize("options", [BINARY, {**RGB, "shape": (2, 2, 3), "levels": 2, "classes": None}])
def test_probabilities_of_all_images_sum_to_one(options):
    model = pixel_cnn_pp(**SMALL, **options)
    params = _parameters(model, options["shape"], seed=3)
    values = int(np.prod(options["shape"]))

    @jax.jit
    def total(params):
        x = jnp.arange(2**values)[:, None] >> jnp.arange(values) & 1
        x = x.reshape(-1, 4096, *options["shape"])
        return jax.nn.logsumexp(lax.map(lambda x: model.log_prob(params, {}, x), x))

    np.testing.assert_allclose(total(params), 0, atol=1e-4)


@pytest.mark.slow
@each_case
def test_samplers_draw_the_same_pixels_and_keep_those_given(case):
    the = built(case)
    for key, mask in ((0, np.zeros_like(the.mask)), (1, the.mask)):
        cached, naive = the.cached(key, mask), the.naive(key, mask)
        np.testing.assert_array_equal(cached, naive)
        np.testing.assert_array_equal(cached[:, mask], the.images[:, mask])
        assert cached.min() == 0 and cached.max() == the.levels - 1
    assert (the.cached(2, mask) != cached).any()


@each_case
def test_one_pixel_at_a_time_gives_the_outputs_of_whole_images(case):
    the = built(case)
    for key, mask in ((0, np.zeros_like(the.mask)), (3, np.ones_like(the.mask))):  # its own pixels, and any others
        the.records.clear()
        x = the.cached(key, mask)
        jax.effects_barrier()
        outputs = np.stack(the.records, 1).reshape(the.n, *the.shape[:2], -1)
        np.testing.assert_allclose(outputs, the.apply(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_pixels_products_do_not_grow_with_the_image():
    """In the loop over pixels: no convolution, and the same products where images have 4 and 16 times the area."""

    def products(size):
        model = pixel_cnn_pp((size, size, 3), 4, **SMALL, mixtures=2, resolutions=3)
        params = jax.eval_shape(lambda: _parameters(model, (size, size, 3)))
        jaxpr = jax.make_jaxpr(lambda params, key: model.sample(params, {}, key, 2))(params, jax.random.key(0))
        (row,) = _equations(jaxpr.jaxpr, "scan")
        (pixel,) = _equations(row.params["jaxpr"].jaxpr, "scan")
        body = pixel.params["jaxpr"].jaxpr
        assert _equations(row.params["jaxpr"].jaxpr, "conv_general_dilated")
        assert not _equations(body, "conv_general_dilated")
        return [[v.aval.shape for v in e.invars] for e in _equations(body, "dot_general")]

    small = products(4)
    assert small == products(8) == products(16)
    assert len(small) > 10


def _equations(jaxpr, name):
    """Those of a primitive, at any depth but not inside themselves."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            found.append(equation)
        else:
            for inner in jaxprs_in_params(equation.params):
                found += _equations(inner, name)
    return found


@cache
def _gradients():
    """The loss in training and its gradients, with dropout's rate traced; parameters as `init` makes them, a batch."""
    options = {**SMALL, **RGB, "features": 8}

    @jax.jit
    def value_and_gradients(params, batch, key, rate):
        model = pixel_cnn_pp(**options, dropout=rate)
        return jax.value_and_grad(lambda p: model.loss(p, {}, batch, key, step=jnp.int32(0))[0])(params)

    model = pixel_cnn_pp(**options)
    label = jnp.arange(12) % 3
    image = jnp.broadcast_to((label[:, None, None, None] + jnp.arange(6)[:, None]) % 4, (12, *RGB["shape"]))
    batch = {"x": image, "y": label}
    return model, jax.jit(model.init)(jax.random.key(0), batch)[0], batch, value_and_gradients


@pytest.mark.slow  # 25 s of compilation; the contract holds it to finite gradients and a falling loss
def test_loss_falls_and_every_gradient_is_finite_and_not_zero():
    _, params, batch, value_and_gradients = _gradients()
    losses = []
    for step in range(30):
        loss, gradients = value_and_gradients(params, batch, jax.random.key(step), 0.1)
        if step == 0:
            assert all(bool(jnp.isfinite(g).all() & (g != 0).any()) for g in jax.tree.leaves(gradients))
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
        params = jax.tree.map(lambda p, g, norm=norm: p - 0.2 * g / norm, params, gradients)
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.slow  # 19 s of compilation; PixelSNAIL's and ImageGPT's tests hold the same layer to it
def test_dropout_only_in_training():
    model, params, batch, value_and_gradients = _gradients()
    loss = jax.jit(lambda params, key: model.loss(params, {}, batch, key, step=jnp.int32(0), train=False)[0])
    one, other = (float(loss(params, jax.random.key(k))) for k in range(2))
    assert one == other
    np.testing.assert_allclose(value_and_gradients(params, batch, jax.random.key(0), 0.0)[0], one, rtol=1e-5)
    dropped, others = (float(value_and_gradients(params, batch, jax.random.key(k), 0.5)[0]) for k in range(2))
    assert len({one, dropped, others}) == 3


def test_labels_change_the_outputs_from_the_first_pixel_on():
    the = built("labelled RGB")
    apply = jax.jit(partial(the.model.apply, the.params, {}))
    ones = jnp.ones(the.n, jnp.int32)
    changed = jnp.abs(apply(the.images, ones) - apply(the.images, 2 * ones)).max((0, -1))
    assert (changed > 1e-3).all()
    with pytest.raises(ValueError, match="needs labels below 3"):
        the.model.log_prob(the.params, {}, the.images)


def test_resampling_layers_are_shifted_convolutions_of_jax():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 4, 6, 3)), jnp.float32)
    order = ("NHWC", "HWIO", "NHWC")

    def case(layer, reference):
        y, variables = layer.init_with_output(jax.random.key(0), x)
        variables["params"]["bias"] += 1
        kernel = variables["params"]["kernel"]
        np.testing.assert_allclose(layer.apply(variables, x), reference(kernel) + 1, rtol=1e-4, atol=1e-5)
        return y.shape

    def convolution(pads, strides):
        return lambda w: lax.conv_general_dilated(x, w, (strides,) * 2, pads, dimension_numbers=order)

    def transposed(kernel):
        """Without padding, as an adjoint: (2 h, 2 w), a column of which may be added."""
        return lax.conv_transpose(x, kernel, (2, 2), "VALID", dimension_numbers=order, transpose_kernel=False)

    above_left = ((1, 0), (1, 0))
    assert case(CornerConv(5), convolution(above_left, 1)) == (2, 4, 6, 5)
    assert case(CornerConv(5, strides=2), convolution(above_left, 2)) == (2, 2, 3, 5)
    assert case(RowDown(5), convolution(((1, 0), (1, 1)), 2)) == (2, 2, 3, 5)
    assert case(PixelUp(5), lambda w: transposed(w[::-1, ::-1])) == (2, 8, 12, 5)
    assert case(RowUp(5), lambda w: transposed(w)[:, :, 1:]) == (2, 8, 12, 5)
    with pytest.raises(ValueError, match=r"stride 2.*\(4, 5\)"):
        RowDown(5).init(jax.random.key(0), x[:, :, :5])


def test_half_precision_inside_and_float32_outside():
    model = pixel_cnn_pp((4, 4, 1), 4, **SMALL, mixtures=2, dtype=jnp.bfloat16)
    params = jax.eval_shape(lambda: _parameters(model, (4, 4, 1)))
    x, key = jnp.zeros((2, 4, 4, 1)), jax.random.key(0)
    assert jax.eval_shape(lambda p: model.apply(p, {}, x), params).dtype == jnp.float32
    assert jax.eval_shape(lambda p: model.sample(p, {}, key, 2), params).dtype == jnp.int32


@pytest.mark.slow
def test_the_papers_size_has_as_many_parameters_as_the_docstring_says():
    model = pixel_cnn_pp()
    shapes = jax.eval_shape(lambda key: model.init(key, {"x": jnp.zeros((1, 32, 32, 3))})[0], jax.random.key(0))
    count = sum(p.size for p in jax.tree.leaves(shapes))
    assert f"{count / 1e6:.1f} million parameters" in pixel_cnn_pp.__doc__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (28, 30, 1)}, "4 must divide .* 28x30"),
        ({"shape": (28, 28, 1), "resolutions": 4}, "8 must divide .* 28x28"),
        ({"blocks": 0}, "blocks=0"),
        ({"mixtures": 0}, "mixtures=0"),
        ({"dropout": 1.0}, "dropout .* 1.0"),
        ({"mixtures": None}, "got 3 channels"),
        ({"levels": 1}, "levels=1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        pixel_cnn_pp(**options)
