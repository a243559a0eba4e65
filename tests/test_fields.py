"""Configs of every experiment as dotted names, as JSON and as a command line's words; and what is refused."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated

import pytest

from gen_models.run.arguments import parse, validate
from gen_models.run.config import INCIDENTAL, TRACED, Experiment, InputError, Optimisation, Range, RunConfig
from gen_models.run.experiments import find, names
from gen_models.run.fields import (
    CLASS,
    field_names,
    flat,
    from_json,
    names_marked,
    ranges,
    settings,
    to_json,
    traced_fields,
    value_of,
    with_values,
)

VARIANTS = [(name, variant) for name in names() for variant in find(name).variants]


@dataclass(frozen=True, kw_only=True)
class Wide:
    """A part."""

    hidden: tuple[int, ...] = (3, 4)
    rate: Annotated[float, TRACED, Range(0.0, 0.5)] = 0.0
    place: Annotated[str, INCIDENTAL] = "here"


@dataclass(frozen=True, kw_only=True)
class Deep:
    """Another."""

    layers: int = 2
    rate: Annotated[float, TRACED, Range(0.0, 0.9, log=True)] = 0.25


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A config with two parts."""

    first: Wide | Deep = field(default_factory=Wide)
    second: Wide | Deep | None = None
    scale: Annotated[float, TRACED] = 1.5
    pairs: tuple[tuple[int, int], ...] = ((1, 2),)


def nested(config):
    """Dotted name -> value by `dataclasses.asdict`, which knows nothing of this project."""
    found = {}
    for name, value in dataclasses.asdict(config).items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_of_every_experiment(name, variant):
    """JSON gives back the config, and dotted names reach each of its fields, whatever its network is."""
    config = find(name).variants[variant]
    text = json.dumps(to_json(config), allow_nan=False)
    assert from_json(type(config), json.loads(text)) == config
    assert {own: value_of(config, own) for own in field_names(config)} == nested(config)
    parts = {
        f.name: type(v).__name__
        for f in dataclasses.fields(config)
        if dataclasses.is_dataclass(v := getattr(config, f.name))
    }
    assert flat(json.loads(text)) == json.loads(json.dumps(nested(config))) | parts
    values = {own: value_of(config, own) for own in (*traced_fields(config), *ranges(config))}
    assert with_values(config, values) == config
    validate(config)


@pytest.mark.parametrize("name", names())
def test_no_words_are_the_variant(name):
    experiment = find(name)
    for variant in (None, *list(experiment.variants)[-1:]):
        assert parse(experiment, variant, []) == experiment.variants[variant or next(iter(experiment.variants))]


@pytest.mark.parametrize("name", names())
def test_every_tiny_size_is_a_field_of_some_variant(name):
    """A misspelt one would leave the tests with the published size."""
    experiment = find(name)
    known = {own for config in experiment.variants.values() for own in field_names(config)}
    ladder = {own for config in find("likelihood_ladder").variants.values() for own in field_names(config)}
    assert set(experiment.tiny) <= known | ladder
    assert set(experiment.swept or ()) <= set(experiment.variants)


def test_marks_of_nested_fields():
    config = Config(second=Deep())
    assert names_marked(config, TRACED) == ["first.rate", "second.rate", "scale"]
    assert traced_fields(config) == ("second.rate", "scale")  # what is 0 stays a constant
    assert "first.place" in names_marked(config, INCIDENTAL)
    assert "run_dir" in names_marked(config, INCIDENTAL)
    assert ranges(config) == {"first.rate": Range(0.0, 0.5), "second.rate": Range(0.0, 0.9, log=True)}
    assert names_marked(Config(), TRACED) == ["first.rate", "scale"]  # a part that is None has no fields
    assert "second" in field_names(Config())


def test_other_values_by_dotted_names():
    config = with_values(Config(), {"steps": 3, "first.hidden": (9,), "first.rate": 0.5})
    assert config == Config(steps=3, first=Wide(hidden=(9,), rate=0.5))
    assert with_values(config, {}) == config
    # A part and one of its fields: the field is the new part's.
    assert with_values(config, {"first.layers": 7, "first": Deep(rate=0.1)}) == Config(
        steps=3, first=Deep(layers=7, rate=0.1)
    )
    assert config.first.hidden == (9,), "the config itself stays as it was"


def test_json_keeps_parts_apart_and_tuples_of_tuples():
    for config in (Config(), Config(first=Deep(layers=5), second=Wide(hidden=()), pairs=((3, 4), (5, 6)))):
        again = from_json(Config, json.loads(json.dumps(to_json(config))))
        assert again == config
        assert hash(again) == hash(config), "lists would not be hashable"
    assert to_json(Config())["first"] == {CLASS: "Wide", "hidden": [3, 4], "rate": 0.0, "place": "here"}
    assert flat(to_json(Config(second=Deep())))["second"] == "Deep"


def test_fields_that_are_not_there_stand_at_their_defaults():
    assert from_json(Config, {"first": {CLASS: "Deep"}}) == Config(first=Deep())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stepz": 3}, r"the config has the fields \['stepz'\], which Config does not"),
        ({"first": {CLASS: "Deep", "hidden": [3]}}, r"\['hidden'\], which Deep does not"),
        ({"first": {CLASS: "Shallow"}}, "first is of the class 'Shallow': known are Wide, Deep"),
        ({"first": {"layers": 3}}, "first is of the class None: known are Wide, Deep"),
    ],
)
def test_json_of_another_version_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        from_json(Config, fields)


def test_settings_are_what_shapes_a_result():
    config = Config(seed=7, run_dir="somewhere", first=Wide(place="there"), second=Deep())
    found = settings(config)
    assert found == settings(dataclasses.replace(config, seed=8, run_dir=None, log_every=3, first=Wide()))
    assert not {"seed", "run_dir", "first.place", "evaluate_every"} & set(found)
    assert (found["first"], found["second.layers"], found["scale"]) == ("Wide", 2, 1.5)
    assert found != settings(dataclasses.replace(config, second=Wide()))
    assert settings(config, leave_out=())["seed"] == 7


def ladder():
    return find("likelihood_ladder")


@pytest.mark.parametrize(
    ("variant", "words", "name", "value"),
    [
        ("gated_pixel_cnn", "--network.layers 5", "network.layers", 5),
        ("made", "--network.hidden 8 9", "network.hidden", (8, 9)),
        ("made", "--network.dropout 0.5", "network.dropout", 0.5),
        ("pixel_snail", "--network.no-attention", "network.attention", False),
        ("pixel_snail", "--network.mixtures 10", "network.mixtures", 10),
        ("diagonal_lstm", "--network.kind row", "network.kind", "row"),
        ("vae", "--batch-size 4", "batch_size", 4),
    ],
)
def test_words_name_fields_of_the_network(variant, words, name, value):
    config = parse(ladder(), variant, words.split())
    assert config == with_values(ladder().variants[variant], {name: value})
    assert value_of(config, name) == value


@pytest.mark.parametrize("words", ["--network.layers 5", "--network.hidden x", "--levels two", "--network.kind up"])
def test_mistyped_words_end_the_process(words, capsys):
    """`pixel_cnn` has blocks, and no layers: an option of another network is none."""
    with pytest.raises(SystemExit) as ended:
        parse(ladder(), "pixel_cnn", words.split())
    assert ended.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_an_unknown_variant_is_told_the_nearest():
    with pytest.raises(InputError, match=r"'pixel_cn'.*pixel_cnn"):
        parse(ladder(), "pixel_cn", [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "--steps must be 1 or more, got 0"),
        ({"seed": -1}, "--seed must not be negative, got -1"),
        ({"evaluate_every": -5}, "--evaluate-every must not be negative, got -5"),
        ({"scale": float("nan")}, "--scale must be finite, got nan"),
        ({"first.rate": float("inf")}, "--first.rate must be finite, got inf"),
        ({"accumulate": 3}, "--accumulate must divide --batch-size 128, got 3"),
        ({"ema_decay": 1.0}, "--ema-decay must be 0 or more and less than 1, got 1.0"),
        ({"ema_decay": -0.1}, "--ema-decay must be 0 or more and less than 1, got -0.1"),
    ],
)
def test_what_no_experiment_may_be_given(values, message):
    with pytest.raises(ValueError, match=message):
        validate(with_values(Config(), values))


def test_a_negative_learning_rate():
    with pytest.raises(ValueError, match=r"--learning-rate must not be negative, got -0\.1"):
        validate(Optimisation(learning_rate=-0.1))


def test_an_experiment_of_ones_own_is_found_by_its_file(tmp_path):
    """Also beside a folder called experiments, which hides nothing; and what is not there is named."""
    text = (
        "import gen_models as gm\nEXPERIMENT = gm.Experiment(__file__, None, {'only': gm.RunConfig()}, len, len, len)\n"
    )
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "vae.py").write_text("raise ImportError('this is not the one')")
    (tmp_path / "own_of_mine.py").write_text(text)
    found = find("own_of_mine", tmp_path / "own_of_mine.py")
    assert isinstance(found, Experiment)
    assert found.name == "own_of_mine"
    assert find("experiments.vae", tmp_path / "experiments" / "vae.py").name == "experiments.vae"
    with pytest.raises(ValueError, match=r"gone\.py is not there"):
        find("gone", tmp_path / "gone.py")
    (tmp_path / "empty_of_mine.py").write_text("")
    with pytest.raises(ValueError, match="has no EXPERIMENT"):
        find("empty_of_mine", tmp_path / "empty_of_mine.py")
    with pytest.raises(ValueError, match=r"'vaee'.*vae"):
        find("vaee")
