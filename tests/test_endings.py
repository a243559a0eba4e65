"""Whatever is raised ends a command in one line with its own status; whatever becomes of the terminal ends nothing."""

import errno
import gc
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image, UnidentifiedImageError
from rich.console import Console

from gen_models import machine, plots
from gen_models.core import TrainState
from gen_models.data import order
from gen_models.run import cli, config, console, directory, endings, job, room
from gen_models.run.config import InputError, Stopped
from gen_models.run.experiments import find
from gen_models.run.terminal import Forgiving, terminal
from gen_models.training import startup

ROOT = Path(__file__).parent.parent


def _raiser(error):
    def command():
        raise error

    return command


class XlaRuntimeError(RuntimeError):
    """As JAX's, by its name."""


OUTSIDE = [
    (InputError("--steps must be 1 or more"), config.BAD_INPUT, "--steps must be 1 or more"),
    (Stopped("full", config.CANNOT_WRITE), config.CANNOT_WRITE, "full"),
    (ValueError("several\n  lines"), config.BAD_INPUT, "several lines"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), config.BAD_INPUT, "can't decode byte 0xff"),
    (OSError(errno.EMFILE, "Too many open files", "/data/x.png"), config.BAD_INPUT, "'/data/x.png'"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), config.BAD_INPUT, "Disk quota exceeded"),
    (UnidentifiedImageError("cannot identify image file 'x'"), config.BAD_INPUT, "cannot identify"),
    (Image.DecompressionBombError("192000000 pixels"), config.BAD_INPUT, "192000000 pixels"),
    (zlib.error("incorrect header check"), config.BAD_INPUT, "incorrect header check"),
    (struct.error("unpack requires 4 bytes"), config.BAD_INPUT, "unpack requires"),
    (EOFError(), config.BAD_INPUT, "EOFError"),
    (RecursionError("maximum recursion depth exceeded"), config.BAD_INPUT, "maximum recursion"),
    (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), config.BAD_INPUT, "No module named 'sklearn'"),
    (MemoryError(), config.OUT_OF_MEMORY, "memory ran out: lower --batch-size"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), config.OUT_OF_MEMORY, "Cannot allocate memory"),
    (XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), config.OUT_OF_MEMORY, "allocating 9"),
    (ValueError("a\x1b[2Jb \udcff"), config.BAD_INPUT, "a\\x1b[2Jb \\udcff"),
]


@pytest.mark.parametrize(("error", "status", "said"), OUTSIDE, ids=lambda value: type(value).__name__)
def test_what_comes_from_outside_is_one_line_with_its_status(error, status, said, capsys):
    assert endings.guarded(_raiser(error)) == status
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and said in shown and len(shown.splitlines()) == 1, shown


def test_the_line_of_what_another_package_raised_says_who_asked_for_it(capsys):
    endings.guarded(lambda: int("x"))
    assert f"({__file__}, line" in (shown := capsys.readouterr().err) and "ValueError" in shown, shown
    endings.guarded(_raiser(ValueError("a message of ours")))
    assert capsys.readouterr().err == "error: a message of ours\n"


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AssertionError(), XlaRuntimeError("INTERNAL: x")])
def test_a_mistake_in_code_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        endings.guarded(_raiser(error))


def test_a_missing_module_of_this_package_is_a_mistake_in_code():
    with pytest.raises(ImportError):
        endings.guarded(_raiser(ImportError("cannot import name 'x'", name="gen_models.run")))


def test_the_traceback_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("GEN_MODELS_TRACEBACK", "1")
    assert endings.guarded(_raiser(ValueError("x"))) == config.BAD_INPUT
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: x\n")


@pytest.fixture
def heeded():
    """Signals that this process may have been started to ignore, as by nohup or in the background of a script."""
    before = {name: signal.getsignal(name) for name in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU", "SIGINT"])
def test_each_signal_that_asks_to_end_does_so_once(name, capsys):
    cleaned = []

    def command():
        try:
            signal.raise_signal(getattr(signal, name))
        finally:
            if name != "SIGINT":  # a terminal that is closed sends its signal twice
                signal.raise_signal(getattr(signal, name))
            cleaned.append(name)

    assert endings.guarded(command, endings.GOES_ON) == config.INTERRUPTED and cleaned == [name]
    assert capsys.readouterr().err == f"\n{endings.GOES_ON}\n"


@pytest.mark.slow_cases("SIGINT")
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(name):
    """As JAX's own callback of the collector: Python passes no error on from there."""
    came = []

    def callback(phase, about):
        if not came:
            came.append(phase)
            signal.raise_signal(getattr(signal, name))

    def command():
        gc.callbacks.append(callback)
        try:
            gc.collect()
            for _ in range(100):
                time.sleep(0.1)
        finally:
            gc.callbacks.remove(callback)

    assert endings.guarded(command) == config.INTERRUPTED and came


def test_an_interrupt_that_an_import_made_an_error_of_is_one(capsys):
    def command():
        with endings.about_input():
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as error:
                raise ImportError("an error while initializing the extension") from error

    assert endings.guarded(command) == config.INTERRUPTED
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_errors_that_led_to_each_other_in_a_circle_end_a_command():
    """As a module with a mistake does that is imported when it is used; the handling once went round for ever."""
    first, second = SyntaxError("invalid syntax"), AttributeError("no such name")
    first.__context__, second.__context__ = second, first
    with pytest.raises(SyntaxError):
        endings.guarded(_raiser(first))


def test_nohup_and_handlers_of_others_stay():
    def own(number, frame):
        pass

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR1, own)
    try:
        with endings.signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and signal.getsignal(signal.SIGUSR1) is own
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_carriage_returns_of_scripts_with_windows_line_ends_are_no_part_of_words():
    assert endings.words_of(["--run-dir", "runs/x\r", "\r", ""]) == ["--run-dir", "runs/x", ""]


class _Failing(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text=""):
        raise OSError(self.number, os.strerror(self.number))

    flush = write


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EBADF])
def test_printing_goes_on_whatever_the_file_says(number):
    file = Forgiving(_Failing(number))
    print("text", file=file, flush=True)
    Console(file=file, force_terminal=True).print("more")


def test_a_closed_file_and_an_encoding_that_lacks_characters_end_nothing(monkeypatch):
    closed, narrow = io.StringIO(), io.BytesIO()
    closed.close()
    print("text", file=Forgiving(closed), flush=True)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(narrow, "ascii"))
    with terminal():
        print("1 ± 2, \udcff")
    assert narrow.getvalue() == b"1 \\xb1 2, \\udcff\n" and sys.stdout.errors == "strict"


PROGRAM = """
import sys
from gen_models.run import cli
from gen_models.run.console import say

def main():
    for i in range(3000):
        say(f"line {i} of a run that prints more than a pipe holds, and goes on whatever becomes of what it prints")
    print("a warning", file=sys.stderr)
    open("done", "w").close()
    return 3

cli.guard(main)
"""


@pytest.mark.parametrize(
    "shell",
    [
        "{ %s; echo $? >status; } | head -c 1",
        "{ %s; echo $? >status; } 2>&1 | head -c 1",
        "%s >/dev/full 2>/dev/full; echo $? >status",
        "%s >&- 2>&- <&-; echo $? >status",
        "PYTHONIOENCODING=ascii COLUMNS=1 TERM=dumb LC_ALL=C %s >out; echo $? >status",
    ],
)
def test_a_command_ends_as_it_would_whatever_becomes_of_its_output(shell, tmp_path):
    command = f"PYTHONPATH={ROOT} {sys.executable} {tmp_path / 'program.py'}"
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(["bash", "-c", shell % command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "done").exists() and (tmp_path / "status").read_text() == "3\n", done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["runs/try [old]", "[/x]", "b[lr=1e-3]", "[bold]x", ":smile:", "\\[a]"])
def test_what_others_wrote_is_no_markup(text, capsys, monkeypatch):
    monkeypatch.setattr(console.console, "_width", 200)
    console.say("resuming from", Path(text))
    console.show_table(text, (f"name {text}", "x"), [(text, 1)], text)
    assert capsys.readouterr().out.count(text) == 5


def test_a_dumb_terminal_gets_lines_in_place_of_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(console, "console", Console(force_terminal=True, _environ={"TERM": "dumb"}))
    with console.show_progress(10, 0) as report:
        report(10, {"loss": 1.0})
    assert capsys.readouterr().out.startswith("step 10 of 10  loss 1")


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


def test_a_tool_and_the_entry_end_as_experiments_do(capsys):
    from gen_models.run.entry import main

    for words, said in ((["trian", "vae"], "did you mean 'train'"), (["train"], "takes an experiment's name")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == config.BAD_INPUT and said in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.guard(_raiser(MemoryError()))
    assert ended.value.code == config.OUT_OF_MEMORY


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


@pytest.mark.parametrize("text", ["a$b$c", "$", "\\$x_1$", "_hidden", "^_{}", "名前", "\udcff", "a\x1bb"])
def test_texts_in_pictures_are_literal(text, tmp_path):
    """As matplotlib itself reads a text back that it was told not to take for a formula; warnings are errors."""
    with plots.drawing(tmp_path / "x.png") as canvas:
        shown = canvas.text(0, 0, plots.literal(text))
        plain, is_formula = shown._preprocess_math(shown.get_text())
    assert not is_formula and plain.strip() == "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
    rows = [{"step": step, "seconds": 1.0, f"{text}/loss": 1.0} for step in (1, 2)]
    plots.curves(rows, tmp_path / "curves.png", title=text)
    plots.lines({text: [1.0, 2.0]}, tmp_path / "lines.png", x=text, y=text, title=text)


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
