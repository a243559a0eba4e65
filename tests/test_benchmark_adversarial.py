"""The benchmark's GANs: steps by hand and PyTorch's do what ours do, and a penalty's cost is counted in passes."""

from contextlib import ExitStack

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_benchmark import equal, three_steps

from gen_models.core import init_state, make_train_step
from gen_models.models.adversarial.dcgan import dcgan, features_of
from tools.benchmarks import CASES, adversarial, steps
from tools.benchmarks.measure import rows

KEY = jax.random.key(2)


def operations(step, state, batch):
    """Of the compiled program: multiplications and additions, and bytes that it reads and writes."""
    found = jax.jit(step).lower(state, batch).compile().cost_analysis()
    return np.array([found["flops"], found["bytes accessed"]])


@pytest.mark.slow
def test_the_dcgan_by_hand_is_the_librarys_with_the_statistics_of_both_players():
    model, tx = dcgan((8, 8, 1), latent=3, features=(4,)), optax.adam(1e-3, b1=0.5)
    batches = [{"x": x} for x in jax.random.uniform(jax.random.key(0), (3, 6, 8, 8, 1))]
    state = jax.jit(lambda key: init_state(model, adversarial.players(tx), key, batches[0]))(jax.random.key(1))
    by_hand, start = steps.gan_by_hand(model, tx)
    ours, metrics = three_steps(make_train_step(model.loss, adversarial.players(tx)), state, batches)
    (discriminator, generator, stats, *_), others = three_steps(by_hand, start(state), batches)
    equal(ours.params, {"discriminator": discriminator, "generator": generator}, 1e-4)
    equal(ours.stats, stats, 1e-4)
    equal(metrics, others, 1e-4)
    costs = [operations(make_train_step(model.loss, adversarial.players(tx)), state, batches[0])]
    costs.append(operations(by_hand, start(state), batches[0]))
    np.testing.assert_allclose(*costs, rtol=0.03)  # whatever else the machine does


@pytest.mark.slow
def test_wgan_gp_by_hand_is_the_librarys_in_one_program_for_all_players_and_repeats(monkeypatch):
    """Its losses, penalty, random numbers and loop are written out, so that this holds the library's."""
    monkeypatch.setattr(adversarial, "WIDTH", 16)
    model, tx = adversarial.wgan_gp(), adversarial.players(adversarial.OF_WGAN_GP)
    batches = [{"x": x} for x in jax.random.normal(jax.random.key(0), (3, 5 * 12, 2))]
    state = jax.jit(lambda key: init_state(model, tx, key, batches[0]))(jax.random.key(1))
    step = make_train_step(model.loss, tx, repeats={"discriminator": adversarial.CRITICS})
    step.__name__ = "wgan_gp_of_the_benchmark"  # chex counts by name
    ours, metrics = three_steps(chex.assert_max_traces(step, n=1), state, batches)
    (d_params, g_params, *_), others = three_steps(
        adversarial.wgan_gp_by_hand, adversarial.started_by_hand(state), batches
    )
    equal(ours.params, {"discriminator": {"network": d_params}, "generator": {"network": g_params}}, 1e-4)
    assert metrics.keys() == others.keys()
    equal(metrics, others, 1e-3)
    step = make_train_step(model.loss, tx, repeats={"discriminator": adversarial.CRITICS})
    costs = [operations(step, state, batches[0])]
    costs.append(operations(adversarial.wgan_gp_by_hand, adversarial.started_by_hand(state), batches[0]))
    np.testing.assert_allclose(*costs, rtol=0.03)


def test_the_penaltys_cost_is_counted_in_backward_passes():
    times = {"ours": [9.0, 18.0], "without": [5.0, 10.0], "forward": [3.0, 6.0]}
    times |= {"one_batch": [2.0, 4.0], "one_batch_forward": [1.0, 2.0]}
    found = rows("gradient_penalty", times, {}, CASES["gradient_penalty"].rows_of(times))
    assert [row["ratio"] for row in found[-2:]] == [2, 4]
    assert [row["against_ms"] for row in found[-2:]] == [3000, 1500]
    assert all("backward passes" in row["against"] for row in found[-2:]) and len(found) == 6
    assert CASES["step_vae"].rows_of(times) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan28", "wgan_gp28"])
def test_pytorchs_players_have_our_parameters_and_our_losses(name):
    """Ours of images that are turned round, with equal weights; in training, where batch norm uses the batch."""
    torch = pytest.importorskip("torch")
    shape, _, options = adversarial.WHOLE[name]
    shape, penalised = (8, 8, 1), bool(options)
    model = dcgan(shape, **options)
    x = jax.random.uniform(jax.random.key(0), (6, *shape))
    params, stats = jax.jit(model.init)(jax.random.key(1), {"x": x})
    networks = adversarial.torch_networks(shape, not penalised)
    [channels], side = features_of(shape), 4

    def of_units(array, axis):  # a map's units: ours are [H, W, C], PyTorch's [C, H, W] turned round
        before, after = array.shape[:axis], array.shape[axis + 1 :]
        array = np.reshape(array, (*before, side, side, channels, *after))
        array = np.flip(np.moveaxis(array, axis + 2, axis), (axis + 1, axis + 2))
        return array.reshape(*before, -1, *after)

    g, d = (jax.device_get(params[player]) for player in ("generator", "discriminator"))
    making = [
        of_units(g["Dense_0"]["kernel"], 1).T,
        *(of_units(g["BatchNorm_0"][part], 0) for part in ("scale", "bias")),
        g["ConvTranspose_0"]["kernel"].transpose(2, 3, 0, 1),
    ]
    [conv, head] = (next(v for n, v in d.items() if n.startswith(kind)) for kind in ("Conv", "Dense"))
    judging = [np.flip(conv["kernel"], (0, 1)).transpose(3, 2, 0, 1), of_units(head["kernel"], 0).T]
    if penalised:
        judging = [judging[0], conv["bias"], judging[1], head["bias"]]
    for network, values in zip(networks, (making, judging), strict=True):
        with torch.no_grad():
            for own, value in zip(network.parameters(), values, strict=True):
                own.copy_(torch.from_numpy(np.array(value)))
    z = jax.random.uniform(jax.random.split(KEY)[0] if penalised else KEY, (6, 100), jnp.float32, -1, 1)
    turned = torch.from_numpy(np.array(np.flip(2 * x - 1, (1, 2)).transpose(0, 3, 1, 2)))
    fake = networks[0](torch.from_numpy(np.array(z)))
    loss_of = adversarial.torch_wgan_gp if penalised else adversarial.torch_dcgan
    losses = {player: float(loss(params, stats, {"x": x}, KEY, step=0)[0]) for player, loss in model.loss.items()}
    np.testing.assert_allclose(losses["generator"], float(loss_of(networks[1], None, fake).detach()), rtol=1e-4)
    theirs = [float(loss_of(networks[1], turned, fake.detach()).detach()) for _ in range(20)]
    # Between which points the penalty looks is drawn anew each time; without it all are the same.
    np.testing.assert_allclose(losses["discriminator"], np.mean(theirs), rtol=2e-3 if penalised else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, adversarial.PENALISED], ids=["dcgan", "wgan_gp"])
def test_whole_steps_have_the_same_parameters_and_ours_is_the_same_on_one_device(options, monkeypatch):
    monkeypatch.setattr(adversarial, "WHOLE", {"tiny": ((8, 8, 1), 4, options)})
    built = adversarial.whole(ExitStack(), "tiny")
    assert len({contender.parameters for contender in built.values()}) == 1
    losses = {name: [float(contender.run()) for _ in range(2)] for name, contender in built.items()}
    assert list(losses)[:2] == ["ours", "plain_xla"] and np.isfinite(list(losses.values())).all()
    np.testing.assert_allclose(losses["ours"], losses["plain_xla"], rtol=1e-3)
