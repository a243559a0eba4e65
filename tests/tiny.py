"""The command lines that tests run: an experiment's variants at the sizes of `gen_models/run/tiny.py`."""

from gen_models.run.config import Experiment
from gen_models.run.fields import field_names, value_of
from gen_models.run.tiny import tiny_config


def tiny_words(experiment: Experiment, variant: str) -> list[str]:
    """The words of a command line that make `tiny_config` of the variant."""
    config, tiny = experiment.variants[variant], tiny_config(experiment, variant)
    words = []
    for name in field_names(config):
        if (value := value_of(tiny, name)) != value_of(config, name):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words
