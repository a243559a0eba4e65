"""An experiment's variants at sizes whose steps take no time, for tests and checks. Imports no JAX."""

from typing import Any

from gen_models.run.config import Experiment
from gen_models.run.fields import field_names, value_of, with_values


def tiny_config(experiment: Experiment, variant: str) -> Any:
    """A variant at the experiment's tiny sizes, `Experiment.tiny`.

    An experiment of several networks gives sizes of all of them: a variant takes those of the fields that it has, and
    of the type that its own value is, as one network's `hidden` is a number where another's is a tuple.
    """
    config = experiment.variants[variant]
    has = set(field_names(config))
    sizes = {
        name: value
        for name, value in experiment.tiny.items()
        if name in has and (name == "dataset" or type(value) is type(value_of(config, name)))
    }
    return with_values(config, sizes)
