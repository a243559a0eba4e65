"""The best state: kept, found again after a kill, measured where training stops early."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state, make_train_step
from gen_models.data import in_memory
from gen_models.run import cli, config
from gen_models.run.directory import existing_run
from gen_models.run.experiments import find
from gen_models.run.job import make_job
from gen_models.run.restore import load_run
from gen_models.sweep.search import score
from gen_models.sweep.stacked import refuse_unstackable
from gen_models.training.best import Best
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.loop import fit

SMALL = find("small", Path(__file__).parent / "stand_in" / "small.py")
VALUES = [5.0, 3.0, float("nan"), 4.0, 2.0, 2.0, 6.0, 7.0, 1.0, 0.0]  # of the evaluations at steps 2, 4, 6, ...


def _loss(params, stats, batch, key, *, step, train=True):
    return jnp.mean((params["w"] - batch["x"] - jax.random.normal(key)) ** 2), (stats, {})


TX = optax.sgd(0.1)
MODEL = Model(lambda key, batch: ({"w": jnp.zeros(3)}, {}), _loss)
STEP = make_train_step(MODEL.loss, TX)
BATCHES = in_memory({"x": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)}, 4, seed=0)


class Killed(BaseException):
    """No Exception, before which `fit` saves its state."""


class Careful(Checkpoints):
    """Checks at each save that the best state which the notes name is on disk."""

    def save(self, step, state, notes=None):
        named = notes["best"]["step"]
        assert named is None or (self.folder.parent / "best" / str(named)).is_dir()
        super().save(step, state, notes)


def walk(folder, patience, *, kill_at=None, every=3, steps=20, better="minimize", values=VALUES, log=None):
    """Train where `folder` left off; evaluations give `values`, and a kill comes as the one at `kill_at` begins."""
    sign = -1 if better == "maximize" else 1

    def evaluate(state):
        if int(state.step) == kill_at:
            raise Killed
        return {"validation/x": sign * values[int(state.step) // 2 - 1], "validation/y": 0.0}

    with Careful(folder / "checkpoints") as checkpoints, Checkpoints(folder / "best", keep=1) as kept:
        best = Best("validation/x", better, kept, patience)
        state = init_state(MODEL, TX, jax.random.key(1), {"x": jnp.zeros((1, 3))})
        if checkpoints.latest() is not None:
            state = checkpoints.restore(jax.eval_shape(lambda: state))
        options = {"key": jax.random.key(2), "checkpoints": checkpoints, "checkpoint_every": every, "log": log}
        out = fit(STEP, state, BATCHES, steps=steps, evaluate=evaluate, evaluate_every=2, best=best, **options)
        return out, best, kept.restore(jax.eval_shape(lambda: out.state))


def same(a, b):
    for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow_cases("maximize-0-20-20-0.0", "maximize-4-20-20-0.0", "minimize-0-20-20-0.0", "minimize-4-20-20-0.0")
@pytest.mark.parametrize(
    ("patience", "ends", "best_step", "value"),
    [(1, 6, 4, 3.0), (2, 8, 4, 3.0), (3, 16, 10, 2.0), (4, 20, 20, 0.0), (0, 20, 20, 0.0)],
)
@pytest.mark.parametrize("better", ["minimize", "maximize"])
def test_training_stops_after_so_many_evaluations_without_a_new_best(
    patience, ends, best_step, value, better, tmp_path
):
    """NaN is no new best, and neither is the same value again."""
    out, best, kept = walk(tmp_path, patience, better=better)
    sign = -1 if better == "maximize" else 1
    assert (out.status, out.step, int(out.state.step)) == ("finished", ends, ends)
    assert (best.step, best.value, int(kept.step)) == (best_step, sign * value, best_step)
    assert out.checkpoint == tmp_path / "checkpoints" / str(ends)  # the last state is kept as well
    same(kept, walk(tmp_path / "other", 0, steps=best_step)[0].state)
    again, after, _ = walk(tmp_path, patience)  # as after a kill before anything was measured: not a step more
    assert again.step == ends and (after.step, after.since) == (best.step, best.since)


@pytest.mark.slow_cases("16", "4")
@pytest.mark.parametrize("kill_at", range(2, 17, 2))
def test_a_kill_at_any_evaluation_changes_neither_the_end_nor_the_best(kill_at, tmp_path):
    """Every 3rd step is saved and every 2nd evaluated, so that most kills lose evaluations and bests."""
    with pytest.raises(Killed):
        walk(tmp_path / "r", 3, kill_at=kill_at)
    out, best, kept = walk(tmp_path / "r", 3)
    assert (out.step, best.step, best.since, int(kept.step)) == (16, 10, 3, 10)
    assert {path.name for path in (tmp_path / "r" / "best").iterdir()} <= {"4", "10"}
    whole, _, of_whole = walk(tmp_path / "whole", 3)
    same(out.state, whole.state)
    same(kept, of_whole)


def test_a_best_state_that_a_checkpoint_names_is_there_until_a_newer_checkpoint_is(tmp_path):
    """After the kill at step 12 the newest checkpoint, of step 9, names the best of step 4: it is kept."""
    with pytest.raises(Killed):
        walk(tmp_path, 0, kill_at=12)
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"4", "10"}
    worse = [5.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]  # evaluated otherwise from here on
    _, best, kept = walk(tmp_path, 0, values=worse)
    assert (best.step, int(kept.step)) == (4, 4)


@pytest.mark.parametrize("what", ["the log", "the best state"])
@pytest.mark.parametrize("step", [10, 14])
def test_an_evaluation_counts_once_though_what_follows_it_failed(what, step, tmp_path, monkeypatch):
    """The state is saved before the error leaves `fit`, and the evaluation is repeated by the one that goes on."""
    if what == "the best state" and step == 14:
        step = 4  # a best one again

    def fails(at, *_):
        if at == step:
            raise OSError("no space")

    take = Best.take
    with monkeypatch.context() as patch:
        if what == "the best state":
            patch.setattr(Best, "take", lambda *words: (fails(words[1]), take(*words)))
        with pytest.raises(OSError, match="no space"):
            walk(tmp_path / "r", 3, log=fails if what == "the log" else None)
    rows = []
    out, best, kept = walk(tmp_path / "r", 3, log=lambda at, values: rows.append(at))
    assert rows[0] == step and len(rows) == len(set(rows))
    assert (out.step, best.step, best.since, int(kept.step)) == (16, 10, 3, 10)


def test_an_evaluation_without_the_metric_is_named(tmp_path):
    with Checkpoints(tmp_path) as kept:
        with pytest.raises(ValueError, match="gave no 'validation/z': it gave validation/x"):
            Best("validation/z", "minimize", kept).take(1, None, {"validation/x": 1.0})
        with pytest.raises(ValueError, match="patience must not be negative"):
            Best("validation/z", "minimize", kept, -1)


WORDS = ["--steps", "40", "--early-stopping", "2", "--evaluate-every", "2", "--checkpoint-every", "5"]


def train(folder, *words):
    return cli.main(SMALL, [*WORDS, "--run-dir", str(folder), *words])


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_run_that_stops_early_is_measured_at_its_best_and_goes_on_when_asked(tmp_path, capsys):
    folder = tmp_path / "r"
    assert train(folder) == config.FINISHED
    found, rows = result(folder), existing_run(folder).history()
    distances = {row["step"]: row["validation/distance"] for row in rows if "validation/distance" in row}
    best = min(distances, key=lambda step: distances[step])
    assert found["step"] == max(distances) == best + 4 < 40
    assert found["measured_at"] == best and found["best"] == {"metric": "validation/distance", "value": distances[best]}
    figure = found["figures"][0]
    assert figure["value"] == distances[best]  # of a walk, whatever the split
    assert figure["note"] == f"of a walk; measured at step {best}, the best on validation"
    assert f"stopped early at step {best + 4} of 40, as asked: the best was" in capsys.readouterr().out
    assert int(load_run(folder).state.step) == best and int(load_run(folder, best=False).state.step) == best + 4
    # Killed before it was measured, it is measured without a step more.
    shutil.copytree(folder, tmp_path / "killed")
    (tmp_path / "killed" / "result.json").unlink()
    assert train(tmp_path / "killed") == config.FINISHED
    assert result(tmp_path / "killed")["figures"] == found["figures"]
    assert existing_run(tmp_path / "killed").history() == rows
    # More steps alone would end where it ended; what goes on is said.
    capsys.readouterr()
    assert train(folder, "--steps", "60") == config.BAD_INPUT
    assert "2 evaluations after its best: to go on, give a higher --early-stopping, or 0" in capsys.readouterr().err
    assert train(folder, "--early-stopping", "0") == config.FINISHED
    assert result(folder)["step"] == 40 and "measured_at" not in result(folder)
    earlier = json.loads((folder / f"result_at_{best + 4}.json").read_text())
    assert earlier == found
    assert {str(best + 4), "40"} <= {path.name for path in (folder / "checkpoints").iterdir()}
    assert [path.name for path in (folder / "best").iterdir()] == [str(best)]


def test_the_best_state_is_kept_where_asked_and_the_last_is_measured(tmp_path):
    words = ["--early-stopping", "0", "--steps", "12", "--learning-rate", "0.1"]
    assert train(tmp_path / "r", *words, "--keep-best") == config.FINISHED
    assert train(tmp_path / "plain", *words) == config.FINISHED
    assert result(tmp_path / "r")["figures"] == result(tmp_path / "plain")["figures"]
    best = int(load_run(tmp_path / "r", best=True).state.step)
    assert best < 12 and int(load_run(tmp_path / "r").state.step) == 12
    with pytest.raises(ValueError, match="has kept no best state: train with --keep-best"):
        load_run(tmp_path / "plain", best=True)


def test_what_has_nothing_to_go_by_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    assert train(tmp_path / "r", "--evaluate-every", "0") == config.BAD_INPUT
    assert "give --evaluate-every (evaluate_every= in the library)" in capsys.readouterr().err
    own = dataclasses.replace(SMALL.variants["base"], early_stopping=2, evaluate_every=2)
    without = dataclasses.replace(SMALL, measures=lambda config: [])
    with pytest.raises(ValueError, match="need a figure of a validation split to go by"):
        make_job(without, own)
    for fields in ({"early_stopping": 2}, {"early_stopping": 0, "keep_best": True}):
        with pytest.raises(ValueError, match="follow one run, and those of a stack end together"):
            refuse_unstackable(make_job(SMALL, dataclasses.replace(own, **fields)))
    assert not (tmp_path / "r").exists()


def test_a_search_judges_a_run_that_stops_early_by_its_best():
    from gen_models.sweep.report.study import RunRecord

    history = [{"step": step, "seconds": 0.0, "v/x": value} for step, value in enumerate(VALUES[:8])]
    record = RunRecord("a", 0, "finished", history=history)
    assert score(record, ("v/x", "minimize"), best=True) == 2.0
    assert score(record, ("v/x", "maximize"), best=True) == score(record, ("v/x", "minimize")) == 7.0
