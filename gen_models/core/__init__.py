"""The types and the two functions, `init_state` and `make_train_step`, that models and training runs share.

A model is a handful of pure functions. A training step is one pure function `(state, batch) -> (state, metrics)` that
does not know which model it trains, nor what surrounds it: `jit`, `scan`, `vmap`, `pmap` or `shard_map`.
"""

from gen_models.core.model import AbsentOperation as AbsentOperation
from gen_models.core.model import Array as Array
from gen_models.core.model import Batch as Batch
from gen_models.core.model import Key as Key
from gen_models.core.model import Loss as Loss
from gen_models.core.model import Metrics as Metrics
from gen_models.core.model import Model as Model
from gen_models.core.model import Optimizer as Optimizer
from gen_models.core.model import Params as Params
from gen_models.core.model import Stats as Stats
from gen_models.core.model import Step as Step
from gen_models.core.model import TrainState as TrainState
from gen_models.core.step import init_state as init_state
from gen_models.core.step import make_train_step as make_train_step
from gen_models.core.update import carry_for as carry_for
