"""Whatever happens to a run's disk, data or loss: a clear message, its own exit status, and no checkpoint lost."""

import ast
import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gen_models.data import in_memory
from gen_models.run import cli, config
from gen_models.run.experiments import find
from gen_models.run.restore import load_run

ROOT = Path(__file__).parent.parent
VAE, CLASSIFIER = find("vae"), find("classifier")
TINY = ["--dataset", "digits", "--batch-size", "16", "--hidden", "256", "--latent", "2", "--importance-samples", "2"]


@contextlib.contextmanager
def _small_disk(folder, megabytes):
    """A disk of its own."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _complete(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit())


def _one_line_of_error(error):
    lines = [line for line in error.strip().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in error, error
    return lines[0]


@pytest.mark.slow
def test_a_full_disk_ends_with_its_own_status_and_the_run_goes_on_once_there_is_room(tmp_path):
    """The disk fills up while the run trains; freed, the same command ends in the bits of a run that nothing befell."""
    words = [*TINY, "--steps", "1500", "--checkpoint-every", "50", "--evaluate-every", "0"]
    with _small_disk(tmp_path / "disk", 40) as disk:
        command = [sys.executable, "-m", "experiments.vae", *words, "--run-dir", str(disk / "r")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            while not _complete(disk / "r") and run.poll() is None:
                time.sleep(0.01)
            with contextlib.suppress(OSError), (disk / "ballast").open("wb") as ballast:
                while True:
                    ballast.write(b"x" * 2**16)
                    ballast.flush()
            said = run.communicate(timeout=120)[1]
            assert run.returncode == config.CANNOT_WRITE, said
        error = _one_line_of_error(said)
        assert re.search("No space left|RESOURCE_EXHAUSTED", error) and "goes on from there" in error, error
        kept = _complete(disk / "r")
        assert kept and f"{disk / 'r' / 'checkpoints' / str(max(kept))} is complete" in error, error
        (disk / "ballast").unlink()
        again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert again.returncode == config.FINISHED and "resuming at step" in again.stdout, again.stderr
        whole = [*command[:-1], str(tmp_path / "whole")]
        subprocess.run(whole, cwd=ROOT, capture_output=True, check=True)
        states = [load_run(folder).state for folder in (disk / "r", tmp_path / "whole")]
        for a, b in zip(*(np.concatenate([x.ravel() for x in _values(state)]) for state in states), strict=True):
            assert a == b
        figures = [
            json.loads((folder / "result.json").read_text())["figures"] for folder in (disk / "r", tmp_path / "whole")
        ]
        assert figures[0] == figures[1]


LATE = """
import asyncio, sys, threading
import tensorstore

promise, written = tensorstore.Promise.new()

async def wait():
    await written

loop = asyncio.new_event_loop()  # as Orbax's is: closed at the first array that cannot be written, others under way
loop.create_task(wait())
loop.call_soon(loop.call_soon, loop.stop)
loop.run_forever()
loop.close()

status = 0
if sys.argv[1] == "quiet":
    from gen_models.run.endings import guarded
    from gen_models.training.checkpoint import quiet

    def command():
        with quiet():
            raise OSError("the disk is full")

    status = guarded(command)
late = threading.Thread(target=promise.set_exception, args=(OSError("the disk is full"),))
late.start()
late.join()
sys.exit(status)
"""


def test_an_array_that_fails_after_the_command_has_ended_says_nothing():
    """What TensorStore's threads find out once the error is said, and print where nothing keeps them from it."""
    said = {}
    for word in ("quiet", "loud"):
        done = subprocess.run([sys.executable, "-c", LATE, word], cwd=ROOT, capture_output=True, text=True, check=False)
        said[word] = (done.returncode, done.stderr)
    assert "RuntimeError: Event loop is closed" in said["loud"][1]  # the message that is kept off is still the one
    status, error = said["quiet"]
    assert status == config.BAD_INPUT and error.strip().splitlines() == [_one_line_of_error(error)], error


def _values(state):
    import jax

    return [np.asarray(x, np.float64) for x in jax.tree.leaves((state.params, state.opt_state))]


@pytest.mark.slow
def test_a_read_only_disk_is_refused_for_training_and_enough_for_evaluation(tmp_path, capsys):
    words = [*TINY, "--checkpoint-every", "2"]
    with _small_disk(tmp_path / "disk", 40) as disk:
        folder = ["--run-dir", str(disk / "r")]
        assert cli.main(VAE, [*words, "--steps", "4", *folder]) == config.FINISHED
        (disk / "r" / "result.json").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        capsys.readouterr()
        assert cli.main(VAE, [*words, "--steps", "4", *folder]) == config.BAD_INPUT
        assert "cannot write the run directory" in _one_line_of_error(capsys.readouterr().err)
        assert _complete(disk / "r") == [2, 4]
        tool = [sys.executable, "-m", "tools.evaluate", str(disk / "r")]
        done = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "ELBO" in done.stdout, done.stderr


@pytest.mark.slow  # test_start.py and test_checkpoint.py damage checkpoints in the default suite
def test_a_checkpoint_with_a_flipped_bit_is_said_and_the_one_before_is_used(tmp_path, capsys):
    words = [*TINY, "--steps", "6", "--checkpoint-every", "2"]
    for name in ("whole", "r"):
        assert cli.main(VAE, [*words, "--run-dir", str(tmp_path / name)]) == config.FINISHED
    (tmp_path / "r" / "result.json").unlink()
    file = max(
        (tmp_path / "r" / "checkpoints" / "6" / "packed" / "float32").iterdir(), key=lambda path: path.stat().st_size
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    assert cli.main(VAE, [*words, "--run-dir", str(tmp_path / "r")]) == config.FINISHED
    out = capsys.readouterr().out
    assert re.search(r"warning: the checkpoint \S*/6 is damaged and is not used: ", out) and "at step 4" in out
    assert {path.name for path in (tmp_path / "r" / "checkpoints").iterdir()} == {"4", "6", "damaged-6"}
    states = [load_run(tmp_path / name).state for name in ("whole", "r")]
    for a, b in zip(*map(_values, states), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_another_models_checkpoint_and_a_wrong_dtype_are_said_in_one_line(tmp_path, capsys):
    words = [*TINY, "--steps", "2", "--run-dir"]
    for name, other in (("r", []), ("wide", ["--hidden", "32"]), ("sgd", ["--optimizer", "sgd"])):
        assert cli.main(VAE, [*TINY, *other, "--steps", "2", "--run-dir", str(tmp_path / name)]) == 0
    for name in ("wide", "sgd"):
        shutil.rmtree(tmp_path / "r" / "checkpoints")
        shutil.copytree(tmp_path / name / "checkpoints", tmp_path / "r" / "checkpoints")
        (tmp_path / "r" / "result.json").unlink(missing_ok=True)
        capsys.readouterr()
        assert cli.main(VAE, [*words, str(tmp_path / "r")]) == config.BAD_INPUT
        assert "is of another model" in _one_line_of_error(capsys.readouterr().err)
        assert _complete(tmp_path / "r") == [2]


def test_data_that_are_not_finite_are_refused_before_anything_is_written(tmp_path, capsys):
    """Images from files are uint8, which has no NaN; points from files and arrays of one's own are searched for it."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(200, 4, 4, 1)).astype(np.float32)
    image[7, 1, 2] = np.nan
    with pytest.raises(ValueError, match="'x' of arrays has 1 values that are not finite"):
        in_memory({"x": image}, 16)
    np.savez(tmp_path / "data.npz", image=image, label=rng.integers(3, size=200))
    words = ["--dataset", f"npz:{tmp_path / 'data.npz'}", "--batch-size", "16", "--run-dir", str(tmp_path / "r")]
    assert cli.main(CLASSIFIER, words) == config.BAD_INPUT
    assert "1 pixels of image are not finite" in _one_line_of_error(capsys.readouterr().err)
    np.savez(tmp_path / "points.npz", x=image.reshape(200, 16))
    words[1] = f"points:{tmp_path / 'points.npz'}"
    assert cli.main(CLASSIFIER, words) == config.BAD_INPUT
    assert "points.npz: x has 1 values that are not finite" in _one_line_of_error(capsys.readouterr().err)
    assert not (tmp_path / "r").exists()


def test_a_loss_that_diverges_keeps_the_last_good_checkpoint(tmp_path, capsys):
    words = [*TINY, "--optimizer", "sgd", "--schedule", "constant", "--checkpoint-every", "2", "--steps", "4"]
    assert cli.main(VAE, [*words, "--learning-rate", "0.01", "--run-dir", str(tmp_path / "r")]) == 0
    saved = json.loads((tmp_path / "r" / "config.json").read_text())
    saved["config"] |= {"learning_rate": 1e12, "steps": 100}
    (tmp_path / "r" / "config.json").write_text(json.dumps(saved))
    (tmp_path / "r" / "result.json").unlink()
    words[-1] = "100"
    capsys.readouterr()
    status = cli.main(VAE, [*words, "--learning-rate", "1e12", "--run-dir", str(tmp_path / "r")])
    out = " ".join(capsys.readouterr().out.split())
    assert status == config.DIVERGED and "the last good checkpoint is" in out
    assert _complete(tmp_path / "r")[-1] == 4 and f"{tmp_path}/r/checkpoints/4" in out


SOURCES = [path for folder in ("gen_models", "experiments", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    """No module that unpickles is imported, and every np.load says allow_pickle=False.

    But for the reader of PyTorch's files, which makes nothing but tensors: `test_features_torch_files.py` shows it.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names if path.name != "torch_files.py" else ():
            assert name.split(".")[0] not in {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert said.get("allow_pickle") == "False", f"line {node.lineno}"
