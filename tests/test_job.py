"""A job of a group: what its runs share, what a seed changes, and that evaluation reads no number of the training.

Every experiment is held to this at its tiny sizes; what a job makes of its parts, on a toy that is looked through.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state
from gen_models.data import epoch_order
from gen_models.data.splits import Splits
from gen_models.measures.base import Measures, headline_of
from gen_models.measures.figure import Figure
from gen_models.run.config import TRACED, Experiment, Optimisation, RunConfig
from gen_models.run.experiments import find, names
from gen_models.run.fields import names_marked, ranges, traced_fields, with_values
from gen_models.run.job import keys, make_job, optimizer_of
from gen_models.training.loop import fit
from tests.tiny import tiny_config


def _is_repeat(name):
    """Whether the experiment asks another question of the model of one that is tested."""
    return not find(name).model.__module__.endswith(f".{name}")


LIKE_OTHERS = (
    "detection",
    "segmentation",
    "boundaries",
    "sequential_mnist",
    "speech",
    "ablations.attention",
    "autoencoder_uses",
    "babi",
    "bias_variance",
    "captions",
    "curse_of_dimensionality",
    "dcgan",
    "decision_regions",
    "information",
    "initialisation",
    "mlp_against_cnn",
    "softmax",
    "universal_approximation",
    "autoencoders",
    "gan_imbalance",
    "vae_beta",
    "vae_decoders",
    "linear_regression",
    "nonlinear_regression",
    "generative_against_discriminative",
    "uci_regression",
    "memory",
    "music",
    "posterior_collapse",
    "semi_supervised",
    "sentiment",
    "speech_enhancement",
    "summaries",
    "stacked_mnist",
    "translation",
    "vq_vae",
    "wavenet",
)  # with the same kinds of parts as experiments beside them
EACH = [pytest.param(n, marks=pytest.mark.slow if _is_repeat(n) or n in LIKE_OTHERS else ()) for n in names()]


def _configs(experiment):
    """Two configs of a group that differ in the seed and in every TRACED field, none of which is 0."""
    variants = [tiny_config(experiment, variant) for variant in experiment.variants]
    config = max(variants, key=lambda config: len(names_marked(config, TRACED)))
    if experiment.name == "experiments.vae":  # whose importance-weighted objective has no beta
        config = variants[0]
    one, other = {}, {}
    for name in names_marked(config, TRACED):
        low, high, _ = ranges(config).get(name, (0.2, 0.8, False))
        one[name], other[name] = (low + share * (high - low) for share in (0.3, 0.4))
    return with_values(config, one), with_values(config, other | {"seed": 1})


def _assert_same_bits(found, expected):
    chex.assert_trees_all_equal_structs(found, expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def _figures(job, state, key):
    """Of the measures that do not say that they read TRACED fields; times are not looked at."""
    measures = [one for one in job.measures if isinstance(one, Measures) and not getattr(one, "reads_traced", False)]
    split = job.test(key).first(40)
    found = [figure for one in measures for figure in one.figures(job.trained(state), split, key)]
    return [figure for figure in found if figure.unit != "s"]


@pytest.mark.parametrize("name", EACH)
def test_every_experiments_job(name):
    experiment = find(name)
    config, other = _configs(experiment)
    job = make_job(experiment, config)
    state = job.initial(config.seed)

    # The state is what `init_state` gives of the first batch, the run's key and the config's optimizer.
    own = jax.random.split(jax.random.key(config.seed), 5)
    rows = epoch_order(config.seed, 0, len(job.data.train))[: job.batches(0).batch_size]
    if job.data.contiguous:  # tracks in the order of the data, whatever the seed
        rows = jax.tree.map(lambda leaf: leaf[0], job.batches(0).rows(0, 1))
    batch = job.batches(0).make(job.batches(0).data, rows, jax.random.fold_in(own[1], 0))
    by_hand = jax.jit(
        lambda key, batch: init_state(
            experiment.model(config, job.data), optimizer_of(experiment, config), key, batch, ema=config.ema_decay > 0
        )
    )
    _assert_same_bits(state, by_hand(own[0], batch))

    # Runs of the group share data, transform and step; a seed changes the rows alone.
    assert job.step is job.step
    ours, theirs = job.batches(config.seed), job.batches(other.seed)
    assert ours.make is theirs.make
    assert all(a is b for a, b in zip(jax.tree.leaves(ours.data), jax.tree.leaves(theirs.data), strict=True))
    if len(job.data.train) > 1 and not job.data.contiguous:
        assert (ours.rows(0, 1) != theirs.rows(0, 1)).any()
    assert job.serves(replace(config, seed=5))

    # Evaluation reads no TRACED field; where a measure says that it does, the job is of that config alone.
    assert traced_fields(config), "this test needs a field marked TRACED"
    reads = any(getattr(measure, "reads_traced", False) for measure in job.measures)
    assert job.serves(other) is not reads
    assert set(job.numbers(other)) == set(() if reads else traced_fields(other))
    another = make_job(experiment, other)
    key = jax.random.key(3)
    assert _figures(job, state, key) == _figures(another, state, key)


@dataclass(frozen=True, kw_only=True)
class Config(Optimisation):
    """Of the toy below."""

    batch_size: int = 4
    steps: int = 3
    slope: Annotated[float, TRACED] = 2.0
    offset: Annotated[float, TRACED] = 0.0


@dataclass(frozen=True)
class Level:
    """A measure of the toy, with a headline."""

    reads_traced: ClassVar[bool] = False
    headline: ClassVar[Any] = ("level", "minimize")

    def figures(self, trained, split, key):
        yield Figure("Level", float(split.mean(_level, trained, key).value), "", split.where)


@dataclass(frozen=True)
class Late(Level):
    """A measure for the end alone, which reads what the loss reads."""

    reads_traced: ClassVar[bool] = True
    headline: ClassVar[Any] = None


def _level(model, params, stats, batch, key):
    return batch["x"] + params["w"]


def _noisy(batch, key):
    return batch | {"x": batch["x"] + jax.random.uniform(key, batch["x"].shape)}


def _data(config):
    x = np.arange(10, dtype=np.float32)
    return Splits.of_arrays({"x": x}, {"x": x[:5] + 50}, {"x": x[:4] + 70}, name="toy", transform=_noisy)


def _model(config, data):
    """w starts at the first batch's mean; the loss says that of its own batch, and the slope that it has got."""

    def init(key, batch):
        return {"w": batch["x"].mean()}, {}

    def loss(params, stats, batch, key, *, step, train=True):
        return config.slope * params["w"] ** 2, (stats, {"mean": batch["x"].mean(), "slope": config.slope * 1.0})

    return Model(init, loss)


def _toy(measures=(Level(),), data=_data, **more):
    return Experiment(__file__, None, {"only": Config()}, data, _model, lambda config: measures, **more)


def test_the_model_is_initialised_by_the_batch_of_its_first_step():
    """Whatever the order of the data and the noise of the transform."""
    for seed in (0, 5):
        config, logged = Config(seed=seed, learning_rate=0.0), []
        job = make_job(_toy(), config)
        state = job.initial(seed)
        start = float(state.params["w"])
        fit(
            job.step,
            state,
            job.batches(seed),
            steps=1,
            key=keys(seed).data,
            numbers=job.numbers(config),
            log=lambda step, values, logged=logged: logged.append(values),
            log_every=1,
        )
        assert float(np.mean(logged[0]["train/mean"])) == pytest.approx(start, rel=1e-6)


def test_the_step_takes_the_numbers_of_each_config():
    job = make_job(_toy(), Config(slope=2.0))
    assert job.numbers(Config(slope=3.0, learning_rate=0.5)) == {"slope": 3.0, "learning_rate": 0.5}
    state, traces = job.initial(0), []
    batch = {"x": jnp.arange(4.0)}

    @jax.jit
    def step(state, numbers):
        traces.append(0)
        return job.step(state, batch, numbers)

    for slope in (2.0, 3.0):
        _, metrics = step(state, job.numbers(Config(slope=slope)))
        assert float(metrics["slope"]) == slope
        expected = make_job(_toy((Late(),)), Config(slope=slope)).step(state, batch)[1]  # a constant of the program
        np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    assert len(traces) == 1


def test_which_configs_a_job_serves():
    job = make_job(_toy(), Config())
    assert job.names == ("learning_rate", "slope")
    assert job.serves(Config(slope=9.0, learning_rate=1.0, seed=4))
    assert not job.serves(Config(offset=1.0)), "a term that the program has not got"
    assert not job.serves(Config(slope=0.0)), "a term that the program has got, and a run of its own would not"
    alone = make_job(_toy((Level(), Late())), Config())
    assert (alone.names, alone.numbers(Config())) == ((), {})
    assert alone.serves(Config(seed=4))
    assert not alone.serves(Config(slope=9.0))
    assert not alone.serves(Config(slope=0.0))


def test_what_is_measured_on_the_way_and_at_the_end():
    job = make_job(_toy((Late(), Level())), Config(evaluated=2))
    state, key = job.initial(0), jax.random.key(0)
    w = float(state.params["w"])
    (name, value), *others = job.evaluate(state, key).items()
    assert (name, others) == ("validation/level", [])
    assert 70.5 < value - w < 71.5 + 1e-3, "the first two of 70, 71, 72, 73, and noise from 0 to 1"
    assert job.objective() == ("validation/level", "minimize")
    assert [figure.name for figure in job.figures(state, key)] == ["Level", "Level"]
    assert job.figures(state, key)[0].measured_on == "toy, test, 5 examples"
    assert job.sampler() is None
    assert [headline_of(measure) for measure in job.measures] == [None, ("level", "minimize")]


def test_data_without_parts_to_measure_on():
    job = make_job(_toy(data=lambda config: Splits.of_arrays({"x": np.zeros(8, np.float32)})), Config())
    assert (job.held_out().word, job.objective()) == ("samples", ("samples/level", "minimize"))
    assert job.test(jax.random.key(0)).word == "train"
    assert make_job(_toy(()), Config()).objective() is None


def test_averaged_parameters_are_what_is_evaluated():
    job = make_job(_toy(), Config(ema_decay=0.5))
    state = job.initial(0)
    np.testing.assert_array_equal(state.ema["w"], state.params["w"])
    state = state._replace(ema={"w": jnp.float32(1000)})
    assert float(job.trained(state).params["w"]) == 1000
    assert job.evaluate(state, jax.random.key(0))["validation/level"] > 1000


def test_the_seed_draws_the_noise_of_the_end_only_where_the_data_say_so():
    def words(job, key):
        return [job.figures(state, jax.random.key(seed))[0].value for seed in key]

    job = make_job(_toy(), Config())
    state = job.initial(0)
    assert len(set(words(job, (0, 1)))) == 1
    redraws = make_job(_toy(data=lambda config: replace(_data(config), redraws=True)), Config())
    assert len(set(words(redraws, (0, 1)))) == 2


def test_shapes_are_those_of_the_state():
    job = make_job(_toy(), Config(ema_decay=0.5))
    found, state = job.shapes(), job.initial(0)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_bad_input_is_told_before_anything_is_compiled():
    with pytest.raises(ValueError, match="batch_size=40 is larger than the data, which have 10 examples"):
        make_job(_toy(), Config(batch_size=40))
    without = Experiment(__file__, None, {}, _data, _model, lambda config: ())
    with pytest.raises(ValueError, match="give it an `optimizer`, or a config that is an `Optimisation`"):
        optimizer_of(without, RunConfig())


def _players(config, data):
    """Two players that fall by the mean of the batch that each sees; the second one is updated once a step."""

    def init(key, batch):
        return {"critic": jnp.zeros([]), "maker": jnp.zeros([])}, {}

    def loss_of(name):
        return lambda params, stats, batch, key, *, step, train=True: (params[name] * batch["x"].mean(), (stats, {}))

    return Model(init, {name: loss_of(name) for name in ("critic", "maker")})


def _contest(repeats):
    def rates(config):
        return {player: optax.sgd(config.learning_rate) for player in ("critic", "maker")}

    return replace(_toy(optimizer=rates, repeats=lambda config: repeats), model=_players)


def test_players_are_repeated_as_the_experiment_says():
    config = Config(learning_rate=0.5)
    job = make_job(_contest({"critic": 2}), config)
    after, _ = job.step(job.initial(0), {"x": jnp.arange(4.0)}, job.numbers(config))
    np.testing.assert_allclose(after.params["critic"], -0.5 * 1 - 0.5 * 2)  # the means of 0, 2 and of 1, 3
    np.testing.assert_allclose(after.params["maker"], -0.5 * 1)
    for repeats, config, message in (
        ({"critics": 2}, Config(), "critics"),
        ({"critic": 0}, Config(), "repeats must be 1 or more, got critic: 0"),
        ({"critic": 2}, Config(accumulate=0), "accumulate must be 1 or more, got 0"),
        ({"critic": 3}, Config(), "--batch-size 4 makes batches of 4 examples, which cannot be cut into 3 parts"),
        ({"critic": 2}, Config(accumulate=4), "cannot be cut into 8 parts"),
    ):
        with pytest.raises(ValueError, match=message):
            make_job(_contest(repeats), config)


def _counting(config, data):
    """A model that counts the steps of each place of the batch since its sequence began."""

    def loss(params, stats, batch, key, *, step, carry, train=True):
        return params["w"] * carry.mean(), (stats, {"count": carry.max()}, carry + 1)

    return Model(lambda key, batch: ({"w": jnp.zeros([])}, {}), loss, init_carry=lambda p, b: jnp.zeros(len(b["x"])))


def test_a_models_carry_goes_from_step_to_step():
    job = make_job(replace(_toy(), model=_counting), Config())
    state, batch = job.initial(0), {"x": jnp.zeros(4), "start": jnp.array([False, True, False, False])}
    assert state.carry.shape == job.shapes().carry.shape == (4,)
    for step in range(3):
        state, metrics = job.step(state, batch, job.numbers(Config()))
        assert float(metrics["count"]) == step
    assert state.carry.tolist() == [3, 1, 3, 3]


def test_keys_are_one_for_each_use():
    found = np.stack([jax.random.key_data(key) for key in (*keys(0), *keys(1))])
    assert len(np.unique(found, axis=0)) == 10


def test_a_search_is_not_judged_by_what_the_table_reports():
    """Where the validation part is trained on, the held-out part is the test part, and there is no objective."""
    experiment = find("vae")
    config = tiny_config(experiment, "base")
    assert make_job(experiment, config).objective() == ("validation/elbo", "maximize")
    assert make_job(experiment, replace(config, train_split="train+validation")).objective() is None
