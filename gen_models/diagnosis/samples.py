"""What samples of a trained model accuse it of: they are alike, or miss classes or modes that data have."""

from gen_models.diagnosis.adversarial import collapse_advice
from gen_models.diagnosis.finding import Certainty, Facts, Finding
from gen_models.evaluation.collapse import Likeness

MISSED = 0.5  # share of classes or modes of which no more may be covered
GOOD = 20.0  # % of samples that must lie near a mode, or what modes they cover says nothing

_NAME = "mode collapse"


def alike(found: Likeness, step: int, facts: Facts, among: str) -> Finding | None:
    """Whether the samples are too much alike, by `Likeness.collapsed`; `among` says what was compared."""
    if not found.collapsed:
        return None
    text = f"two samples are {found.spread:.2f} times as far apart as two examples, and speak for {found.support:,.0f} "
    text += f"different ones where the data speak for {found.data_support:,.0f} ({among})"
    return _collapse(text, "certain" if found.spread < 0.1 else "likely", step, facts)


def classes_missed(covered: int, classes: int, reference: int, step: int, facts: Facts, among: str) -> Finding | None:
    """Whether samples cover at most half of the classes that as many examples cover.

    Args:
      covered: classes of the samples, by a classifier.
      classes: how many there are.
      reference: those that as many examples cover, by the same classifier.
      step: at which the samples were drawn.
      facts: of the run.
      among: what was compared, in words.
    """
    if covered > MISSED * reference:
        return None
    text = f"{covered} of {classes} classes are covered, {reference} by as many examples ({among})"
    return _collapse(text, "certain", step, facts)


def modes_missed(modes: int, of: int, high_quality: float, step: int, facts: Facts) -> Finding | None:
    """Whether samples of which a fifth or more lie near modes cover at most half of these.

    Args:
      modes: that are covered.
      of: how many there are.
      high_quality: % of the samples that lie near a mode.
      step: at which the samples were drawn.
      facts: of the run.
    """
    if modes > MISSED * of or high_quality < GOOD:
        return None
    text = f"{modes} of {of} modes are covered, by samples of which {high_quality:.0f} % lie near one"
    return _collapse(text, "certain", step, facts)


def _collapse(text: str, certainty: Certainty, step: int, facts: Facts) -> Finding:
    """The finding; before half of the steps, where their number is known, it is possible at most.

    Samples of a fresh model are alike too.
    """
    if facts.steps > 0 and not facts.half_done(step):
        certainty, text = "possible", f"{text}, as those of a young model may"
    return Finding(_NAME, step, text, certainty, collapse_advice(facts))
