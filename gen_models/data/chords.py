"""Generated music whose entropy is known: triads of C major that follow each other as a Markov chain.

Each chord sounds for `HOLD` rows, in one of two positions, which is drawn evenly for each chord. So what a model of
music can come to is a number: `chord_entropy`. Keys of a row depend on each other, as a triad comes whole or not at
all: a model whose keys are independent given the past cannot come to it.
"""

import numpy as np

from gen_models.data.midi import KEYS, LOWEST

HOLD = 4  # rows of a chord
POSITIONS = 2  # root position and first inversion
_SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of C major
_MIDDLE_C = 60 - LOWEST
# Row i: probabilities of the degree that follows degree i, I to vii, of the kind that harmony books give.
FOLLOWS = np.array(
    [
        [0.00, 0.10, 0.10, 0.30, 0.30, 0.20, 0.00],
        [0.10, 0.00, 0.05, 0.10, 0.60, 0.05, 0.10],
        [0.05, 0.10, 0.00, 0.35, 0.05, 0.45, 0.00],
        [0.30, 0.15, 0.05, 0.00, 0.40, 0.05, 0.05],
        [0.55, 0.05, 0.05, 0.10, 0.00, 0.25, 0.00],
        [0.10, 0.30, 0.10, 0.35, 0.15, 0.00, 0.00],
        [0.80, 0.00, 0.15, 0.00, 0.05, 0.00, 0.00],
    ]
)


def chord_progressions(count: int, seed: int = 0, *, chords: int = 16) -> list[np.ndarray]:
    """`count` pieces, rolls uint8 [4 chords, 88]; the first degree of each is drawn from the chain's own distribution.

    Raises:
      ValueError: a number is not positive.
    """
    _check(count=count, chords=chords)
    draw = np.random.default_rng(seed)
    degree = draw.choice(len(FOLLOWS), size=count, p=stationary())
    degrees = [degree]
    for _ in range(chords - 1):
        # The chain's next state: the first degree whose cumulated probability is above a uniform number.
        below = FOLLOWS.cumsum(1)[degrees[-1]] <= draw.random((count, 1))
        degrees.append(np.minimum(below.sum(1), len(FOLLOWS) - 1))
    positions = draw.integers(POSITIONS, size=(count, chords))
    every = triads()[np.stack(degrees, 1), positions]  # [count, chords, 88]
    return list(every.repeat(HOLD, 1))


def triads() -> np.ndarray:
    """uint8 [7, 2, 88]: the rows of each degree of C major in each position."""
    found = np.zeros((len(_SCALE), POSITIONS, KEYS), np.uint8)
    for degree in range(len(_SCALE)):
        steps = degree + np.array([0, 2, 4])
        notes = _MIDDLE_C + _SCALE[steps % 7] + 12 * (steps // 7)
        found[degree, 0, notes] = 1
        found[degree, 1, [notes[0] + 12, *notes[1:]]] = 1  # the root an octave higher
    return found


def stationary() -> np.ndarray:
    """Float64 [7]: how often each degree comes in the long run, p with p = p FOLLOWS."""
    values, vectors = np.linalg.eig(FOLLOWS.T)
    own = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return own / own.sum()


def chord_entropy(chords: int = 16) -> float:
    """Nats a row of a piece: no model of such pieces has a smaller expected -log p.

    The entropy of the first degree, that of each further one given the one before, and that of each position.

    Raises:
      ValueError: `chords` is not positive.
    """
    _check(chords=chords)
    often = stationary()
    further = often @ np.array([_entropy(row) for row in FOLLOWS])
    whole = _entropy(often) + (chords - 1) * further + chords * np.log(POSITIONS)
    return float(whole / (HOLD * chords))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
