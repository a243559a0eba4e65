"""Runs that share a program are those that each would be alone, stacked or one after another."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from sweep_runs import VAE, asked, found_in, small_config, starts_of
from tiny import tiny_config

from gen_models.run import config
from gen_models.run.directory import Request, existing_run
from gen_models.run.experiments import find, names
from gen_models.run.fields import traced_fields, value_of, with_values
from gen_models.run.job import keys, make_job
from gen_models.run.train import EndedBefore, run_job
from gen_models.sweep.choice import Choice
from gen_models.sweep.group import run_group
from gen_models.sweep.measure import bytes_per_member, cost, seconds_per_step
from gen_models.sweep.plan import Row, group_of, planned
from gen_models.sweep.report.study import Group
from gen_models.sweep.runner import Runner

pytest_plugins = ["sweep_fixtures"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["vmap", "scan"])
def test_a_stacked_run_is_what_it_is_alone(how, alone, tmp_path):
    """Figures, curves and checkpoints; on two devices; and a member that diverges disturbs no other."""
    job = make_job(VAE, small_config())
    watched = [one._replace(config=dataclasses.replace(one.config, tensorboard=True)) for one in asked(tmp_path)]
    ended = list(run_group(job, watched, how))
    assert sorted(e.status for e in ended) == ["diverged"] * 2 + ["finished"] * 4
    assert all(list((one.folder / "tensorboard").glob("events.*")) for one in watched)
    for one in asked(tmp_path):
        where = one.folder.relative_to(tmp_path)
        figures, history, stopped = found_in(one.folder)
        expected, before, diverged = found_in(alone / where)
        assert set(figures) == set(expected) and [r["step"] for r in history] == [r["step"] for r in before]
        for row, other in zip(history, before, strict=True):
            assert set(row) == set(other)
            np.testing.assert_allclose([row[k] for k in row], [other[k] for k in row], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose([figures[k] for k in figures], [expected[k] for k in figures], rtol=2e-5)
        assert stopped == diverged and (stopped is None) == (one.config.learning_rate < 1)
        if stopped is None:
            assert (one.folder / "samples" / "samples.png").exists() and (one.folder / "curves.png").exists()
    # A parent that looked before they ended, as another process's: none begins again.
    starts, alike = starts_of(tmp_path), list(run_group(job, asked(tmp_path), how))
    assert {(e.folder, e.status) for e in alike} == {(e.folder, e.status) for e in ended}
    assert {e.message for e in alike} == {"by another process"}
    for number, one in enumerate(asked(tmp_path)):
        if number == 0:  # as successive halving leaves it
            (one.folder / "result.json").unlink()
            existing_run(one.folder).stop("dropped", 20, "dropped after 20 steps")
        with pytest.raises(EndedBefore) as before:
            run_job(job, one, again=False)
        assert before.value.status == ("dropped", "finished", "diverged")[min(number, 1) + (number > 3)]
    assert starts_of(tmp_path) == starts == dict.fromkeys(starts, 1)


@pytest.mark.slow
def test_a_run_goes_on_alone_from_where_a_stack_left_it(alone, tmp_path):
    """Killed after 20 steps in a stack, finished alone and the other way round: the same figures."""
    half, job = asked(tmp_path)[:4], make_job(VAE, small_config())
    status, _ = run_job(job, half[0], until=20)
    assert status == config.PAUSED
    for one in half[1:3]:
        run_job(job, one, until=20)
    list(run_group(job, [half[0], half[1], half[3]], "vmap"))  # two of them begun, one not
    assert run_job(job, half[2])[0] == config.FINISHED
    for one in half:
        figures, history, _ = found_in(one.folder)
        expected, before, _ = found_in(alone / one.folder.relative_to(tmp_path))
        np.testing.assert_allclose([figures[k] for k in expected], list(expected.values()), rtol=2e-5)
        assert [row["step"] for row in history] == [row["step"] for row in before]


def test_other_numbers_and_seeds_trace_nothing_again(tmp_path):
    own, traced = small_config(), []

    def model(config, data):
        traced.append(isinstance(config.beta, jax.core.Tracer))
        return VAE.model(config, data)

    counted = dataclasses.replace(VAE, model=model)
    job = make_job(counted, own)
    for number, changes in enumerate(({}, {"learning_rate": 0.1}, {"beta": 4.0}, {"beta": 0.5, "seed": 3})):
        other = dataclasses.replace(own, **changes)
        assert job.serves(other)
        run_job(job, Request(counted, "base", other, tmp_path / str(number)))
    assert traced == [False, True]
    losses = [next(r for r in found_in(tmp_path / str(n))[1] if "train/loss" in r)["train/loss"] for n in range(4)]
    assert len(set(losses)) == 4  # and yet the numbers took effect
    without = make_job(VAE, dataclasses.replace(own, beta=0.0))
    assert "beta" not in without.names and not without.serves(own)  # its program has no such term


def _differing(own):
    """The config with other traced numbers."""
    return with_values(own, {name: value_of(own, name) * 0.75 for name in traced_fields(own)})


def _slow_if_alike(name):
    """Experiments that train another one's model say nothing new of a job."""
    experiment = find(f"experiments.{name}")
    own = Path(experiment.model.__code__.co_filename) == Path(experiment.file)
    return name if own else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.slow  # `test_job.py` holds every experiment to the same with fewer steps
@pytest.mark.parametrize("name", [_slow_if_alike(name) for name in names()])
def test_a_job_serves_other_seeds_and_numbers(name):
    """What sharing a job rests on: evaluation reads no traced number; a seed changes the order of the data alone."""
    experiment = find(f"experiments.{name}")
    own = dataclasses.replace(tiny_config(experiment, next(iter(experiment.variants))), seed=0)
    job = make_job(experiment, own)
    differing = dataclasses.replace(_differing(own) if job.names else own, seed=1)
    other = make_job(experiment, differing)
    assert job.serves(differing)
    again, theirs = job.batches(1), other.batches(1)
    for a, b in zip(jax.tree.leaves(theirs.rows(5, 3)), jax.tree.leaves(again.rows(5, 3)), strict=True):
        np.testing.assert_array_equal(a, b)
    row, key = jax.tree.map(lambda x: x[0], again.rows(5, 1)), jax.random.key(0)
    made = [b.make(b.data, row, key) for b in (again, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *made)
    state = job.initial(0)
    figures = [{f.name: f.value for f in of.figures(state, key) if f.name != "sampling"} for of in (job, other)]
    np.testing.assert_equal(figures[0], figures[1])  # what is NaN of an untrained model is NaN for both
    np.testing.assert_equal(job.evaluate(state, keys(0).evaluation), other.evaluate(state, keys(0).evaluation))


@pytest.mark.slow
def test_costs_are_those_of_a_step():
    job = make_job(VAE, small_config())
    found = cost(job)
    state = job.initial(0)
    assert found["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    # The products of a step: forwards once, backwards for the weights and (but for the first layer) the inputs.
    kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2]
    products = 2 * 16 * sum(3 * kernel.size for kernel in kernels)
    first = 2 * 16 * 64 * 16
    assert products - first <= found["FLOPs per step"] < 2 * products
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert bytes_per_member(job) >= 2 * size
    for how in ("one", "plain", "vmap"):
        assert 0 < seconds_per_step(job, job.config, how, 4, 0.05) < 1


def test_a_group_that_does_not_fit_is_split(tmp_path, monkeypatch):
    """By what one more member takes, and 0.8 of what there is."""
    members = [planned(tmp_path, Row("base", "base", small_config()), seed) for seed in range(10)]
    sweep = Runner(VAE, tmp_path, "vmap", None, print)
    group = group_of(members[0].config)
    sweep.choices[group] = Choice("vmap", {}, "as asked")
    sweep.groups[group] = Group(("base",), 10, "vmap", {}, "as asked")
    monkeypatch.setattr(sweep._crew, "pool", lambda kind: [None])
    for available, sizes in ((10**6, [10]), (1250, [10]), (1249, [5, 5]), (500, [4, 4, 2]), (10, [1] * 10)):
        monkeypatch.setattr(sweep._crew, "ask", lambda questions, a=available: [{"member": 100, "available": a}])
        assert [len(task.runs) for task in sweep._stacks(group, members)] == sizes
    assert "10 stacks" in sweep.groups[group].note
