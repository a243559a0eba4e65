"""Models of sequences, each small enough to train in a blink."""

from collections.abc import Callable
from functools import partial

import optax

from gen_models.data.spectrograms import istft, stft
from gen_models.models.sequences.linear_forecaster import linear_forecaster
from gen_models.models.sequences.mask_network import mask_network
from gen_models.models.sequences.memory_network import memory_network
from gen_models.models.sequences.ngram import ngram
from gen_models.models.sequences.patch_transformer import patch_transformer
from gen_models.models.sequences.polyphonic import polyphonic
from gen_models.models.sequences.recurrent_forecaster import recurrent_forecaster
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from gen_models.models.sequences.recurrent_network import recurrent_network
from gen_models.models.sequences.recurrent_seq2seq import recurrent_seq2seq
from gen_models.models.sequences.sentence_cnn import sentence_cnn
from gen_models.models.sequences.sentence_lstm import sentence_lstm
from gen_models.models.sequences.sentence_transformer import sentence_transformer
from gen_models.models.sequences.sequence_classifier import sequence_classifier
from gen_models.models.sequences.speech_recogniser import speech_recogniser
from gen_models.models.sequences.temporal_convolutional_network import temporal_convolutional_network
from gen_models.models.sequences.temporal_convolutions import temporal_convolutions
from gen_models.models.sequences.transformer import transformer
from gen_models.models.sequences.transformer_seq2seq import transformer_seq2seq
from gen_models.models.sequences.wavenet import wavenet
from gen_models.models.sequences.windowed_mlp import windowed_mlp

from .batches import (
    chords,
    cycles,
    heard,
    noisy_tones,
    reversals,
    sentences,
    sequences,
    steps,
    stories,
    told_cycles,
    waves,
)
from .entry import SGD, SLOW, Entry

SENTENCES = (
    ("sentence_cnn", sentence_cnn, {"embedding": 5, "windows": (1, 2), "features": 6}),
    ("sentence_lstm", sentence_lstm, {"embedding": 4, "features": 5}),
    ("sentence_transformer", sentence_transformer, {"features": 8, "layers": 1, "heads": 2}),
)

SEQUENCES: dict[str, Callable[..., Entry]] = {
    "sequence_classifier": lambda dtype=None: Entry(
        sequence_classifier(length=4, vocabulary=3, num_classes=3, features=4, dtype=dtype),
        sequences,
        SGD,
        deterministic=True,
    ),
    "transformer": lambda dtype=None: Entry(
        transformer(3, context=5, features=8, layers=1, heads=2, positions="rotary", dtype=dtype),
        cycles,
        optax.sgd(0.5, momentum=0.9),
        deterministic=True,
    ),
    "recurrent_language_model": lambda dtype=None: Entry(
        recurrent_language_model(3, features=6, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    "polyphonic": lambda dtype=None: Entry(
        polyphonic(3, features=5, output="nade", nade_features=4, dtype=dtype),
        chords,
        optax.sgd(0.2, momentum=0.9),
        deterministic=True,
    ),
    "ngram": lambda dtype=None: Entry(
        ngram(3, cycles(9, 4), order=3, dtype=dtype),
        cycles,
        optax.sgd(2.0, momentum=0.9),
        deterministic=True,
    ),
    "windowed_mlp": lambda dtype=None: Entry(
        windowed_mlp(3, context=2, embedding=3, features=6, direct=True, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    "wavenet": lambda dtype=None: Entry(
        wavenet(3, features=4, skip_features=4, layers=2, classes=2, local_features=2, dtype=dtype),
        told_cycles,
        SGD,
        deterministic=True,
    ),
    "temporal_convolutions": lambda dtype=None: Entry(
        temporal_convolutions(3, features=6, layers=2, window=2, dtype=dtype),
        cycles,
        SGD,
        deterministic=True,
    ),
    **{
        name: lambda dtype=None, make=make, sizes=sizes: Entry(
            make(4, 4, 3, **sizes, dropout=0.1, dtype=dtype), sentences, SGD
        )
        for name, make, sizes in SENTENCES
    },
    "recurrent_network": lambda dtype=None: Entry(
        recurrent_network((4, 2), 3, features=5, layer_norm=True, window=2, dtype=dtype),
        steps,
        SGD,
        deterministic=True,
    ),
    "linear_forecaster": lambda dtype=None: Entry(
        linear_forecaster((8, 2), 2, window=3, dtype=dtype), waves, SGD, deterministic=True
    ),
    "recurrent_forecaster": lambda dtype=None: Entry(
        recurrent_forecaster((8, 2), 2, features=4, dtype=dtype), waves, SGD, deterministic=True
    ),
    "patch_transformer": lambda dtype=None: Entry(
        patch_transformer(
            (8, 2), 2, patch=4, stride=2, features=4, layers=1, heads=2, dropout=0.1, quantiles=(0.1, 0.5), dtype=dtype
        ),
        waves,
        SGD,
    ),
    "mask_network": lambda dtype=None: Entry(
        mask_network(
            16,
            partial(stft, window=8, hop=4),
            partial(istft, length=16, window=8, hop=4),
            5,
            features=3,
            hop=4,
            dtype=dtype,
        ),
        noisy_tones,
        SLOW,
        deterministic=True,
    ),
    "speech_recogniser": lambda dtype=None: Entry(
        speech_recogniser((7, 2), 2, features=4, layers=1, dtype=dtype), heard, SLOW, deterministic=True
    ),
    "memory_network": lambda dtype=None: Entry(
        memory_network((3, 2), 3, features=5, hops=2, linear_steps=2, dtype=dtype),
        stories,
        SGD,
        deterministic=True,
    ),
    "temporal_convolutional_network": lambda dtype=None: Entry(
        temporal_convolutional_network((4, 2), 3, features=5, layers=2, window=2, dtype=dtype),
        steps,
        SGD,
        deterministic=True,
    ),
    "recurrent_seq2seq": lambda dtype=None: Entry(
        recurrent_seq2seq(4, source_vocabulary=3, features=6, start=3, stop=3, dtype=dtype),
        reversals,
        SGD,
        deterministic=True,
    ),
    "transformer_seq2seq": lambda dtype=None: Entry(
        transformer_seq2seq(
            4,
            source_vocabulary=3,
            features=8,
            encoder_layers=1,
            decoder_layers=1,
            heads=2,
            label_smoothing=0.1,
            start=3,
            stop=3,
            dtype=dtype,
        ),
        reversals,
        SGD,
        deterministic=True,
    ),
}
