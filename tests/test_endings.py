"""How commands end: an error in one line with its status, a mistake in code with its traceback, a signal once."""

import errno
import gc
import signal
import struct
import time
import zlib

import pytest
from PIL import Image, UnidentifiedImageError

from gen_models.run import cli, config, endings
from gen_models.run.config import InputError, Stopped


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


def test_a_tool_and_the_entry_end_as_experiments_do(capsys):
    from gen_models.run.entry import main

    for words, said in ((["trian", "vae"], "did you mean 'train'"), (["train"], "takes an experiment's name")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == config.BAD_INPUT and said in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.guard(_raiser(MemoryError()))
    assert ended.value.code == config.OUT_OF_MEMORY
