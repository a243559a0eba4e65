"""What a process settles first: several hosts that are as one, and compiled programs that the next process finds."""

import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.vae import EXPERIMENT
from gen_models.machine import cores
from gen_models.run import cli, config
from gen_models.run.restore import load_run

ROOT = Path(__file__).parent.parent
TINY = ["--dataset", "digits", "--batch-size", "16", "--hidden", "16", "--latent", "2", "--importance-samples", "2"]
# Linear in the gradients, so that runs can be compared.
TINY += ["--optimizer", "momentum", "--learning-rate", "0.01", "--ema-decay", "0.9"]


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _two(*words):
    """Two processes of one run, each with two devices."""
    address = f"127.0.0.1:{_port()}"
    common = [sys.executable, "-m", "experiments.vae", *TINY, *map(str, words), "--coordinator", address]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    return [
        subprocess.Popen(
            [*common, "--processes", "2", "--process-id", str(process)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]


def _ended(processes):
    """Exit statuses and output."""
    out = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], "\n".join(out)


def _leaves(folder):
    """On one device of this process, whatever saved it."""
    state = load_run(folder).state
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.ema, state.opt_state))]


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], pytest.param(["--shard-parameters"], marks=pytest.mark.slow)])
def test_two_processes_train_save_and_resume_as_one(how, tmp_path):
    words = ["--steps", "6", "--checkpoint-every", "2", "--log-every", "2", "--evaluate-every", "2"]
    assert cli.main(EXPERIMENT, [*TINY, *words, "--run-dir", str(tmp_path / "one")]) == config.FINISHED
    status, said = _ended(_two(*words, *how, "--run-dir", tmp_path / "two"))
    assert status == [config.FINISHED, config.FINISHED], said
    for a, b in zip(_leaves(tmp_path / "one"), _leaves(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    if how:
        return
    # As a kill after step 4 leaves it.
    shutil.copytree(tmp_path / "two", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "6")
    (tmp_path / "cut" / "result.json").unlink()
    status, said = _ended(_two(*words, "--run-dir", tmp_path / "cut"))
    assert status == [config.FINISHED, config.FINISHED] and "resuming at step 4" in said, said
    for a, b in zip(_leaves(tmp_path / "two"), _leaves(tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(a, b)


STREAMED = """
import dataclasses, sys

import jax
import numpy as np
import optax

from gen_models.core import init_state, make_train_step
from gen_models.data import load, streamed
from gen_models.data.transforms import binarise_dynamic
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.training.loop import fit
from gen_models.training.parallel import data_mesh, local
from gen_models.training.startup import start

address, processes, process, file = sys.argv[1:]
if processes == "2":
    start(coordinator=address, processes=2, process_id=int(process))
dataset, read = load("digits", "train[:64]"), set()


class Noted:
    def __len__(self):
        return 64

    def __getitem__(self, index):
        read.add(int(index))
        return {name: value[index] for name, value in dataset.arrays.items()}


on_disk = dataclasses.replace(dataset, arrays=None, source=Noted())
batches = streamed(on_disk, 16, shuffle=False, transform=binarise_dynamic)
model, tx = logistic_regression(dataset.shape, 10), optax.sgd(0.1, momentum=0.9)
state = init_state(model, tx, jax.random.key(0), {"x": np.zeros((1, *dataset.shape), np.float32)})
mesh = data_mesh() if processes == "2" else None
out = fit(make_train_step(model.loss, tx), state, batches, steps=6, key=jax.random.key(1), mesh=mesh)
np.savez(file, *jax.tree.leaves(local(out.state.params)), read=sorted(read))
"""


def test_each_of_two_processes_reads_its_own_examples_of_the_batches_that_one_process_reads(tmp_path, monkeypatch):
    """Noise of the transform included: the batches are the same ones, and so are the parameters."""
    program, address = tmp_path / "program.py", f"127.0.0.1:{_port()}"
    program.write_text(STREAMED)
    words = [str(program), address]
    processes = [
        subprocess.Popen(
            [sys.executable, *words, "2", str(process), str(tmp_path / f"{process}.npz")],
            cwd=ROOT,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    monkeypatch.setattr(sys, "argv", [*words, "1", "0", str(tmp_path / "one.npz")])
    runpy.run_path(str(program))
    status, said = _ended(processes)
    assert status == [0, 0], said
    one, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("one", 0, 1))
    assert set(one["read"]) == set(range(64))
    # Of each batch of 16, the first half is of the first process's two devices, and the second half of the others.
    assert set(first["read"]) == {i for i in range(64) if i % 16 < 8}
    assert set(second["read"]) == {i for i in range(64) if i % 16 >= 8}
    for name in set(one.files) - {"read"}:
        np.testing.assert_allclose(first[name], one[name], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(tmp_path):
    processes = _two("--steps", "1000000", "--log-every", "1", "--run-dir", tmp_path / "r")
    rows, began = tmp_path / "r" / "metrics.jsonl", time.monotonic()
    while not (rows.exists() and rows.stat().st_size) and time.monotonic() < began + 60:
        time.sleep(0.1)
    processes[1].terminate()
    status, said = _ended(processes)
    assert status == [config.INTERRUPTED, config.INTERRUPTED] and "interrupted and saved at step" in said, said
    assert [path for path in (tmp_path / "r" / "checkpoints").iterdir() if path.name.isdigit()]


@pytest.mark.slow
def test_programs_are_kept_for_the_next_process_and_users_choices_stay(tmp_path):
    """By default in the user's cache directory, where a second process finds all that it needs."""
    code = (
        "import jax, jax.monitoring as monitoring\n"
        "found = []\n"
        "monitoring.register_event_listener(lambda name, **_: found.append(name.rsplit('/', 1)[-1]))\n"
        "from gen_models.training.startup import start\n"
        "start()\n"
        "assert float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((3, 3)))) == 27\n"
        "print(len(jax.devices()), found.count('cache_hits'), found.count('cache_misses'))"
    )
    here = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    here |= {"XDG_CACHE_HOME": str(tmp_path)}

    def run(**more):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**here, **more}, capture_output=True, text=True, check=True
        )
        return [int(word) for word in done.stdout.split()]

    devices, hits, misses = run()
    assert devices == cores() and hits == 0 and misses > 0
    assert run() == [devices, misses, 0]
    folder = next((tmp_path / "gen_models").iterdir())
    before = len(list(folder.iterdir()))
    assert run(JAX_NUM_CPU_DEVICES="3", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))[0] == 3
    assert list((tmp_path / "mine").iterdir()) and len(list(folder.iterdir())) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "2"], "--processes and --process-id need --coordinator HOST:PORT"),
        (["--coordinator", "auto"], "cannot start with --coordinator auto"),
        (["--batch-size", "12", "--shard-parameters"], "--batch-size 12 must be a multiple of the 8 devices"),
    ],
)
def test_what_cannot_start_is_said_in_one_line(words, message, tmp_path, capsys):
    status = cli.main(EXPERIMENT, [*TINY, *words, "--run-dir", str(tmp_path / "r")])
    error = capsys.readouterr().err
    assert status == config.BAD_INPUT and message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()
