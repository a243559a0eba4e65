"""What runs meet where they are: data that fail, full disks, file systems without locks, little memory, no home."""

import errno
import os

import jax
import numpy as np
import optax
import pytest

from gen_models import machine
from gen_models.core import TrainState
from gen_models.data import order
from gen_models.run import cli, config, directory, job, room
from gen_models.run.experiments import find
from gen_models.training import startup


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_a_warning_and_a_held_lock_refuses(number, tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    vae = find("vae")
    asked = directory.Request(vae, "base", vae.variants["base"], tmp_path / "r")
    with directory.open_run(asked):
        with pytest.raises(directory.InUse), directory.open_run(asked):
            pass
        monkeypatch.setattr(directory.fcntl, "flock", flock)
        with directory.open_run(asked):
            pass
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and os.strerror(number) in said and len(said.splitlines()) == 1


SMALL = ["--dataset", "digits", "--batch-size", "16", "--hidden", "8", "--latent", "2", "--importance-samples", "2"]


def _steps_of(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.slow
def test_data_that_fail_in_training_and_an_evaluation_that_fails_leave_a_saved_state(tmp_path, monkeypatch, capsys):
    """One line for the data; a traceback, with a line on the state, for code. All that was owed is done in the end."""
    words = [*SMALL, "--steps", "6", "--evaluate-every", "3", "--log-every", "1", "--run-dir", str(tmp_path / "r")]
    vae, broken = find("vae"), {4}
    step_of = order.Order.step

    def step(self, number):
        if number in broken:
            raise OSError(f"photos/{number}.jpg is cut off")
        return step_of(self, number)

    def mistaken(self, state, key):
        raise TypeError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(job.Job, "evaluate", mistaken)
        with pytest.raises(TypeError, match="a mistake") as raised:
            cli.main(vae, words)
    assert f"{tmp_path / 'r' / 'checkpoints' / '3'} is complete" in raised.value.__notes__[0]
    assert _steps_of(tmp_path / "r") == [3]
    capsys.readouterr()
    monkeypatch.setattr(order.Order, "step", step)
    assert cli.main(vae, words) == config.BAD_DATA
    said = capsys.readouterr().err
    saved = _steps_of(tmp_path / "r")[-1]
    assert "photos/4.jpg is cut off" in said and f"{saved} is complete" in said and len(said.splitlines()) == 1, said
    broken.clear()
    assert cli.main(vae, words) == config.FINISHED
    rows = [row["step"] for row in directory.Run(tmp_path / "r").history() if any("validation" in k for k in row)]
    assert rows == [3, 6]


def test_a_full_disk_in_training_keeps_what_is_complete(tmp_path, monkeypatch, capsys):
    def log(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(directory.Run, "log", log)
    words = [*SMALL, "--steps", "2", "--log-every", "1", "--run-dir", str(tmp_path / "r")]
    assert cli.main(find("vae"), words) == config.CANNOT_WRITE
    said = capsys.readouterr().err
    assert "No space left" in said and f"{tmp_path / 'r'} has no checkpoint yet" in said and not said.count("Traceback")


@pytest.mark.parametrize(("free", "fits"), [(10_000, False), (10**10, True), (None, True)])
def test_a_state_larger_than_memory_is_refused_before_it_is_made(free, fits, monkeypatch):
    params = {"net": {"kernel": jax.ShapeDtypeStruct((30, 20), np.float32), "bias": jax.ShapeDtypeStruct((20,), "f4")}}
    state = jax.eval_shape(lambda p: TrainState(0, jax.random.key(0), p, {}, {"": optax.adam(0.1).init(p)}, p), params)
    monkeypatch.setattr(room, "available_memory", lambda: free)
    assert room.size_of(params) == 4 * 620 and room.size_of(state) >= 4 * 4 * 620
    if fits:
        room.refuse_too_large(state)
    else:
        with pytest.raises(ValueError, match=r"net/kernel, 30 x 20.*--optimizer sgd"):
            room.refuse_too_large(state)


def test_limits_of_containers_are_known(tmp_path):
    """Both versions of control groups, a limit of a parent, and none."""
    (tmp_path / "groups").write_text("0::/slurm/job\n4:memory:/old\n3:cpu:/x\n")
    for folder, limit, used in (("slurm", "1000", "300"), ("slurm/job", "max", "200")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "memory.max").write_text(f"{limit}\n")
        (tmp_path / folder / "memory.current").write_text(f"{used}\n")
    (tmp_path / "slurm" / "memory.stat").write_text("anon 200\ninactive_file 50\nactive_file 20\n")
    (tmp_path / "memory" / "old").mkdir(parents=True)
    (tmp_path / "memory" / "old" / "memory.limit_in_bytes").write_text("5000")
    (tmp_path / "memory" / "old" / "memory.usage_in_bytes").write_text("1000")
    assert sorted(machine._of_groups(tmp_path / "groups", tmp_path)) == [1000 - 300 + 70, 4000]
    assert machine.available_memory() > 2**20


def test_a_home_that_is_not_there_leaves_programs_unkept_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "file").touch()
    for home in ("/proc/nowhere", str(tmp_path / "file")):
        monkeypatch.setenv("HOME", home)
        assert startup._cache_folder() is None
    monkeypatch.setattr(startup.os.path, "expanduser", lambda path: path)  # as for a user whom the system does not know
    assert startup._cache_folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert startup._cache_folder().parent == tmp_path / "gen_models"


def test_a_platform_that_is_not_there_is_said(monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(ValueError, match=r"'cuda'.*JAX_PLATFORMS=cpu"):
        startup.host_devices(1)
