"""Eight host devices, so that one process can show what pmap and shard_map do, and quick compilation.

XLA reads its flags once a process, when a device is first asked for. They are put back at once: the programs that tests
start are users' programs and inherit nothing.
"""

import os

import jax

_flags = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=1 {_flags or ''}"
jax.config.update("jax_num_cpu_devices", 8)
# Programs of quick compilation must not be kept for users, nor for the programs that tests start.
jax.config.update("jax_enable_compilation_cache", False)
jax.devices()
if _flags is None:
    del os.environ["XLA_FLAGS"]
else:
    os.environ["XLA_FLAGS"] = _flags
