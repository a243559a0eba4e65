"""Does a model of characters answer what it was told, or does it only speak on?

    python -m experiments.dialogue                        # a GRU on the bundled tiny Shakespeare
    python -m experiments.dialogue lstm

Plays are turns: a speaker's name, a colon and lines, then an empty line. The model is one of `language_model`'s, which
knows nothing of turns. It is prompted with a turn of the test part and the name of who speaks next, and writes until
the next empty line. Whether it listens is measured by what the turn before tells it of the true reply: the nats a
character of replies behind another pair's turn, less those behind their own. The name of who replies stands before
both, so that it is the turn alone which differs. A model that only speaks on gains nothing.

Measured by `python -m experiments.dialogue --train-split train+validation`, seed 0, two minutes of a core of an AMD
EPYC that other programs shared, on 400 replies: 1.616 +- 0.013 nats a character, and the turn before tells -0.00001 +-
0.00002 of them. So this model does not listen: once a speaker's name is read, its state has forgotten who was spoken to
and of what. What it writes has the form of speech, lines and words, and answers nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import gen_models as gm
from experiments import language_model


@dataclass(frozen=True, kw_only=True)
class Config(language_model.Config):
    """A language model, and the turns that it is prompted with."""

    heard: int = 160
    """Characters of the turn before, of which the end is read."""
    replied: int = 160
    """Characters of a reply that are measured, and that the model writes."""
    pairs: int = 400
    """Pairs of turns, evenly spaced in the test part."""


_base = {**vars(language_model.variants["gru"]), "temperature": 0.7}
variants: Mapping[str, Config] = {"gru": Config(**_base)}
variants = {**variants, "lstm": replace(variants["gru"], network=language_model.Recurrent(cell="lstm"))}


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Likelihood of all characters, what turns tell of replies, and replies."""
    replies = gm.measures.Replies(config.heard, config.replied, config.pairs, config.temperature)
    return (gm.measures.TokenLikelihood(), replies, gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    language_model.data,
    language_model.model,
    measures,
    tiny={
        "length": 8,
        "batch_size": 4,
        "network.features": 8,
        "network.layers": 1,
        "written": 8,
        "warmup_steps": 0,
        "heard": 12,
        "replied": 10,
        "pairs": 8,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
