"""Two networks as players: what each loss is made of, with networks small enough to write their games out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import log_softmax

from gen_models.models.adversarial.adversarial import adversarial_model
from gen_models.nn.adversarial_losses import hinge, non_saturating, wasserstein
from gen_models.nn.gradient_penalties import r1
from gen_models.nn.judgements import Judgement, judged
from gen_models.nn.normalised_weights import COLLECTION, Dense, power_iteration

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
CALL = {"step": 0}
X = RNG.uniform(size=(6, 3)).astype(np.float32)
BATCH = {"x": X, "y": np.array([0, 1, 2, 1, 0, 0], np.int32)}


class Affine(nn.Module):
    """A generator: z W, with the class's row added; with batch norm where it is asked for."""

    norm: bool = False

    @nn.compact
    def __call__(self, z, label, train):
        x = nn.Dense(3)(z)
        if label is not None:
            x = x + nn.Dense(3, use_bias=False)(label)
        return nn.BatchNorm(use_running_average=not train, momentum=0.5)(x) if self.norm else x


class Judge(nn.Module):
    """A hidden layer, batch norm where it is asked for, and the head."""

    norm: bool = False
    condition: str | None = None

    @nn.compact
    def __call__(self, x, label, train):
        h = nn.Dense(4)(x)
        if self.norm:
            h = nn.BatchNorm(use_running_average=not train, momentum=0.5)(h)
        return judged(jnp.tanh(h), label, train, condition=self.condition, classes=None if label is None else 3)


def build(generator=None, discriminator=None, loss=None, **options):
    model = adversarial_model(
        generator or Affine(), discriminator or Judge(), shape=(3,), latent=2, loss=loss or non_saturating(), **options
    )
    params, stats = model.init(KEY, BATCH)
    params = jax.tree.map(lambda p: p + 0.3 * jnp.asarray(RNG.normal(size=p.shape), jnp.float32), params)
    return model, params, stats


class Pulled(nn.Module):
    """f(x) = w . x + |w . x|^2 / 4: a critic whose steps depend on what it judges and on itself."""

    @nn.compact
    def __call__(self, x, label, train):
        w = self.param("w", nn.initializers.normal(1.0), (3,))
        return Judgement(x @ w + (x @ w) ** 2 / 4, x)


@pytest.mark.slow_cases("1")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_unrolled_gradient_is_that_of_the_program_written_out(steps):
    """Metz et al. (2017): with the second term, by which the generator foresees the discriminator."""
    model, params, stats = build(discriminator=Pulled(), loss=wasserstein(), unrolled=steps, unrolled_rate=0.2)
    z = jax.random.normal(KEY, (6, 2))
    real = jnp.asarray(X)

    def f(w, x):
        return x @ w + (x @ w) ** 2 / 4

    def by_hand(own, stop):
        fake = z @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]
        w = params["discriminator"]["w"]
        for _ in range(steps):
            # the critic's gradient, written out
            of = lambda x, w: (x * (1 + (x @ w) / 2)[:, None]).mean(0)  # noqa: E731
            w = w - 0.2 * (of(fake, w) - of(real, w))
        w = jax.lax.stop_gradient(w) if stop else w
        return -f(w, fake).mean()

    def ours(own):
        return model.loss["generator"](params | {"generator": own}, stats, BATCH, KEY, **CALL)[0]

    value, gradient = jax.value_and_grad(ours)(params["generator"])
    expected, whole = jax.value_and_grad(by_hand)(params["generator"], False)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, whole)
    first = jax.grad(by_hand)(params["generator"], True)
    assert any(np.abs(a - b).max() > 1e-2 for a, b in zip(*map(jax.tree.leaves, (gradient, first)), strict=True))
    others = jax.grad(
        lambda own: model.loss["generator"](params | {"discriminator": own}, stats, BATCH, KEY, **CALL)[0]
    )
    assert not others(params["discriminator"])["w"].any()  # the unrolled steps change nothing of the discriminator's


def test_no_steps_are_the_plain_game_and_a_rate_of_zero_too():
    model, params, stats = build()
    expected = jax.value_and_grad(model.loss["generator"], has_aux=True)(params, stats, BATCH, KEY, **CALL)
    for options in ({"unrolled": 0}, {"unrolled": 2, "unrolled_rate": 0.0}):
        other, _, _ = build(**options)
        found = jax.value_and_grad(other.loss["generator"], has_aux=True)(params, stats, BATCH, KEY, **CALL)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)


def test_apart_or_in_one_batch_is_the_same_without_batch_norm():
    together, params, stats = build(apart=False)
    apart, _, _ = build(apart=True)
    both = [
        jax.grad(m.loss["discriminator"], has_aux=True)(params, stats, BATCH, KEY, **CALL) for m in (together, apart)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *both)


class SpectralJudge(nn.Module):
    @nn.compact
    def __call__(self, x, label, train):
        return judged(jnp.tanh(Dense(4, "spectral")(x, train)), label, train, weights="spectral")


@pytest.mark.parametrize("apart", [True, False])
def test_singular_vectors_move_once_and_both_halves_are_judged_by_the_same_weights(apart):
    """Miyato et al. (2018), algorithm 1: one step of power iteration for an update, from the vectors of before."""
    model, params, stats = build(discriminator=SpectralJudge(), loss=wasserstein(), apart=apart)
    _, (after, metrics) = model.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    own, its = params["discriminator"], params["generator"]["Dense_0"]
    fake = jax.random.normal(KEY, (6, 2)) @ its["kernel"] + its["bias"]
    sigma = {}
    for name, layer in own.items():
        before = stats[COLLECTION][name]["u"]
        sigma[name], once = power_iteration(layer["kernel"], before)
        np.testing.assert_allclose(after[COLLECTION][name]["u"], once, rtol=1e-5, atol=1e-6)
        if len(once) > 1:  # a vector of one number has nowhere to go
            _, twice = power_iteration(layer["kernel"], once)
            assert min(np.abs(once - before).max(), np.abs(once - twice).max()) > 1e-4

    def by_hand(x):
        h = jnp.tanh(x @ own["Dense_0"]["kernel"] / sigma["Dense_0"] + own["Dense_0"]["bias"])
        return (h @ own["Dense_1"]["kernel"] / sigma["Dense_1"] + own["Dense_1"]["bias"]).mean()

    np.testing.assert_allclose(metrics["real_logit"], by_hand(X), rtol=1e-4)
    np.testing.assert_allclose(metrics["fake_logit"], by_hand(fake), rtol=1e-4)


def _normalised(h, norm):
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * norm["scale"] + norm["bias"]


def test_a_discriminator_with_batch_norm_judges_batches_of_their_own():
    """Radford et al. (2016): real examples by the statistics of real ones, fakes by those of fakes."""
    model, params, stats = build(Affine(norm=True), Judge(norm=True), hinge())
    own, its = params["discriminator"], params["generator"]
    z = np.asarray(jax.random.normal(KEY, (6, 2)))
    fake = _normalised(z @ its["Dense_0"]["kernel"] + its["Dense_0"]["bias"], its["BatchNorm_0"])
    hidden = [x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"] for x in (X, fake)]
    real_logits, fake_logits = (
        (np.tanh(_normalised(h, own["BatchNorm_0"])) @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"])[:, 0]
        for h in hidden
    )
    value, (after, metrics) = model.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    expected = np.maximum(0, 1 - real_logits).mean() + np.maximum(0, 1 + fake_logits).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics["real_logit"], real_logits.mean(), rtol=1e-3)
    mean = after["discriminator"]["BatchNorm_0"]["mean"]  # from 0, with half of the past: first real, then fake ones
    np.testing.assert_allclose(mean, hidden[0].mean(0) / 4 + hidden[1].mean(0) / 2, rtol=1e-3, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["generator"], stats["generator"])
    value, (after, _) = model.loss["generator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, -fake_logits.mean(), rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after["discriminator"], stats["discriminator"])
    raw = z @ its["Dense_0"]["kernel"] + its["Dense_0"]["bias"]
    np.testing.assert_allclose(after["generator"]["BatchNorm_0"]["mean"], raw.mean(0) / 2, rtol=1e-3, atol=1e-6)
    found = model.batch_stats(params, stats, BATCH, KEY)  # of one batch alone, whatever was there before
    moved = model.batch_stats(params, jax.tree.map(lambda s: s + 3, stats), BATCH, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, moved)
    np.testing.assert_allclose(found["generator"]["BatchNorm_0"]["mean"], raw.mean(0), rtol=1e-3, atol=1e-6)
    both = (hidden[0].mean(0) / 2 + hidden[1].mean(0)) / 1.5
    np.testing.assert_allclose(found["discriminator"]["BatchNorm_0"]["mean"], both, rtol=1e-3, atol=1e-5)


def test_matched_features_are_the_whole_objective():
    model, params, stats = build(matching=True)
    z = jax.random.normal(KEY, (6, 2))
    own = params["generator"]["Dense_0"]
    of_real, of_fake = (model.encode(params, stats, np.asarray(x)) for x in (X, z @ own["kernel"] + own["bias"]))
    value, _ = model.loss["generator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, np.square(of_real.mean(0) - of_fake.mean(0)).sum(), rtol=1e-4)


def test_matched_features_pay_for_the_class_too():
    """The auxiliary head's cross-entropy comes to matched features as it does to a loss of logits."""
    options = {"discriminator": Judge(condition="auxiliary"), "classes": 3, "auxiliary": (1.0, 0.25)}
    model, params, stats = build(**options, matching=True)
    matched, _, _ = build(**options | {"auxiliary": (1.0, 0.0)}, matching=True)
    plain, _, _ = build(**options)
    bare, _, _ = build(**options | {"auxiliary": (1.0, 0.0)})
    losses = [m.loss["generator"](params, stats, BATCH, KEY, **CALL)[0] for m in (model, matched, plain, bare)]
    assert losses[0] - losses[1] > 0.01
    np.testing.assert_allclose(losses[0] - losses[1], losses[2] - losses[3], rtol=1e-4)


class Counting(nn.Module):
    """A network with variables that training would not keep."""

    inner: nn.Module

    @nn.compact
    def __call__(self, x, label, train):
        self.variable("counts", "calls", jnp.zeros, ())
        return self.inner(x, label, train)


class SpectralGenerator(nn.Module):
    @nn.compact
    def __call__(self, z, label, train):
        return Dense(3, "spectral")(z, train)


def test_variables_that_would_be_lost_are_refused():
    with pytest.raises(ValueError, match="the generator has variables in 'singular_vectors', but beside parameters"):
        build(SpectralGenerator())
    with pytest.raises(ValueError, match="the discriminator has variables in 'counts'"):
        build(discriminator=Counting(Judge()))


def test_a_projection_adds_the_class_times_the_features():
    """Miyato & Koyama (2018), eq. 3."""
    model, params, stats = build(discriminator=Judge(condition="projection"), classes=3)
    own = params["discriminator"]
    features = model.encode(params, stats, X, label=BATCH["y"])
    psi = features @ own["Dense_1"]["kernel"][:, 0] + own["Dense_1"]["bias"]
    expected = psi + (own["projection"]["kernel"][BATCH["y"]] * features).sum(1)
    np.testing.assert_allclose(model.apply(params, stats, X, BATCH["y"]), expected, rtol=1e-5)


def test_an_auxiliary_classifier_pays_both_players_for_the_class():
    """Odena et al. (2017), eq. 2 and 3: both raise L_C = E log p(c | x) + E log p(c | G(z))."""
    options = {"discriminator": Judge(condition="auxiliary"), "classes": 3}
    model, params, stats = build(**options, auxiliary=(0.5, 0.25))
    without, _, _ = build(**options, auxiliary=(0.0, 0.0))
    own, its, labels = params["discriminator"], params["generator"], BATCH["y"]
    fake = np.asarray(jax.random.normal(KEY, (6, 2))) @ its["Dense_0"]["kernel"] + its["Dense_0"]["bias"]
    fake = fake + its["Dense_1"]["kernel"][labels]
    costs = []
    for x in (X, fake):
        h = np.tanh(x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"])
        guesses = log_softmax(h @ own["classes"]["kernel"] + own["classes"]["bias"], axis=-1)
        costs.append(-guesses[np.arange(6), labels].mean())
    for player, paid in (("discriminator", 0.5 * sum(costs)), ("generator", 0.25 * costs[1])):
        value, bare = (m.loss[player](params, stats, BATCH, KEY, **CALL)[0] for m in (model, without))
        np.testing.assert_allclose(value - bare, paid, rtol=1e-4)
    _, (_, metrics) = model.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose((metrics["real_class_loss"], metrics["fake_class_loss"]), costs, rtol=1e-4)
    samples = [model.decode(params, stats, np.zeros((1, 2), np.float32), np.array([y])) for y in range(2)]
    np.testing.assert_allclose(
        samples[1] - samples[0], (its["Dense_1"]["kernel"][1] - its["Dense_1"]["kernel"][0])[None], rtol=1e-4
    )


def test_networks_that_see_symmetric_images_take_and_make_those_from_zero_to_one():
    plain, params, stats = build()
    model, _, _ = build(symmetric=True)
    z = np.ones((2, 2), np.float32)
    np.testing.assert_allclose(model.decode(params, stats, z), (plain.decode(params, stats, z) + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(model.apply(params, stats, X), plain.apply(params, stats, 2 * X - 1), rtol=1e-5)
    with pytest.raises(ValueError, match="pixels must be between 0 and 1"):
        model.apply(params, stats, X - 1)
    assert np.isnan(jax.jit(model.apply)(params, stats, X - 1)).any()


def test_uniform_noise_is_from_minus_one_to_one_and_r1_is_of_the_slopes_at_real_examples():
    uniform, params, stats = build(noise="uniform")
    draws = uniform.sample(params, stats, KEY, 4)
    expected = uniform.decode(params, stats, jax.random.uniform(KEY, (4, 2), minval=-1))
    np.testing.assert_array_equal(draws, expected)
    model, _, _ = build(penalty=r1(2.0))
    _, (_, metrics) = model.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    slopes = jax.vmap(jax.grad(lambda x: model.apply(params, stats, x[None])[0]))(jnp.asarray(X))
    np.testing.assert_allclose(metrics["penalty"], (slopes**2).sum(1).mean(), rtol=1e-4)


def test_samples_without_labels_are_of_all_classes():
    model, params, stats = build(discriminator=Judge(condition="projection"), classes=3)
    params["generator"]["Dense_0"]["kernel"] = jnp.zeros((2, 3))  # so that the class alone makes an example
    rows = model.decode(params, stats, np.zeros((3, 2), np.float32), np.arange(3))
    samples = model.sample(params, stats, KEY, 300)
    counts = [int((np.abs(samples - row).max(1) < 1e-6).sum()) for row in rows]
    assert sum(counts) == 300 and min(counts) > 70


def test_traced_numbers_do_not_widen_a_loss():
    with jax.enable_x64(True):

        @jax.jit
        def values(number):
            model, params, stats = build(
                discriminator=Judge(condition="auxiliary"),
                loss=non_saturating(number),
                penalty=r1(number),
                classes=3,
                auxiliary=(number, number),
                unrolled=1,
                unrolled_rate=number,
            )
            found = [loss(params, stats, BATCH, KEY, **CALL) for loss in model.loss.values()]
            return found, params, model.sample(params, stats, KEY, 2)

        assert {x.dtype for x in jax.tree.leaves(values(jnp.float64(0.1)))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "gauss"}, "unknown noise 'gauss'"),
        ({"latent": 0}, "latent=0"),
        *[({"unrolled": k}, f"unrolled must be a whole number of steps, 0 or more, got {k}") for k in (-1, 2.5, True)],
        ({"unrolled": 1, "matching": True}, "leave unrolled at 0"),
        ({"classes": 3, "packing": 2}, "a pack of 2 examples has no one label"),
        ({"shape": ()}, "an axis or more"),
        ({"auxiliary": (1.0,)}, "a weight for each player"),
    ],
)
def test_impossible_arguments_are_refused(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        adversarial_model(Affine(), Judge(), **({"shape": (3,), "latent": 2, "loss": hinge()} | options))


def test_labels_are_needed_or_refused():
    model, params, stats = build(discriminator=Judge(condition="projection"), classes=3)
    with pytest.raises(ValueError, match="the model needs labels below 3"):
        model.decode(params, stats, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        model.sample(params, stats, KEY, 2, label=np.array([0, 3]))
    with pytest.raises(ValueError, match="'y'"):
        model.init(KEY, {"x": X})
    plain, params, stats = build()
    with pytest.raises(ValueError, match="takes no labels"):
        plain.sample(params, stats, KEY, 2, label=np.array([0, 1]))
