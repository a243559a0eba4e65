"""Eight host devices for every test, so that one process can show what pmap and shard_map do."""

import os

# Before JAX is imported: programs compile several times faster, and here most run once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import jax

# Before anything asks for a device; not by an environment variable, which the programs that tests start would inherit.
jax.config.update("jax_num_cpu_devices", 8)
