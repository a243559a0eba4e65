"""What a process may use of the machine. Imports no JAX."""

import contextlib
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def core_numbers() -> list[int]:
    """The numbers of the CPU cores that this process may use, in ascending order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(core_numbers())


def user_cache() -> Path | None:
    """The project's folder in the user's cache directory, which is made; None where none can be written."""
    system = platform.system()
    home = Path(os.path.expanduser("~"))  # stays "~" for a user who has no home, which `Path.home` raises for
    if system == "Darwin":
        root = home / "Library" / "Caches"
    elif system == "Windows":
        root = Path(os.environ.get("LOCALAPPDATA", str(home)))
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    folder = root / "gen_models"
    return folder if root.is_absolute() and _can_be_made(folder) else None


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def stopping_signals() -> list[int]:
    """The signals that ask a process to save and end, as far as this system has them and nobody else uses them.

    SIGTERM; SIGHUP, as the terminal is gone; SIGUSR1 and SIGXCPU, by which clusters say that the time is nearly over.
    Those that were ignored when the process started stay so (`nohup` ignores SIGHUP), as do handlers that are not ours.
    """
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU"))
    return [number for number in numbers if number is not None and _is_free(signal.getsignal(number))]


def _is_free(handler: object) -> bool:
    return handler == signal.SIG_DFL or str(getattr(handler, "__module__", "")).startswith("gen_models.")


def available_memory() -> int | None:
    """Bytes that this process may still use, swap included: the least of what the limits leave that are known; or None.

    The limits: the machine's memory, those of the process's control groups (containers, Slurm), and `ulimit -v`.
    """
    left = [*_of_machine(), *_of_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), *_of_process()]
    return max(0, min(left)) if left else None


def _of_machine() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.endswith("kB")}
        if "MemAvailable" in found:
            yield found["MemAvailable"] + found.get("SwapFree", 0)


def _of_groups(groups: Path, root: Path) -> Iterator[int]:
    """What the control groups' limits, of both versions, leave; files that may be dropped do not count as used."""
    with contextlib.suppress(OSError):
        for line in groups.read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            base = root / "memory" if kinds else root
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
            inside = Path(name.lstrip("/"))
            for folder in (base / inside, *(base / parent for parent in inside.parents)):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                    limit, used = (int((folder / file).read_text()) for file in names)
                    yield limit - used + _dropped(folder / "memory.stat")


def _dropped(statistics: Path) -> int:
    """Bytes of a control group's files that the system may drop."""
    with contextlib.suppress(OSError, ValueError):
        found = dict(line.split() for line in statistics.read_text().splitlines())
        return sum(int(found.get(name, 0)) for name in ("inactive_file", "active_file"))
    return 0


def _of_process() -> Iterator[int]:
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - pages * resource.getpagesize()
