"""Eight host devices for every test, so that one process can show what pmap and shard_map do."""

import jax

# Before anything asks for a device; not by an environment variable, which the programs that tests start would inherit.
jax.config.update("jax_num_cpu_devices", 8)
