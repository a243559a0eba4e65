"""Every failure that a history shows is found where it is induced, and a healthy course is accused of nothing."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_models as gm
from gen_models.diagnosis import CHECKS, Check, Facts, Finding, History, Remedy, TrainingWarning, Watch, diagnose
from gen_models.diagnosis import samples as of_samples
from gen_models.diagnosis.adversarial import collapse_advice
from gen_models.evaluation.collapse import likeness
from gen_models.run.experiments import find
from gen_models.run.facts import facts_of

ROWS = 20
GAN = "train/{}/{}"


def course(**series):
    """A history of rows at steps 10, 20, ...; names have `__` for a slash, values are functions of t from 0 to 1."""
    t = np.linspace(0, 1, ROWS)
    return History(
        {"step": 10 * (i + 1), "seconds": float(i)}
        | {name.replace("__", "/"): float(value(t[i])) for name, value in series.items()}
        for i in range(ROWS)
    )


def names(diagnosis):
    return [finding.name for finding in diagnosis.findings]


def players(real=lambda t: 0.7, fake=lambda t: 0.3, generator=lambda t: 1.2, norm=lambda t: 0.5, **more):
    """What a GAN with probabilities logs; of a healthy one, where nothing else is said."""
    return course(
        train__discriminator__real_probability=real,
        train__discriminator__fake_probability=fake,
        train__discriminator__loss=lambda t: -math.log(max(real(t), 1e-9)) - math.log(max(1 - fake(t), 1e-9)),
        train__discriminator__grad_norm=lambda t: 0.5,
        train__generator__loss=generator,
        train__generator__grad_norm=norm,
        **more,
    )


DONE = Facts(steps=10 * ROWS, ended="finished", ended_at=10 * ROWS)
HEALTHY = {
    "a GAN": players(),
    "a generator that has learned": players(norm=lambda t: 0.001**t, real=lambda t: 0.5, fake=lambda t: 0.5),
    "a strong discriminator that leaves something to learn": players(real=lambda t: 0.9, fake=lambda t: 0.1),
    "a critic whose distance falls": course(
        train__discriminator__loss=lambda t: -10 * (1.1 - t),
        train__discriminator__wasserstein=lambda t: 10 * (1.1 - t),
        train__discriminator__grad_norm=lambda t: 3.0,
        train__generator__loss=lambda t: 100 * math.sin(9 * t),
        train__generator__grad_norm=lambda t: 5 * (1.1 - t),
    ),
    "a loss that falls": course(train__loss=lambda t: 2 * 0.1**t, train__grad_norm=lambda t: 1 + t),
    "a bound below 0": course(train__loss=lambda t: -100 * t, train__grad_norm=lambda t: 50.0),
    "a VAE": course(train__loss=lambda t: 200 - 90 * t, train__kl=lambda t: 25 * t, train__grad_norm=lambda t: 9.0),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("facts", [Facts(steps=10 * ROWS), DONE], ids=["under way", "finished"])
def test_a_healthy_course_is_accused_of_nothing(name, facts):
    found = names(diagnose(HEALTHY[name], facts))
    assert found == ([] if facts.ended else ["unfinished"])


def test_a_discriminator_that_tells_all_apart_is_accused_whatever_its_loss():
    sure = players(real=lambda t: 0.7 + 0.299 * min(1, 2 * t), fake=lambda t: 0.3 - 0.299 * min(1, 2 * t))
    (finding,) = diagnose(sure, DONE).findings
    assert (finding.name, finding.certainty) == ("discriminator dominance", "likely") and "0.999" in finding.evidence
    hinge = course(train__discriminator__loss=lambda t: 2 * 1e-4**t, train__generator__grad_norm=lambda t: 1.0)
    assert names(diagnose(hinge, DONE)) == ["discriminator dominance"]
    penalised = course(
        train__discriminator__loss=lambda t: 2 * 1e-4**t + 3,
        train__discriminator__penalty=lambda t: 3.0,
        train__generator__grad_norm=lambda t: 1.0,
    )
    assert names(diagnose(penalised, DONE)) == ["discriminator dominance"]


def test_a_saturating_loss_tells_by_how_much_the_gradient_has_vanished():
    vanishing = players(
        real=lambda t: 1 - 0.3 * 1e-3**t,
        fake=lambda t: 0.3 * 1e-3**t,
        generator=lambda t: math.log1p(-0.3 * 1e-3**t),
        norm=lambda t: 1e-3**t,
    )
    by_name = {finding.name: finding for finding in diagnose(vanishing, DONE).findings}
    assert set(by_name) == {"vanishing generator gradient", "discriminator dominance"}
    assert by_name["vanishing generator gradient"].certainty == "certain"
    options = {"objective": "minimax", "discriminator_learning_rate": 4e-3}
    facts = Facts(steps=200, options=options, choices={"objective": ("minimax", "non_saturating")}, ended="finished")
    remedy = diagnose(vanishing, facts).findings[0].remedy
    assert remedy.startswith("--objective non_saturating; --discriminator-learning-rate below 0.004")


def test_a_gradient_that_fell_with_the_discriminators_loss_has_vanished_under_any_loss():
    squares = course(
        train__discriminator__loss=lambda t: 0.25 * 1e-4**t,
        train__generator__loss=lambda t: 0.5,
        train__generator__grad_norm=lambda t: 1e-4**t,
    )
    assert "vanishing generator gradient" in names(diagnose(squares, DONE))


def test_divergence_is_what_is_no_number_or_grows_without_bound():
    ended = Facts(steps=200, ended="diverged", ended_at=70, message="diverged at step 70")
    assert [(f.name, f.step, f.certainty) for f in diagnose(History(), ended).findings] == [
        ("divergence", 70, "certain")
    ]
    nan = course(train__loss=lambda t: math.nan if t > 0.5 else 1 - t, train__grad_norm=lambda t: 1.0)
    assert names(diagnose(nan, DONE)) == ["divergence"]
    critic = course(
        train__discriminator__wasserstein=lambda t: 1e6**t,
        train__discriminator__loss=lambda t: -(1e6**t),
        train__discriminator__grad_norm=lambda t: 1e5**t,
        train__generator__grad_norm=lambda t: 1e5**t,
    )
    finding = diagnose(critic, DONE).findings[0]
    assert finding.name == "divergence" and "penalty or clipped weights" in finding.remedy


def test_swings_that_grow_are_told_from_noise():
    phase = np.cos(np.pi * np.arange(ROWS))  # up and down from row to row
    swinging = History({"step": i, "seconds": 0, "train/loss": 1 + 0.01 * 1.5**i * phase[i]} for i in range(ROWS))
    assert names(diagnose(swinging, replace_steps(19))) == ["growing swings"]
    noise = np.random.default_rng(0).normal(size=ROWS)
    even = History({"step": i, "seconds": 0, "train/loss": 1 - 0.02 * i + 0.1 * noise[i]} for i in range(ROWS))
    assert names(diagnose(even, replace_steps(19))) == []


def replace_steps(steps):
    return Facts(steps=steps, ended="finished", ended_at=steps)


def test_a_player_without_a_gradient_and_a_loss_that_stays_are_found():
    dead = course(train__loss=lambda t: 2.303, train__grad_norm=lambda t: 0.0)
    assert names(diagnose(dead, DONE)) == ["no gradient", "flat loss"]
    noise = iter(np.random.default_rng(0).normal(size=ROWS))
    slow = course(train__loss=lambda t: 2.303 + 1e-4 * next(noise), train__grad_norm=lambda t: 1.0)
    facts = Facts(steps=200, options={"learning_rate": 1e-7}, ended="finished")
    (finding,) = diagnose(slow, facts).findings
    assert finding.name == "flat loss" and finding.remedy.startswith("--learning-rate above 1e-07")


@pytest.mark.parametrize(("better", "sign"), [("minimize", 1), ("maximize", -1)])
def test_overfitting_is_a_figure_that_worsens_while_the_loss_falls(better, sign):
    facts = Facts(steps=200, ended="finished", objective=("validation/score", better))
    figure = lambda t: sign * ((t - 0.4) ** 2 * 9 + 1)  # noqa: E731
    over = course(train__loss=lambda t: 2 - t, validation__score=figure)
    assert names(diagnose(over, facts)) == ["overfitting"]
    diverging = course(train__loss=lambda t: 2 + t, validation__score=figure)  # both worsen: no overfitting
    assert "overfitting" not in names(diagnose(diverging, facts))
    noise = iter(np.random.default_rng(0).normal(size=ROWS))
    level = course(train__loss=lambda t: 2 - t, validation__score=lambda t: sign * (1e-5**t + 0.02 * next(noise)))
    assert names(diagnose(level, facts)) == []  # it has reached what it can, and differs by chance
    still = course(train__loss=lambda t: 2 - t, validation__score=lambda t: sign * (2 - t))
    assert names(diagnose(still, facts)) == []


def test_a_code_that_tells_nothing_is_found_once_half_of_the_steps_are_done():
    unused = course(train__loss=lambda t: 200 - 90 * t, train__kl=lambda t: 0.02, train__grad_norm=lambda t: 9.0)
    assert names(diagnose(unused, DONE)) == ["posterior collapse"]
    assert names(diagnose(unused, Facts(steps=10_000))) == ["unfinished"]


def test_samples_that_lose_their_spread_or_modes_are_found():
    fallen = course(validation__spread_of_samples=lambda t: 1 - 0.9 * t)
    assert names(diagnose(fallen, Facts())) == ["mode collapse"] and diagnose(fallen).collapsed
    young = course(validation__spread_of_samples=lambda t: 0.3 * t)
    assert names(diagnose(young, Facts(steps=10_000))) == ["unfinished"]  # it may still learn to
    assert names(diagnose(young, DONE)) == ["mode collapse"]
    lost = course(samples__modes_covered=lambda t: 20 if t < 0.5 else 5)
    assert names(diagnose(lost, DONE)) == ["mode collapse"]
    won = course(samples__modes_covered=lambda t: round(25 * t), validation__spread_of_samples=lambda t: t)
    assert names(diagnose(won, DONE)) == []


def test_what_could_not_be_looked_for_is_said_with_what_it_needs():
    found = diagnose(History(), Facts(steps=5, ended="finished"))
    assert found.findings == () and found.looked == ("unfinished",)
    assert {name for name, _ in found.unseen} == {check.name for check in CHECKS} - {"unfinished"}
    assert dict(found.unseen)["overfitting"].startswith("a lone loss")


def test_a_check_of_ones_own_is_one_more_in_the_list():
    def look(history, facts):
        worst = history.series("train/gap").values.max()
        return Finding("wide gap", history.last_step, f"{worst:g}", "possible", "close it") if worst > 3 else None

    own = Check("wide gap", look, "train/gap", lambda history, facts: history.count("train/gap") > 0)
    assert names(diagnose(course(train__gap=lambda t: 4 * t), DONE, [*CHECKS, own])) == ["wide gap"]


def test_remedies_name_options_that_the_experiment_has_first():
    facts = Facts(options={"penalty": "none", "learning_rate": 0.1}, choices={"penalty": ("none", "wgan_gp")})
    r1, lower = Remedy("penalty", "r1", "a penalty"), Remedy("rate|learning_rate", "lower", "slower")
    assert facts.advice(r1, lower) == "--learning-rate below 0.1; a penalty"  # r1 is no word of this penalty
    assert Facts().advice(r1, Remedy("x", "lower", "")) == "a penalty"


@pytest.mark.parametrize(
    "remedy, value, said",
    [
        (Remedy("updates", "lower", "fewer"), 5, "--updates below 5"),
        (Remedy("updates", "lower", "fewer"), 1, ""),  # there is nothing below one update
        (Remedy("weight", "lower", "less"), 0.0, ""),
        (Remedy("rate", "lower", "slower"), None, "slower"),
        (Remedy("packing", "2", "packing"), 1, "--packing 2"),
        (Remedy("packing", "2", "packing"), 4, ""),
        (Remedy("clip_norm", "1", "clipped"), 0.0, "--clip-norm 1"),
        (Remedy("clip_norm", "1", "clipped"), 1.0, ""),
        (Remedy("clip_norm", "1", "clipped"), 0.5, ""),
        (Remedy("penalty", "r1", "a penalty"), "r1", ""),
    ],
)
def test_what_is_done_already_or_cannot_be_done_is_no_remedy(remedy, value, said):
    assert Facts(options={remedy.option: value}).advice(remedy) == said


def test_options_of_the_network_are_remedies_and_a_penalty_comes_without_batch_norm():
    facts = facts_of(find("experiments.dcgan").variants["dcgan"])
    advice = collapse_advice(facts)
    assert "--penalty r1 --network.no-discriminator-norm" in advice
    assert "--network.weights spectral" in advice and "--network.discrimination 16" in advice
    facts = facts_of(find("experiments.gan_losses").variants["hinge"])
    assert "--penalty r1;" in collapse_advice(facts) and "discriminator-norm" not in collapse_advice(facts)


def test_a_watch_says_each_failure_once_and_nothing_that_rows_of_before_show():
    rows = [{"step": i, "train/loss": 1.0 if i < 20 else math.inf, "train/grad_norm": 1.0} for i in range(40)]
    said = []
    watch = Watch(said.append)
    for row in rows:
        watch(row["step"], {name: value for name, value in row.items() if name != "step"})
    assert [(finding.name, finding.step) for finding in said] == [("divergence", 20)]
    again = Watch(said.append, history=rows)
    again(41, {"train/loss": math.inf})
    assert len(said) == 1


def test_a_watch_looks_at_ever_fewer_rows_so_that_its_time_stays_in_proportion():
    looks = []
    check = Check("none", lambda history, facts: looks.append(1), "", lambda history, facts: True)
    watch = Watch(checks=[check])
    for step in range(3000):
        watch(step, {"train/loss": 1.0})
    assert 100 < len(looks) < 400


def test_fit_tells_a_watch_what_it_logs_and_python_warns_where_nobody_else_does():
    """Steps of a quadratic with a rate at which it diverges slowly: its loss grows, and is finite."""
    model, batches = _growing(), _rows()
    state = gm.init_state(model, gm.sgd(2.1), jax.random.key(0), {"x": jnp.ones((4, 1))})
    step = gm.make_train_step(model.loss, gm.sgd(2.1))
    logged = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = gm.fit(
            step,
            state,
            batches,
            steps=60,
            key=jax.random.key(1),
            log=lambda at, values: logged.append(at),
            log_every=2,
            watch=Watch(),
        )
    assert outcome.status == "finished" and logged == list(range(2, 61, 2))
    said = [str(each.message) for each in caught if issubclass(each.category, TrainingWarning)]
    assert [line.startswith("divergence (likely)") for line in said].count(True) == 1 and len(said) == len(set(said))


def _growing():
    """A model whose loss is w^2 / 2."""

    def loss(params, stats, batch, key, *, step, train=True):
        return jnp.square(params["w"]).sum() / 2, (stats, {})

    return gm.Model(lambda key, batch: ({"w": jnp.ones(1)}, {}), loss)


def _rows():
    data = gm.Splits.of_arrays({"x": np.ones((8, 1), np.float32)}, name="ones", examples="points")
    return data.batches(4, seed=0)


def test_samples_are_found_alike_where_a_generator_repeats_images():
    draw = np.random.default_rng(0)
    data, other = draw.normal(size=(2, 400, 20))
    assert not likeness(other, data).collapsed
    repeated = other[draw.integers(10, size=400)] + 1e-3 * draw.normal(size=(400, 20))
    found = likeness(repeated, data)
    assert found.collapsed and 8 < found.support < 13 and 0.7 < found.spread < 1.1
    constant = likeness(np.ones((400, 20)) + 1e-3 * other, data)
    assert constant.collapsed and constant.spread < 0.01
    facts = Facts(options={"packing": 1})
    accused = of_samples.alike(found, 7, facts, "points")
    assert accused.name == "mode collapse" and accused.remedy.startswith("--packing 2")
    assert of_samples.alike(likeness(other, data), 7, facts, "points") is None
    young = of_samples.alike(constant, 7, Facts(steps=100, options={"steps": 100}, adversarial=False), "points")
    assert young.certainty == "possible" and young.remedy == "--steps above 100; a lower learning rate"
    assert of_samples.alike(constant, 7, Facts(steps=8), "points").certainty == "certain"


def test_a_loss_of_modes_is_no_matter_of_scale_for_the_support():
    """m of M equally likely points speak for m; the scale of the features changes nothing."""
    draw = np.random.default_rng(1)
    data = draw.normal(size=(500, 8))
    for scale in (1e-3, 1.0, 1e3):
        found = likeness(scale * data[draw.integers(5, size=500)], scale * data)
        assert found.support == pytest.approx(5, rel=0.1)


def test_missed_classes_and_modes_are_those_that_examples_have():
    facts = Facts()
    assert of_samples.classes_missed(5, 10, 10, 1, facts, "x").certainty == "certain"
    assert of_samples.classes_missed(6, 10, 10, 1, facts, "x") is None
    assert of_samples.classes_missed(5, 10, 8, 1, facts, "x") is None  # so many examples have no more
    assert of_samples.modes_missed(12, 25, 90.0, 1, facts).name == "mode collapse"
    assert of_samples.modes_missed(12, 25, 5.0, 1, facts) is None  # a young model, not a collapsed one
    assert of_samples.modes_missed(13, 25, 90.0, 1, facts) is None


def test_data_that_are_mostly_copies_have_no_distance_to_go_by():
    with pytest.raises(ValueError, match="exact copy"):
        likeness(np.random.default_rng(0).normal(size=(10, 2)), np.ones((10, 2)))
