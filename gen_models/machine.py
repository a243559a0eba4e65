"""What a process may use of the machine. Imports no JAX."""

import os
import signal


def core_numbers() -> list[int]:
    """The numbers of the CPU cores that this process may use, in ascending order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(core_numbers())


def stopping_signals() -> list[int]:
    """The signals that ask a process to save and end, as far as this system has them and nobody else uses them.

    SIGTERM; SIGHUP, as the terminal is gone; SIGUSR1 and SIGXCPU, by which clusters say that the time is nearly over.
    Those that were ignored when the process started stay so (`nohup` ignores SIGHUP), as do handlers that are not ours.
    """
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU"))
    return [number for number in numbers if number is not None and _is_free(signal.getsignal(number))]


def _is_free(handler: object) -> bool:
    return handler == signal.SIG_DFL or str(getattr(handler, "__module__", "")).startswith("gen_models.")
