"""What a process sets before JAX first uses a device: host devices, other hosts, a cache of compiled programs."""

import contextlib
import ctypes
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

from gen_models.machine import cores, user_cache


def start(*, coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Set all of it; the command line of experiments does so before it builds anything.

    - Freed memory stays with the process (`keep_memory`).
    - On a CPU as many devices as cores, so that a batch can be cut over them (`JAX_NUM_CPU_DEVICES` overrides that).
    - Compiled programs are kept in the user's cache directory, or where `JAX_COMPILATION_CACHE_DIR` says.
    - Several hosts: with `coordinator` the address host:port of process 0, which each process names together with the
      number of `processes` and its own `process_id`; or "auto", where the cluster's environment tells (Slurm, Open MPI,
      Kubernetes, Cloud TPU).

    Raises:
      ValueError: `processes` or `process_id` without a coordinator, or what `jax.distributed` cannot start from.
    """
    keep_memory()
    keep_compiled()
    if coordinator is None:
        if processes is not None or process_id is not None:
            raise ValueError("--processes and --process-id need --coordinator HOST:PORT, the address of process 0")
    elif not jax.distributed.is_initialized():
        address = None if coordinator == "auto" else coordinator
        # Its handler would swallow a SIGTERM that comes before `fit` listens; `fit` tells the other hosts itself.
        jax.config.update("jax_enable_preemption_service", False)
        try:
            jax.distributed.initialize(address, processes, process_id)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"cannot start with --coordinator {coordinator}: {error}") from error
    host_devices(cores())


def host_devices(count: int) -> int:
    """Ask JAX for `count` CPU devices; returns how many devices there are.

    What the user's environment asked for stays as it is, and so does everything once JAX has used a device.

    Raises:
      ValueError: the platform that the environment asks for is not there.
    """
    named = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not named:
        with contextlib.suppress(RuntimeError):  # JAX is running: a program before this one has used a device
            jax.config.update("jax_num_cpu_devices", count)
    try:
        return len(jax.devices())
    except RuntimeError as error:  # of JAX_PLATFORMS=cuda on a machine without a GPU, say
        raise ValueError(f"JAX finds no device: {error}. JAX_PLATFORMS=cpu trains on the CPU") from error


def keep_memory() -> None:
    """Let glibc keep what is freed, instead of asking the system for a step's temporary arrays in every step.

    Fresh pages cost more than they seem: five convolutions of 64 channels on 32 images took 99 ms a step without this
    and 75 with it, an MLP's VAE the same in both (`python -m tools.benchmark conv_stack step_vae`, 2 CPU cores, medians
    of 15 and 60 rounds). The process then never gets smaller than it was. Nothing is done with other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks from the heap too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap is not cut
        mallopt(-2, 2**28)  # M_TOP_PAD: it grows in large pieces


def keep_compiled() -> None:
    """Keep compiled programs on disk, those of small steps too, and use those of earlier processes.

    A folder for each kind of processor: a program for another one might use instructions that this one lacks. What
    cannot be written or read is compiled anew, in silence; so is all where the user has no folder to write in.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None and (folder := _cache_folder()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _cache_folder() -> Path | None:
    """The folder of compiled programs in the user's cache directory; None where there is none that can be written."""
    root = user_cache()
    if root is None:
        return None
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        processor = platform.processor()
    kind = hashlib.sha256(processor.encode()).hexdigest()[:8]
    return root / f"xla-{platform.machine()}-{kind}"
