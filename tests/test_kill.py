"""A run that was killed, wherever it was, ends in the bits of one that was left alone."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.measures.figure import Figure
from gen_models.run.directory import Run
from tools import kill_check as tool

TINY = "--dataset digits --batch-size 16 --network.hidden 8 --network.norm batch --ema-decay 0.9"
INTERVALS = "--checkpoint-every 10 --log-every 5 --evaluate-every 30"
FIGURE = Figure("accuracy", 0.5, "fraction", "digits, test")


def test_a_kill_of_a_classifier_with_batch_norm_changes_no_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # most of the time is compilation
    words = [*TINY.split(), *INTERVALS.split()]
    report = tool.kill_check("classifier", "mlp", words, tmp_path, steps=60, kills=1)
    assert report.difference is None, report
    assert report.landed.total() == 1 and report.lives >= 2
    steps = {row["step"] for row in Run(tmp_path / "killed_1").history()}
    assert steps == set(range(5, 61, 5))
    assert (tmp_path / "killed_1" / "checkpoints" / "60").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("name", tool.SIZES)
def test_twenty_kills_change_no_bit(name, tmp_path):
    experiment, variant = tool.named(name)
    words = [*tool.SIZES[name].split(), *tool.INTERVALS]
    report = tool.kill_check(experiment, variant, words, tmp_path, steps=20 * tool.STEPS_PER_KILL, kills=20)
    assert report.difference is None, report
    assert report.landed.total() == 20 and report.lives >= 21
    assert report.landed[tool.SAVING] >= 3 and len(report.landed) >= 3, report


def test_the_command_checks_what_is_named_at_its_sizes_and_fails_where_a_run_differs(tmp_path, monkeypatch, capsys):
    seen = []

    def check(name, variant, words, folder, *, steps, kills, seed):
        seen.append((name, variant, " ".join(words), folder.name, steps, kills, seed))
        difference = "the figures differ" if name == "vae" else None
        return tool.Report(Counter({tool.SAVING: 2, tool.ENDING: 1}), 4, 7, difference)

    monkeypatch.setattr(tool, "kill_check", check)
    words = ["--kills", "3", "--seed", "5", "--folder", str(tmp_path)]
    assert tool.main(["classifier:mlp", *words]) == 0
    assert "bit-equal: yes" in capsys.readouterr().out
    assert tool.main(["vae", "gan_grid", *words, "--steps", "9"]) == 1
    said = capsys.readouterr().out
    assert "3 kills (2 saving, 0 starting, 0 training, 1 ending), 4 lives, 7 steps repeated" in said
    assert "bit-equal: no, the figures differ" in said and f"in {tmp_path}" in said
    whole = " ".join(tool.INTERVALS)
    assert seen == [
        ("classifier", "mlp", f"{tool.SIZES['classifier']} {whole}", "classifier_mlp", 3 * tool.STEPS_PER_KILL, 3, 5),
        ("vae", "base", f"{tool.SIZES['vae']} {whole}", "vae_base", 9, 3, 5),
        ("gan_grid", "gan", f"{tool.SIZES['gan_grid']} {whole}", "gan_grid_gan", 9, 3, 5),
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s | {"zero": -s["zero"]}, "zero"),  # equal as numbers
        (lambda s: s | {"zero": s["zero"].astype(jnp.float16)}, "zero"),
        (lambda s: s | {"zero": s["zero"][None]}, "zero"),
        (lambda s: s | {"key": jax.random.key(1)}, "key"),
        (lambda s: s | {"key": jax.random.key(0, impl="rbg")}, "key"),
        (lambda s: s | {"player": {"count": s["player"]["count"] + 1}}, "player/count"),
        (lambda s: s | {"player": {}}, "player/count"),
        (lambda s: s | {"zoo": jnp.ones(1)}, "zoo"),
        (lambda s: jax.tree.map(jnp.copy, s), None),
    ],
)
def test_a_changed_bit_is_found_and_its_leaf_named(change, named):
    nan = np.array([0x7FC00001], np.uint32).view(np.float32)
    state = {"key": jax.random.key(0), "nan": nan, "player": {"count": jnp.int32(3)}, "zero": jnp.zeros(2)}
    assert tool.differing_leaf(state, change(state)) == named
    assert tool.differing_leaf(change(state), state) == named


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run.log(6, 2.0, {"train/loss": 1.0}), r"row 3 of metrics\.jsonl differs: None and {'step': 6"),
        (lambda run: run.rewind(3), r"row 2 of metrics\.jsonl differs: .* and None"),
        (lambda run: run.finish([FIGURE._replace(value=0.25)], 1.0), r"the figures differ: Figure.*0\.5.*0\.25"),
        (lambda run: run.finish([FIGURE, FIGURE], 1.0), "the figures differ: None"),
        (lambda run: run.curves.write_bytes(b"PNG, cut"), r"the picture curves\.png differs"),
        (lambda run: run.finish([FIGURE], 2.0), None),
    ],
)
def test_a_changed_row_figure_or_picture_is_found(tmp_path, change, said):
    runs = [Run(tmp_path / name) for name in "ab"]
    for number, run in enumerate(runs):
        run.folder.mkdir()
        for step in (2, 4):
            run.log(step, step + number, {"train/loss": 1 / step})
        run.finish([FIGURE], number)
        run.curves.write_bytes(b"PNG")
    change(runs[1])
    found = tool.differing_file(runs[0].folder, runs[1].folder)
    assert found is None if said is None else re.match(said, str(found)), found
