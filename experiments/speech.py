"""How well are spoken digits told apart, and digits that are said one after another written down?

    python -m experiments.speech                     # a GRU tells one digit; the bundled part of the data, one speaker
    python -m experiments.speech cnn                 # convolutions over time and frequency, and a mean
    python -m experiments.speech ctc                 # one to four digits in a row, by CTC; likewise
    python -m experiments.speech --dataset audio:fsdd_8khz.npz     # all of the Free Spoken Digit Dataset, six speakers
    python -m experiments.speech ctc --dataset audio:fsdd_8khz.npz --speakers speaker
    python -m tools.judge RUN --by runs/speech/gru/0 # which digits a run of experiments.wavenet says, by the first

Sounds are read as 40 log-mel features every 16 ms, normalised over each sound (`gm.log_mel_features`). The test part
has the takes 0 to 4 of each speaker and digit, as is customary: its speakers are those of the training part.

Utterances are put together from these recordings, each of one speaker, with silence of 50 to 150 ms before, between and
behind (`gm.utterances`): those for training from recordings for training alone, those of the test part from the takes 0
to 4. The network is trained by connectionist temporal classification (Graves et al., 2006), without being told where a
digit is; what it hears is the most probable path, or sought by prefix beam search.

Measured, seed 0, on a core of an AMD EPYC that a dozen other programs shared (standard error over test sounds or
utterances; all times by the clock):

    gru                                                            0.960 +- 0.028 of 50 sounds; 2 minutes
    cnn                                                            0.840 +- 0.052 of 50 sounds; 3 minutes
    gru --dataset audio:fsdd_8khz.npz --steps 600 --train-split train+validation --evaluate-every 0
                                                                   0.967 +- 0.010 of 300 sounds; 1 minute
    ctc --steps 200                                                0.070 +- 0.007 edits a label, 0.832 +- 0.017 of 500
                                                                   utterances are heard right; 2 minutes
    ctc --dataset audio:fsdd_8khz.npz --speakers speaker --steps 800 --evaluate-every 400
                                                                   0.016 +- 0.004 edits a label, 0.960 +- 0.009 are
                                                                   heard right; 8 minutes

Eight beams hear nearly the same as the most probable path (0.070 and 0.016). What the first network gets wrong in a row
are single digits taken for others, 6, 3 and 8 above all.

The judge, with the first network, tells 0.230 +- 0.042 of 100 sounds of a WaveNet as the digit that was asked for,
where a tenth is chance, and 0.960 +- 0.028 of the real test sounds, as they are as well as cut and companded. The
WaveNet is that of experiments.wavenet after 1,500 steps, with 1.536 +- 0.026 nats a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]


@dataclass(frozen=True, kw_only=True)
class Cnn:
    """Convolutions over time and frequency, and the mean over both."""

    channels: tuple[int, ...] = (16, 24, 32, 48)
    """Channels of each convolution; every second one halves the picture."""
    dropout: Dropout = 0.2
    """Probability with which a feature is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Recurrent layers, read at each sound's end."""

    cell: Literal["lstm", "gru"] = "gru"
    """Kind of the layers."""
    features: int = 64
    """Width of each direction of each layer."""
    layers: int = 1
    """Number of layers."""
    dropout: Dropout = 0.3
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """Bidirectional layers that hear digits one after another."""

    cell: Literal["lstm", "gru"] = "gru"
    """Kind of the layers."""
    features: int = 64
    """Width of each direction of each layer."""
    layers: int = 2
    """Number of layers."""
    joined: int = 3
    """Frames that are read as one step."""
    dropout: Dropout = 0.2
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A network that hears digits, and its training."""

    dataset: str = "spoken_digits"
    """Sounds that come with the package, spoken_digits, or audio:PATH."""
    data_dir: Annotated[str | None, gm.INCIDENTAL] = None
    """Folder of prepared or original data sets; sounds need none."""
    train_split: str = "train"
    """Split that is trained on, never test; train+validation for figures to compare with published ones."""
    speakers: str | None = None
    """Array of the archive that says who speaks each sound; none: they count as one speaker's."""
    steps: int = 300
    batch_size: int = 32
    length: int = 5000
    """Samples of a recording that are read; of longer ones the beginning."""
    rate: int = 8000
    """Samples a second."""
    filters: int = 40
    """Mel filters."""
    window: int = 256
    """Samples of a spectrogram's frame."""
    hop: int = 128
    """Samples from one frame to the next."""
    utterances: int = 2000
    """Utterances that are trained on; a tenth as many validate, and 500 test, or as many where there are fewer."""
    words: int = 4
    """Digits of the longest utterance."""
    beams: int = 8
    """Prefixes that the beam search keeps."""
    network: Recurrent | Cnn | Recogniser = field(default_factory=Recurrent)
    """Kind of network, with its sizes."""


base = Config(learning_rate=3e-3, warmup_steps=30, clip_norm=1.0, evaluate_every=100)
variants: Mapping[str, Config] = {
    "gru": base,
    "cnn": replace(base, network=Cnn()),
    "ctc": replace(base, network=Recogniser(), steps=600, evaluate_every=200),
}


def data(config: Config) -> "gm.Splits":
    """Log-mel features of sounds, or of utterances that are put together from them."""
    features: Any = gm.log_mel_features(rate=config.rate, count=config.filters, window=config.window, hop=config.hop)
    if isinstance(config.network, Cnn):
        features = gm.compose(features, as_image)
    how = {"transform": features, "how": f"{config.filters} log-mel features"}
    splits = _load(config, "", examples="sounds", **how)
    rate = getattr(splits.train.meaning, "rate", None)
    if rate not in (None, config.rate):
        raise ValueError(f"{config.dataset} has {rate} samples a second: give --rate {rate}, not {config.rate}")
    if not isinstance(config.network, Recogniser):
        return splits.with_labels("a classifier")
    who = None if config.speakers is None else _load(config, f"label={config.speakers}", examples="sounds")
    counts = (config.utterances, max(2, config.utterances // 10), min(500, config.utterances))
    parts = [
        _utterances(config, getattr(splits, part), who and getattr(who, part), count, seed)
        for seed, (part, count) in enumerate(zip(("train", "held_out", "test"), counts, strict=True))
    ]
    name = f"{splits.name}, 1 to {config.words} in a row"
    train, held_out, test = parts
    return gm.Splits.of_arrays(
        train, test, held_out, name=name, num_classes=splits.num_classes, examples="utterances", **how
    )


def _load(config: Config, option: str, **more: Any) -> "gm.Splits":
    """The sounds of the config, with another option."""
    options = "&".join(filter(None, (f"length={config.length}", option)))
    name = f"{config.dataset}{'&' if '?' in config.dataset else '?'}{options}"
    return gm.load_splits(name, config.train_split, config.data_dir, kinds=("audio",), **more)


def _utterances(config: Config, part: Any, who: Any, count: int, seed: int) -> Mapping[str, Any]:
    """Utterances of a part's recordings."""
    if part is None or part.arrays is None:
        raise ValueError(f"{config.dataset}: utterances are put together from sounds in memory: take fewer or shorter")
    arrays = part.arrays
    return gm.utterances(
        arrays["x"],
        arrays["y"],
        arrays["length"],
        count,
        seed,
        speakers=None if who is None else who.arrays["y"],
        words=(1, config.words),
        gap=(config.rate // 20, 3 * config.rate // 20),
    )


def as_image(batch: Any, key: Any) -> Any:
    """Features [B, T, F] as images [B, T, F, 1]."""
    return {**batch, "x": batch["x"][..., None]}


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The network of the config, for the data's classes."""
    network, classes = config.network, data.num_classes
    assert classes is not None, "sounds have labels"
    shape = (-(-data.shape[0] // config.hop), config.filters)
    if isinstance(network, Cnn):
        strides = tuple(1 + index % 2 for index in range(len(network.channels)))
        sizes: dict[str, Any] = {"channels": network.channels, "strides": strides}
        return gm.cnn((*shape, 1), classes, **sizes, dropout=network.dropout, momentum=0.9, dtype=config.precision)
    if isinstance(network, Recurrent):
        return gm.recurrent_network(shape, classes, **vars(network), bidirectional=True, dtype=config.precision)
    return gm.speech_recogniser(shape, classes, **vars(network), longest=config.words + 2, dtype=config.precision)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Accuracy of one digit, or the label error rate of several; size."""
    if isinstance(config.network, Recogniser):
        return (gm.measures.LabelErrors(beams=config.beams), gm.measures.Parameters())
    by_length = isinstance(config.network, Recurrent)
    confusion = gm.measures.Confusion(mistakes=0, lengths=by_length)
    return (gm.measures.Accuracy(lengths=by_length), confusion, gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={
        "batch_size": 4,
        "length": 1000,
        "filters": 8,
        "window": 64,
        "hop": 64,
        "utterances": 8,
        "words": 2,
        "beams": 2,
        "network.channels": (4,),
        "network.features": 4,
        "network.layers": 1,
        "warmup_steps": 0,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
