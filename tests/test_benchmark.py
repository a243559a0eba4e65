"""Ratios are those of the clock's times, what is compared is equal, and a profile's parts sum to the whole."""

import importlib.util
import json
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gen_models.core import init_state, make_train_step
from gen_models.models.adversarial.gan import gan
from gen_models.models.latent.vae import vae
from gen_models.nn.conv import Conv
from gen_models.nn.devices import contexts
from gen_models.optimizers import adam
from gen_models.run.experiments import find
from tools import benchmark
from tools.benchmarks import (
    CASES,
    Case,
    Contender,
    causal,
    chosen,
    contenders,
    latent,
    layers,
    profile,
    seeds,
    steps,
)
from tools.benchmarks.measure import WARM_UP, measure, rows


class Clock:
    """Time that passes only when a contender trains, and how often each did."""

    def __init__(self, **costs):  # name -> (seconds of a call, training steps in a call)
        self.now, self.calls = 0.0, []
        self.speed = 1.0
        self.contenders = {name: self._contender(name, *cost) for name, cost in costs.items()}

    def __call__(self):
        return self.now

    def slower(self):
        self.speed *= 1.5

    def _contender(self, name, cost, number=1):
        def run():
            self.calls.append(name)
            self.now += cost * self.speed
            return 0.5

        return Contender(run, 0, number)


@pytest.mark.slow  # it compiles three programs
def test_seeds_are_trained_alike_however_they_are_run():
    """Three ways, as many steps, the same losses up to the rounding of stacked products."""
    sizes = {"batch_size": 4, "points": 400, "samples": 40, "generator_hidden": (8,), "discriminator_hidden": (8,)}
    made = seeds.contenders_of(find("gan_grid"), 3, 5, **sizes)
    losses = [made[name].run() for name in ("ours", "vmap", "one_by_one")]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
    assert made["ours"].parameters == made["one_by_one"].parameters > 0


def test_ratios_do_not_depend_on_the_machines_speed():
    clock = Clock(ours=(0.25, 2), other=(0.5, 1), slow=(1.0, 1))
    times = measure(clock.contenders, 5, clock=clock, after_round=clock.slower)
    np.testing.assert_allclose(times["ours"], 0.125 * 1.5 ** np.arange(5))
    other, slow = rows("case", times, {"cores": 2})
    assert (other["against"], slow["against"]) == ("other", "slow")
    assert {row["name"] for row in (other, slow)} == {"case"}
    np.testing.assert_allclose([other["ratio"], slow["ratio"]], [4, 8])
    np.testing.assert_allclose([other["ratio_low"], other["ratio_high"]], 4)
    np.testing.assert_allclose([other["median_ms"], other["against_ms"]], [125 * 1.5**2, 500 * 1.5**2])
    assert other["rounds"] == 5
    assert other["machine"] == {"cores": 2}


def test_the_ratio_is_the_median_of_the_rounds_and_not_of_the_times():
    ours, other = [1.0, 2.0, 10.0, 4.0], [3.0, 2.0, 10.0, 8.0]
    [row] = rows("case", {"ours": ours, "other": other}, {})
    assert row["ratio"] == 1.5
    np.testing.assert_allclose([row["ratio_low"], row["ratio_high"]], [1, 2.25])
    assert row["median_ms"] == 3000


def test_a_turn_is_as_long_as_asked_and_begins_with_a_call_that_is_not_timed():
    clock = Clock(ours=(0.125, 1), other=(2.0, 1))
    measure(clock.contenders, 4, seconds=0.5, clock=clock)
    assert clock.calls.count("ours") == WARM_UP + 4 * (1 + 4)
    assert clock.calls.count("other") == WARM_UP + 4 * (1 + 1)
    clock = Clock(ours=(0.125, 1), other=(2.0, 1))
    measure(clock.contenders, 4, seconds=0.0, settle=False, clock=clock)
    assert clock.calls.count("ours") == clock.calls.count("other") == 1 + 4
    clock = Clock(ours=(0.125, 1), other=(2.0, 1))
    measure(clock.contenders, 4, settle=False, warm_up=False, clock=clock)
    assert clock.calls.count("ours") == clock.calls.count("other") == 4


def test_the_order_within_rounds_is_random_and_repeatable():
    def orders(seed):
        clock = Clock(a=(1.0, 1), b=(1.0, 1), c=(1.0, 1))
        measure(clock.contenders, 20, seconds=0.0, settle=False, seed=seed, clock=clock)
        rounds = np.reshape(clock.calls[3:], (20, 3))
        assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
        return ["".join(names) for names in rounds]

    assert orders(0) == orders(0) != orders(1)
    assert len(set(orders(0))) > 3


def test_steps_that_diverge_are_not_timed():
    broken = Contender(lambda: float("nan"), 0)
    with pytest.raises(ValueError, match="ours diverged: its loss is nan"):
        measure({"ours": broken}, 1, seconds=0.0)


def three_steps(step, state, batches):
    step = jax.jit(step)
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def equal(a, b, rtol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol / 10)


def test_the_vae_by_hand_is_the_librarys():
    model, tx = vae((4, 4, 1), latent=3, hidden=(8,)), adam(1e-3)
    draws = jax.random.bernoulli(jax.random.key(0), 0.4, (3, 16, 4, 4, 1)).astype(jnp.float32)
    batches = [{"x": x} for x in draws]
    state = jax.jit(lambda key: init_state(model, tx, key, batches[0]))(jax.random.key(1))
    by_hand, start = steps.vae_by_hand(model)
    ours, metrics = three_steps(make_train_step(model.loss, tx), state, batches)
    (params, _, _, count), others = three_steps(by_hand, start(state), batches)
    assert int(count) == int(ours.step) == 3
    equal(ours.params, params)
    equal(metrics, others)
    assert not np.allclose(jax.tree.leaves(params)[1], jax.tree.leaves(state.params)[1])


@pytest.mark.slow  # the VAE's makes the same claim, of one player
def test_the_gan_by_hand_is_the_librarys():
    model = gan(generator_hidden=(8, 8), discriminator_hidden=(6,), pieces=2)
    tx = {player: adam(1e-4, b1=0.8) for player in model.loss}
    batches = [{"x": x} for x in jax.random.normal(jax.random.key(0), (3, 10, 2))]
    state = jax.jit(lambda key: init_state(model, tx, key, batches[0]))(jax.random.key(1))
    by_hand, start = steps.gan_by_hand(model)
    ours, metrics = three_steps(make_train_step(model.loss, tx), state, batches)
    (discriminator, generator, stats, *_), others = three_steps(by_hand, start(state), batches)
    equal(ours.params, {"discriminator": discriminator, "generator": generator})
    equal(ours.stats, stats)
    equal(metrics, others)


@pytest.fixture
def few_images(monkeypatch):
    """Batches of 2 noisy images: what is built is not run, or once."""

    def images(batch_size, transform=None):
        x = jnp.zeros((2, 28, 28, 1))
        return [{"x": x, "y": jnp.zeros(2, jnp.int32)}]

    for module in (layers, latent):
        monkeypatch.setattr(module, "images", images)
    monkeypatch.setattr(layers, "BATCHES", 1)


@pytest.mark.slow_cases("conv_stack")
@pytest.mark.parametrize(
    "name",
    [*(name for name, case in CASES.items() if case.module == "layers"), "conv_vae", "step_wavenet", "step_tcn"],
)
def test_pytorch_has_as_many_parameters(name, few_images):
    pytest.importorskip("torch")
    built = CASES[name].build(name, ExitStack())
    assert next(iter(built)) == "ours"
    more = 4 * 256 if name == "lstm" else 0  # PyTorch's second bias
    assert built.pop("pytorch").parameters - more == built["ours"].parameters > 0
    assert len({contender.parameters for contender in built.values()}) == 1


def test_without_pytorch_its_contender_is_left_out(few_images, monkeypatch):
    monkeypatch.setattr(contenders, "torch_device", lambda: None)
    assert list(CASES["mlp_vae"].build("mlp_vae", ExitStack())) == ["ours"]


def test_ours_is_cut_over_the_devices_and_plain_is_not():
    from flax import linen as nn

    from gen_models.models.supervised.classification import classifier

    seen = []

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, dropout, train):
            seen.append(contexts())
            return nn.Dense(2)(Conv(2, (3, 3))(x).mean((1, 2)))

    model = classifier(Network(), (6, 6, 1), 2)
    x = jax.random.normal(jax.random.key(0), (16, 6, 6, 1))
    batches = [{"x": x, "y": jnp.arange(16) % 2}]
    built = (contenders.ours(model, adam(1e-2), batches), contenders.plain_xla(model, adam(1e-2), batches))
    losses = []
    for contender, count, in_plain in zip(built, (contenders.cores(), 1), (False, True), strict=True):
        losses.append([float(contender.run()) for _ in range(3)])
        mesh, is_plain = seen[-1]
        assert is_plain == in_plain
        assert (1 if mesh is None else mesh.size) == max(d for d in range(1, min(8, count) + 1) if 16 % d == 0)
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][2] < losses[0][0]


def _two_contenders(stack):
    return Clock(ours=(0.0, 1), by_hand=(0.0, 1)).contenders


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setitem(CASES, "step_vae", Case("steps", "quick", 3, 0.0))
    monkeypatch.setattr(steps, "step_vae", _two_contenders)
    monkeypatch.setattr("gen_models.training.startup.start", lambda: None)


def test_the_rows_are_written_and_shown(quick, tmp_path, capsys):
    path = tmp_path / "rows.json"
    benchmark.main(["step_vae", "--json", str(path), "--rounds", "4"])
    [row] = json.loads(path.read_text())
    assert {"name", "median_ms", "against", "ratio", "rounds"} <= row.keys()
    assert (row["name"], row["against"], row["rounds"]) == ("step_vae", "by_hand", 4)
    assert row["ratio"] > 0 and row["median_ms"] > 0
    assert row["machine"]["cores"] >= 1 and row["machine"]["jax"] == jax.__version__
    shown = capsys.readouterr().out
    assert "step_vae" in shown
    assert ("pip install 'gen_models[benchmark]'" in shown) == (importlib.util.find_spec("torch") is None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lstn"], "unknown case 'lstn': did you mean 'lstm'?"),
        (["lstm", "--rounds", "0"], "--rounds must be 1 or more, got 0"),
        (["--profile"], "--profile takes one case, got 0"),
        (["--profile", "lstm", "--json", "a.json"], "--json is for what is measured"),
        (["lstm", "--json", "no/such/folder/a.json"], "--json: the folder .*no/such/folder does not exist"),
        (["lstm", "--json", "."], "--json: . is a folder"),
        (["--profile", "step_vae", "--contender", "pytorch"], "unknown contender of step_vae 'pytorch'"),
        (["--profile", "step_vae"], "only a step that XLA compiled"),
    ],
)
def test_bad_options_are_refused(words, message, quick):
    with pytest.raises(ValueError, match=message):
        benchmark.main(words)


def test_what_compiling_took_is_in_the_rows_and_the_table(quick, tmp_path, monkeypatch, capsys):
    def compiled(stack):
        ours, other = _two_contenders(stack).items()
        return dict([(ours[0], ours[1]._replace(compile_seconds=12.5)), other])

    monkeypatch.setattr(steps, "step_vae", compiled)
    benchmark.main(["step_vae", "--json", str(tmp_path / "rows.json")])
    assert [row["compile_s"] for row in json.loads((tmp_path / "rows.json").read_text())] == [12.5]
    assert "12.5" in capsys.readouterr().out


def test_a_group_stands_for_its_cases():
    sampling = chosen(["sampling"])
    assert {"sampling_made", "sampling_gated_pixel_cnn", "sampling_diagonal_lstm"} <= set(sampling)
    assert all(name.startswith("sampling_") for name in sampling)
    assert chosen(["lstm", "sampling_made", "sampling"])[:2] == ["lstm", "sampling_made"]
    assert len(chosen(["sampling_made", "sampling"])) == len(sampling)
    with pytest.raises(ValueError, match="unknown case 'samplign': did you mean 'sampling'"):
        chosen(["samplign"])


@pytest.mark.parametrize(
    "name",
    [
        "pixel_cnn",
        "gated_pixel_cnn",
        pytest.param("pixel_cnn_pp", marks=pytest.mark.slow),
        pytest.param("pixel_snail", marks=pytest.mark.slow),
    ],
)
def test_without_masks_a_network_sees_later_pixels_and_costs_as_much(name):
    """As many parameters, and an output of the first pixel that depends on others; the model's own depends on none."""
    shape, key = (8, 8, 1), jax.random.key(0)
    masked = causal.model(name, shape, features=4, layers=1)
    found = []
    for model in (masked, causal.without_masks(masked, causal.UNMASKED[name])):

        @jax.jit
        def gradient(x, model=model):
            params, _ = model.init(key, {"x": x})
            flat, unflatten = ravel_pytree(params)
            params = unflatten(0.3 * jax.random.normal(key, flat.shape))
            return jax.grad(lambda x: model.apply(params, {}, x)[0, 0, 0].sum())(x), flat.size

        dx, size = gradient(jax.random.uniform(key, (1, *shape)))
        found.append((bool((dx != 0).any()), int(size)))
    assert found == [(False, found[0][1]), (True, found[0][1])]


def test_the_list_names_every_case(capsys):
    benchmark.main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in CASES)


def test_time_is_shared_out_among_what_is_under_way():
    spans = [
        profile.Span(0, 10, "while.1", control=True),
        profile.Span(1, 5, "dot.1"),
        profile.Span(3, 5, "dot.2"),
        profile.Span(6, 8, "dot.1"),
        profile.Span(19, 30, "late"),  # the step ends before
    ]
    shares = profile.share_out(spans, [(-2, 12), (18, 20)])
    # dot.1: [1, 3], half of [3, 5], [6, 8]; the loop: [0, 1], [5, 6], [8, 10]; none: [-2, 0], [10, 12], [18, 19].
    assert shares == {"dot.1": 5, "dot.2": 1, "while.1": 4, profile.NONE: 5, "late": 1}


def test_a_profile_finds_the_products_of_a_loop():
    size, length = 64, 5

    @jax.jit
    def step(w):
        with jax.named_scope("layer"):
            return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), w, length=length)[0]

    w = jnp.eye(size)
    contender = Contender(lambda: step(w).block_until_ready().sum(), 0, hlo=lambda: step.lower(w).compile().as_text())
    seconds, operations = profile.profile(contender, 4)
    np.testing.assert_allclose(sum(o.seconds for o in operations), seconds)
    np.testing.assert_allclose(sum(o.share for o in operations), 1)
    products = [o for o in operations if o.source.endswith("dot_general") and "layer" in o.source]
    assert sum(o.runs for o in products) == length
    assert all(o.shape == f"f32[{size},{size}]" and o.seconds > 0 for o in products)
    kinds = profile.by_kind(operations)
    np.testing.assert_allclose(sum(o.share for o in kinds), 1)
    assert profile.NONE in [o.kind for o in kinds]
