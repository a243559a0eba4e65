"""Failures of two players, by what their steps log: who dominates, whose gradient vanishes, which samples are alike.

Logits are in units that only the loss knows. So evidence is taken where it is free of them: probabilities, of losses
that have them; a loss against what it is when the discriminator knows nothing; a gradient against itself at an earlier
step; and the area under the ROC curve, where it was measured. A critic of a Wasserstein loss is meant to be trained
until it tells both apart, and its gap is not held against it.
"""

import numpy as np

from gen_models.diagnosis.finding import Certainty, Facts, Finding, Remedy
from gen_models.diagnosis.history import History

REAL, FAKE = "train/discriminator/real_probability", "train/discriminator/fake_probability"
LOSS = "train/discriminator/loss"
GENERATOR_LOSS = "train/generator/loss"
GENERATOR_GRADIENT = "train/generator/grad_norm"
WASSERSTEIN = "train/discriminator/wasserstein"
ROWS = 5  # fewer say nothing about a course
GAP = 0.95  # of mean probabilities: at least this, and nearly every example is told
SMALL = 0.02  # a loss, or a factor of a gradient, that is as good as 0
FALL = 0.01  # share of its largest value to which a gradient has fallen
ALIKE = 0.5  # spread of samples, or share of modes of before, below which samples are alike

_PENALTY = Remedy("penalty", "r1", "a gradient penalty (gm.nn.gradient_penalties: R1, WGAN-GP)")
_OTHER_LOSS = Remedy("objective|loss", "non_saturating", "")


def sees_dominance(history: History, facts: Facts) -> bool:
    """Whether probabilities were logged, or a loss that is 0 at best and no distance."""
    return all(history.count(name) >= ROWS for name in (REAL, FAKE)) or (
        history.count(LOSS) >= ROWS and not history.count(WASSERSTEIN)
    )


def discriminator_dominance(history: History, facts: Facts) -> Finding | None:
    """Whether the discriminator tells nearly every example, in all of the newest fifth of rows."""
    real, fake = history.series(REAL), history.series(FAKE)
    if len(real) >= ROWS:
        gaps = real.newest() - fake.newest()
        if not gaps.min() >= GAP:
            return None
        share = f"D is {real.newest().mean():.3g} on real and {fake.newest().mean():.2g} on generated examples"
        sure = bool(gaps.min() >= 1 - SMALL)
    else:
        own = _own_loss(history)
        if not own.max() <= SMALL:
            return None
        share, sure = f"the discriminator's loss is {own.mean():.2g}, penalties left out", False
    falls = _fall(history)
    text = f"{share}, over the newest {len(real.newest()) or len(_own_loss(history))} rows"
    if np.isfinite(falls):
        text += f"; the generator's gradient norm is {falls:.2g} of its largest"
    smoothing = Remedy("smoothing|label_smoothing", "0.1", "one-sided label smoothing")
    return Finding(
        "discriminator dominance",
        history.last_step,
        text,
        "likely" if sure else "possible",
        facts.advice(_OTHER_LOSS if _saturates(history) else "", *_weaker(facts), smoothing),
    )


def vanishing_gradient(history: History, facts: Facts) -> Finding | None:
    """Whether the generator learns nothing more, as the discriminator is sure of its examples.

    The gradient of the minimax loss at a logit is -D, so that the mean D of generated examples is the very factor by
    which it has vanished (1/2 where the discriminator knows nothing). Of any loss, a gradient that fell to a hundredth
    of its largest while the discriminator's loss is small has vanished too. One that fell because the generator has
    learned is left alone: there the discriminator's loss is not small.
    """
    fall, gradient = _fall(history), history.series(GENERATOR_GRADIENT)
    if _saturates(history) and history.count(FAKE) >= ROWS:
        factor = history.series(FAKE).newest()
        if factor.max() <= SMALL:
            text = f"the minimax loss multiplies the gradient by D(G(z)), which is {factor.mean():.2g} (1/2 at first)"
            text += f"; the generator's gradient norm is {gradient.newest().mean():.2g}, {fall:.2g} of its largest"
            certainty: Certainty = "certain" if fall <= 10 * FALL else "likely"
            loss = _OTHER_LOSS._replace(otherwise="the non-saturating loss")
            advice = facts.advice(loss, *_weaker(facts))
            return Finding("vanishing generator gradient", history.last_step, text, certainty, advice)
    if len(gradient) < ROWS or history.count(WASSERSTEIN) or fall > FALL or not _is_small(history):
        return None
    text = f"the generator's gradient norm fell to {gradient.newest().mean():.2g}, {fall:.2g} of its largest, and the "
    text += f"discriminator's loss to {_own_loss(history).mean():.2g}"
    return Finding("vanishing generator gradient", history.last_step, text, "likely", facts.advice(*_weaker(facts)))


def sees_alike(history: History, facts: Facts) -> bool:
    """Whether samples were measured during training, by `gm.measures.Collapse` or `GridCoverage`."""
    return bool(history.ending_in("spread_of_samples", "modes_covered"))


def samples_alike(history: History, facts: Facts) -> Finding | None:
    """Whether samples that were drawn during training have lost their spread, or modes that they had.

    Samples of a fresh generator are alike too: what was never apart counts once half of the steps are done.
    """
    for name in history.ending_in("spread_of_samples"):
        values = history.series(name).values
        had = values.max() >= ALIKE or facts.half_done(history.last_step)
        if values[-1] < ALIKE and had:
            text = f"two samples are {values[-1]:.2f} times as far apart as two examples ({name}, at most "
            text += f"{values.max():.2f} so far)"
            return Finding("mode collapse", history.last_step, text, "likely", collapse_advice(facts))
    for name in history.ending_in("modes_covered"):
        values = history.series(name).values
        if len(values) > 1 and values[-1] <= ALIKE * values.max() and values.max() >= 4:
            text = f"{values[-1]:g} modes are covered, {values.max():g} were before ({name})"
            return Finding("mode collapse", history.last_step, text, "likely", collapse_advice(facts))
    return None


def collapse_advice(facts: Facts) -> str:
    """What helps against mode collapse; of a model without a discriminator, against samples that are alike."""
    if not facts.adversarial:
        steps, beta = Remedy("steps", "raise", "more steps"), Remedy("beta", "lower", "")
        return facts.advice(steps, beta, Remedy("learning_rate", "lower", "a lower learning rate"))
    return facts.advice(
        Remedy("packing", "2", "packing (packing=2)"),
        Remedy("unrolled", "5", "an unrolled discriminator (unrolled=5)"),
        _penalised(facts),
        Remedy("weights", "spectral", ""),
        Remedy("discrimination|kernels", "16", "minibatch discrimination"),
        "the Wasserstein loss with WGAN-GP's penalty",
        Remedy("learning_rate", "lower", "a lower learning rate"),
    )


def _weaker(facts: Facts) -> tuple[Remedy | str, ...]:
    """What makes the discriminator weaker."""
    return (
        Remedy("discriminator_learning_rate|discriminator_rate", "lower", "a lower learning rate for it"),
        Remedy("discriminator_updates|critic_updates", "lower", "fewer updates of it for one of the generator"),
        _penalised(facts),
        Remedy("weights", "spectral", "spectral normalisation of the discriminator"),
    )


def _penalised(facts: Facts) -> str:
    """A penalty, which batch norm in the discriminator forbids."""
    words, norm = _PENALTY.said(facts), facts.option("discriminator_norm")
    if not words.startswith("--") or norm is None or not facts.options[norm]:
        return words
    head, dot, name = norm.rpartition(".")
    return f"{words} --{head}{dot}no-{name.replace('_', '-')}"


def _saturates(history: History) -> bool:
    """Whether the generator's loss is that of the minimax game, which is negative where others with D are positive."""
    loss = history.series(GENERATOR_LOSS).values
    return bool(len(loss) and history.count(FAKE) and (loss <= 0).all())


def _fall(history: History) -> float:
    """The generator's gradient norm, newest rows over the largest row; NaN where it was not logged."""
    gradient = history.series(GENERATOR_GRADIENT)
    if not len(gradient) or not np.isfinite(gradient.values).all() or gradient.values.max() == 0:
        return np.nan
    return float(np.median(gradient.newest()) / gradient.values.max())


def _own_loss(history: History) -> np.ndarray:
    """The discriminator's newest losses without penalties and guesses of the class."""
    loss = history.series(LOSS).newest()
    for name in ("penalty", "real_class_loss", "fake_class_loss"):
        part = history.series(f"train/discriminator/{name}")
        if len(part) == history.count(LOSS):
            loss = loss - part.newest()
    return loss


def _is_small(history: History) -> bool:
    """Whether the discriminator's loss is as good as 0; a Wasserstein loss has no such meaning."""
    return history.count(LOSS) >= ROWS and bool((np.abs(_own_loss(history)) <= SMALL).all())
