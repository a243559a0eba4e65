"""M2: its bounds against sums over the classes and integrals over z, tight where q is the exact posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special as scipy_special
from scipy import stats as scipy_stats

from gen_models.models.latent.semi_supervised_vae import semi_supervised_vae
from gen_models.nn.likelihoods import categorical, gaussian

SHAPE, CLASSES = (2, 2, 1), 3
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)  # of integrals over a standard normal


@functools.cache
def _model(**options):
    return semi_supervised_vae(SHAPE, CLASSES, latent=1, hidden=(4,), **options)


@functools.cache
def _fitted():
    """All 16 images of 4 pixels; a decoder for which class and z matter, and a q near the prior, which finds all z."""
    x = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(16, *SHAPE).astype(np.float32)
    y = np.arange(16, dtype=np.int32) % CLASSES
    batch = {"x": x, "labelled_x": x, "labelled_y": y}
    params, _ = jax.jit(_model().init)(jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    scale = {"classifier": 0.7, "decoder": 0.7, "trunk": 0.2, "class": 0.2, "encoder": 0.1}
    moved = {
        name: jax.tree.map(lambda p, by=by: p + rng.normal(0, by, p.shape).astype(np.float32), params[name])
        for name, by in scale.items()
    }
    moved["encoder"] = jax.tree.map(lambda p: 0.2 * p, moved["encoder"])
    moved["encoder"]["log_sigma"]["bias"] = jnp.array([0.2])
    return moved, batch


def _all_labels(x):
    """Every image with every class: x [B K, ...] and y [B K]."""
    return np.repeat(x, CLASSES, 0), np.tile(np.arange(CLASSES, dtype=np.int32), len(x))


@functools.cache
def _by_hand():
    """In float64: E_q log p(x|y,z), the KL and log p(x|y), each [B, K], by quadrature over z."""
    params, batch = _fitted()
    x, y = _all_labels(batch["x"])
    code = _model().encode(params, {}, x, label=y)
    mu, sigma = np.float64(code.mu[:, 0]), np.exp(np.float64(code.log_sigma[:, 0]))
    decode = jax.jit(_model().decode)

    def log_p(z):  # [B K, nodes]
        label = np.repeat(y, z.shape[1])
        p = np.float64(decode(params, {}, z.reshape(-1, 1).astype(np.float32), label)).reshape(*z.shape, 4)
        flat = x.reshape(-1, 1, 4)
        return np.log(np.where(flat == 1, p, 1 - p)).sum(-1)

    weights = WEIGHTS / WEIGHTS.sum()
    expected = log_p(mu[:, None] + sigma[:, None] * NODES) @ weights
    line = np.linspace(-7, 7, 501)
    density = scipy_stats.norm.pdf(line) * (line[1] - line[0])
    marginal = np.log(np.exp(log_p(np.broadcast_to(line, (len(x), line.size)))) @ density)
    kl = (mu**2 + sigma**2 - 1) / 2 - np.log(sigma)
    return tuple(value.reshape(-1, CLASSES) for value in (expected, kl, marginal))


def _log_q(x):
    params, _ = _fitted()
    return jax.nn.log_softmax(_model().apply(params, {}, x))


def _mean_over_draws(function, repeats=4000):
    """The mean over keys, and its standard error."""
    values = np.float64(jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(5), repeats)))
    return values.mean(0), values.std(0) / np.sqrt(repeats)


def test_both_bounds_are_those_of_the_paper_and_lie_below_the_likelihoods():
    params, batch = _fitted()
    expected, kl, marginal = _by_hand()
    labelled = kl - expected + np.log(CLASSES)  # L(x, y)
    assert (-labelled < marginal - np.log(CLASSES)).all()
    log_q = np.float64(_log_q(batch["x"]))
    unlabelled = (np.exp(log_q) * (labelled + log_q)).sum(1)  # U(x)
    log_p = scipy_special.logsumexp(marginal, 1) - np.log(CLASSES)
    assert (-unlabelled < log_p).all()

    def terms(key):
        return sum(_model().elbo(params, {}, batch, key).values())

    mean, error = _mean_over_draws(terms)
    np.testing.assert_array_less(abs(mean - unlabelled), 4.5 * error + 1e-4)

    def metrics(key):
        found = _model().loss(params, {}, batch, key, step=jnp.array(0))[1][1]
        return jnp.stack([found["labelled"], found["unlabelled"]])

    mean, error = _mean_over_draws(metrics, 2000)
    rows = np.arange(16)
    np.testing.assert_allclose(mean[0], labelled[rows, batch["labelled_y"]].mean(), atol=4.5 * error[0])
    np.testing.assert_allclose(mean[1], unlabelled.mean(), atol=4.5 * error[1])


def test_the_unlabelled_bound_is_a_sum_over_classes_draw_by_draw():
    """And all classes of an image share the noise of z."""
    params, batch = _fitted()
    key = jax.random.key(7)
    x, y = _all_labels(batch["x"])
    code = _model().encode(params, {}, x, label=y)
    noise = np.repeat(jax.random.normal(key, (16, 1)), CLASSES, 0)
    p = np.float64(_model().decode(params, {}, code.mu + jnp.exp(code.log_sigma) * noise, y))
    reconstruction = -np.log(np.where(x == 1, p, 1 - p)).reshape(16, CLASSES, -1).sum(-1)
    kl = np.float64((code.mu**2 + jnp.exp(2 * code.log_sigma) - 1) / 2 - code.log_sigma).reshape(16, CLASSES)
    log_q = np.float64(_log_q(batch["x"]))
    found = _model().elbo(params, {}, batch, key)
    np.testing.assert_allclose(found["reconstruction"], (np.exp(log_q) * reconstruction).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found["kl"], (np.exp(log_q) * (kl + log_q + np.log(CLASSES))).sum(1), rtol=1e-5)


def test_the_importance_weighted_bound_reaches_the_likelihood_and_images_sum_to_one():
    params, batch = _fitted()
    exact = scipy_special.logsumexp(_by_hand()[2], 1) - np.log(CLASSES)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, atol=1e-4)
    log_prob = jax.jit(_model().log_prob, static_argnames=("particles", "chunk"))
    many = log_prob(params, {}, batch["x"], jax.random.key(0), particles=20_000, chunk=1000)
    np.testing.assert_allclose(many, exact, atol=0.05)
    few, error = _mean_over_draws(lambda key: _model().log_prob(params, {}, batch["x"], key, particles=2), 1000)
    assert (few < exact + 4 * error).all() and few.mean() < exact.mean() - 0.01


def _linear():
    """x = (z + c_y) a + b + noise: its posterior is normal and linear in x, the classes are told apart linearly."""
    a, b, c, sigma = np.array([1.0, -0.5]), np.array([0.3, 0.1]), np.array([-2.0, 0.5, 1.5]), 0.7
    variance = 1 / (1 + a @ a / sigma**2)
    means, covariance = c[:, None] * a + b, np.outer(a, a) + sigma**2 * np.eye(2)
    gain, precision = variance * a / sigma**2, np.linalg.inv(covariance)
    dense = lambda kernel, bias: {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}  # noqa: E731
    params = {
        "classifier": {"logits": dense(precision @ means.T, -0.5 * np.einsum("ki,ij,kj->k", means, precision, means))},
        "trunk": {"features": dense(gain[:, None], [-gain @ b])},
        "class": jnp.float32(-(gain @ a) * c[:, None]),
        "encoder": {"mu": dense([[1]], [0]), "log_sigma": dense([[0]], [0.5 * np.log(variance)])},
        "decoder": {"Dense_0": dense(np.r_[1, c][:, None], [0]), "Dense_1": dense(a[None], b)},
    }
    options = {"likelihood": gaussian(sigma, unit=False), "activation": lambda h: h, "classifier_hidden": ()}
    model = semi_supervised_vae((2,), 3, latent=1, hidden=(1,), **options)
    return model, params, means, covariance


def test_bounds_of_a_linear_model_are_tight_where_q_is_the_exact_posterior():
    model, params, means, covariance = _linear()
    x = np.random.default_rng(0).normal(0, 2, (5, 2)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1], np.int32)
    like = jax.eval_shape(model.init, jax.random.key(0), {"x": x})[0]
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, params)
    of_class = np.stack([scipy_stats.multivariate_normal(mean, covariance).logpdf(x) for mean in means], 1)
    log_p = scipy_special.logsumexp(of_class, 1) - np.log(3)
    # With the exact posterior every importance weight is p(x|y): one particle is exact.
    one = jax.jit(functools.partial(model.log_prob, particles=1))(params, {}, x, jax.random.key(0))
    np.testing.assert_allclose(one, log_p, rtol=1e-4)
    np.testing.assert_allclose(_softmax(model.apply(params, {}, x)), np.exp(of_class - log_p[:, None]) / 3, atol=1e-4)
    mean, error = _mean_over_draws(lambda key: sum(model.elbo(params, {}, {"x": x}, key).values()), 8000)
    np.testing.assert_allclose(-mean, log_p, atol=4.5 * error.max())

    def labelled(key):
        batch = {"x": x, "labelled_x": x, "labelled_y": y}
        return model.loss(params, {}, batch, key, step=jnp.array(0))[1][1]["labelled"]

    mean, error = _mean_over_draws(labelled, 8000)
    np.testing.assert_allclose(-mean, (of_class[np.arange(5), y] - np.log(3)).mean(), atol=4.5 * error)


def _softmax(logits):
    return np.asarray(jax.nn.softmax(logits))


@pytest.mark.slow
def test_the_objective_weighs_its_terms_and_the_gradient_of_alpha_is_that_of_the_cross_entropy():
    """Weights are traced, as a run's are."""
    params, batch = _fitted()

    @jax.jit
    def gradient(share, alpha):
        model = semi_supervised_vae(SHAPE, CLASSES, latent=1, hidden=(4,), labelled_share=share, alpha=alpha)
        loss = functools.partial(model.loss, step=jnp.array(0))
        return jax.value_and_grad(loss, has_aux=True)(params, {}, batch, jax.random.key(3))

    (value, (_, found)), with_alpha = gradient(0.3, 1.5)
    terms = 0.3 * found["labelled"] + 0.7 * found["unlabelled"] + 1.5 * found["classification"]
    np.testing.assert_allclose(value, terms, rtol=1e-6)
    without = gradient(0.3, 0.0)[1]

    def cross_entropy(params):
        logits = _model().apply(params, {}, batch["labelled_x"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labelled_y"]).mean()

    expected, of_logits = jax.value_and_grad(cross_entropy)(params)
    np.testing.assert_allclose(found["classification"], expected, rtol=1e-5)
    difference = jax.tree.map(jnp.subtract, with_alpha, without)
    jax.tree.map(lambda d, g: np.testing.assert_allclose(d, 1.5 * g, atol=2e-5), difference, of_logits)
    q = np.float64(jnp.exp(_log_q(batch["x"])))
    np.testing.assert_allclose(found["entropy"], scipy_stats.entropy(q, axis=1).mean(), rtol=1e-5)


def test_the_step_reads_no_class_of_the_images_without_labels():
    params, batch = _fitted()
    loss = jax.jit(functools.partial(_model().loss, step=0))
    with_classes = {**batch, "y": np.full(16, 99, np.int32)}
    values = [loss(params, {}, one, jax.random.key(0))[0] for one in (batch, with_classes)]
    assert values[0] == values[1]


def test_the_first_layer_is_a_dense_layer_of_the_image_with_the_class_beside_it():
    params, batch = _fitted()
    beside = np.concatenate([batch["x"].reshape(16, -1), np.eye(CLASSES)[batch["labelled_y"]]], 1)
    kernel = np.concatenate([params["trunk"]["features"]["kernel"], params["class"]])
    h = np.logaddexp(0, beside @ kernel + params["trunk"]["features"]["bias"])
    mu = h @ params["encoder"]["mu"]["kernel"] + params["encoder"]["mu"]["bias"]
    code = _model().encode(params, {}, batch["x"], label=batch["labelled_y"])
    np.testing.assert_allclose(code.mu, mu, rtol=1e-4, atol=1e-5)
    guess = _model().apply(params, {}, batch["x"]).argmax(1)
    without = _model().encode(params, {}, batch["x"])
    np.testing.assert_array_equal(without.mu, _model().encode(params, {}, batch["x"], label=guess).mu)


def test_samples_are_of_the_class_that_is_asked_for_and_of_all_of_them_else():
    """Class k of this decoder, whose z changes nothing, lights pixel k and no other."""
    params, _ = _fitted()
    zeros = jax.tree.map(jnp.zeros_like, params["decoder"])
    first = zeros["Dense_0"]["kernel"].at[1 + np.arange(3), np.arange(3)].set(20.0)
    last = zeros["Dense_1"]["kernel"].at[np.arange(3), np.arange(3)].set(2.0)
    layers = {**zeros["Dense_0"], "kernel": first}, {"kernel": last, "bias": jnp.full(4, -20.0)}
    params = {**params, "decoder": dict(zip(("Dense_0", "Dense_1"), layers, strict=True))}
    label = np.array([2, 0, 1, 1], np.int32)
    for draw in (False, True):
        x = _model().sample(params, {}, jax.random.key(0), 4, label=label, draw=draw)
        np.testing.assert_allclose(x.reshape(4, 4)[:, :3], np.eye(3)[label], atol=1e-3)
    x = np.asarray(_model().sample(params, {}, jax.random.key(1), 3000)).reshape(-1, 4)[:, :3]
    assert (abs(x.mean(0) - 1 / 3) < 4 * np.sqrt(2 / 9 / 3000)).all()


@pytest.mark.slow
def test_convolutions_and_levels():
    """The bound of each class is that of a batch with this label, however many classes are taken at once."""
    model = semi_supervised_vae((5, 4, 2), 3, latent=2, hidden=(6, 5), channels=(3,), likelihood=categorical(4))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (4, 5, 4, 2)).astype(np.float32)
    batch = {"x": x, "labelled_x": x, "labelled_y": np.array([0, 1, 2, 2], np.int32)}
    params, _ = jax.jit(model.init)(jax.random.key(0), batch)
    params["classifier"]["logits"]["bias"] = jnp.array([0.0, 60.0, 0.0])  # q(y|x) is certain of class 1

    @jax.jit
    def both(params, key):
        keys = jax.random.split(key)
        loss = functools.partial(model.loss, step=jnp.array(0))
        (_, (_, found)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, {}, {**batch, "labelled_y": jnp.full(4, 1)}, key
        )
        code = model.encode(params, {}, x, label=jnp.full(4, 1))
        drawn = code.mu + jnp.exp(code.log_sigma) * jax.random.normal(keys[1], code.mu.shape)
        return found, grads, model.decode(params, {}, drawn, jnp.full(4, 1)), model.elbo(params, {}, batch, keys[1])

    found, grads, pictures, bound = both(params, jax.random.key(2))
    np.testing.assert_allclose(sum(bound.values()).mean(), found["labelled"], rtol=1e-5)
    assert pictures.shape == x.shape and (pictures >= 0).all() and (pictures <= 1).all()
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent=0"),
        ({"hidden": ()}, r"hidden=\(500,\)"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"alpha": -1.0}, "alpha must not be negative"),
        ({"labelled_share": 1.5}, "labelled_share is a share, from 0 to 1, got 1.5"),
        ({"shape": (4,), "channels": (3,)}, r"\(height, width, channels\), got shape=\(4,\)"),
        ({"channels": (3, 3, 3)}, "too small for 3 convolutions"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        semi_supervised_vae(**{"shape": SHAPE, "num_classes": CLASSES, **options})


def test_bad_inputs_are_named_or_nan():
    params, batch = _fitted()
    loss = functools.partial(_model().loss, params, {}, key=jax.random.key(0), step=jnp.array(0))
    with pytest.raises(ValueError, match=r"'labelled_x'.*with_few_labels"):
        loss(batch={"x": batch["x"]})
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        loss(batch={**batch, "labelled_y": np.full(16, 3, np.int32)})
    with pytest.raises(ValueError, match="pixels must be between 0 and 1"):
        loss(batch={**batch, "x": batch["x"] + 0.5})
    grey = np.full((1, *SHAPE), 0.5, np.float32)
    with pytest.raises(ValueError, match="pixels must be integers from 0 to 1"):
        _model().log_prob(params, {}, grey, jax.random.key(0))
    wrong = jax.jit(lambda x: (_model().log_prob(params, {}, x, jax.random.key(0)), _model().apply(params, {}, x + 1)))
    assert all(jnp.isnan(value).all() for value in wrong(grey))
