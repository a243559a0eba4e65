"""Byte-pair encoding: text as units that are learned from a text, by the `tokenizers` library.

Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (2016), on bytes (Radford et al., GPT-2,
2019, section 2.2): beginning with single bytes, the pair of units that comes most often is joined to a new one, until
there are enough. Words are cut as GPT-2's are, each with the blank before it. So any text has tokens, there is no
unknown one, and tokens give back the text to the byte, but for one blank: each text is read as if one stood before it,
so that a word at the beginning is the same unit as elsewhere.

What was learned is a string of JSON, the library's own form, which a run keeps beside its results.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

END = 0  # the token that a text begins after, ends with, and is filled up with
BYTES = 256
FEWEST = BYTES + 1  # units: the bytes, and the end


def learned_units(texts: Sequence[str], count: int) -> str:
    """The JSON of `count` units that are learned from texts; of fewer, where no pair is left.

    Raises:
      ValueError: `tokenizers` is not installed, or `count` is below 257, the single bytes and the end.
    """
    library = _library()
    if count < FEWEST:
        raise ValueError(f"byte-pair encoding has {FEWEST} units or more, the {BYTES} bytes and the end, got {count}")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=count,
        special_tokens=["<end>"],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def unit_count(units: str) -> int:
    """The number of units of their JSON, the end among them; without the library, as models are made of it."""
    return len(json.loads(units)["model"]["vocab"])


def encoded(texts: Sequence[str], units: str) -> list[np.ndarray]:
    """The tokens int32 [T] of each text, without an end.

    Raises:
      ValueError: `tokenizers` is not installed.
    """
    found = _tokenizer(units).encode_batch(list(texts), add_special_tokens=False)
    return [np.array(one.ids, np.int32) for one in found]


def decoded(tokens: Any, units: str) -> str:
    """The text of tokens [T] up to the first end; bytes that are no UTF-8, which a model may write, become U+FFFD.

    Raises:
      ValueError: `tokenizers` is not installed.
    """
    return str(_tokenizer(units).decode(_before_end(tokens), skip_special_tokens=False)).removeprefix(" ")


def pieces(tokens: Any, units: str) -> list[str]:
    """The text of each token up to the first end, for labels of pictures: "_" stands for the blank before a word.

    Raises:
      ValueError: `tokenizers` is not installed.
    """
    tokenizer = _tokenizer(units)
    return [
        str(tokenizer.decode([token], skip_special_tokens=False)).replace(" ", "_") for token in _before_end(tokens)
    ]


def _before_end(tokens: Any) -> list[int]:
    row = np.asarray(tokens).astype(int).tolist()
    return row[: row.index(END)] if END in row else row


@lru_cache(maxsize=16)
def _tokenizer(units: str) -> Any:
    return _library().Tokenizer.from_str(units)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ValueError("byte-pair encoding needs tokenizers: pip install 'gen_models[text]'") from None
    return tokenizers
