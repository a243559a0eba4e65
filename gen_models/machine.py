"""What a process may use of the machine. Imports no JAX."""

import os


def core_numbers() -> list[int]:
    """The numbers of the CPU cores that this process may use, in ascending order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(core_numbers())
