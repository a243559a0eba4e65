"""Failures that a training of any model shows by its losses and gradients: divergence, no progress, overfitting.

Each goes by a series against itself, so that no threshold has a unit but that of the KL, which is in nats.
"""

import numpy as np

from gen_models.diagnosis.finding import Facts, Finding, Remedy
from gen_models.diagnosis.history import History, Series

ROWS = 12  # of a course that is cut into thirds
GROWTH = 100.0  # times the largest of the first third, for a norm or a loss that explodes
SWELLING = 3.0  # times that swings grow from third to third
FLAT = 1e-3  # relative change of a loss that does not learn
LOST = 0.1  # share of what a figure had gained that overfitting has lost again
EVALUATIONS = 3  # since the best one
UNUSED = 0.1  # nats of an example: a code that carries less is not used

_SLOWER = (
    Remedy("learning_rate", "lower", "a lower learning rate"),
    Remedy("clip_norm", "1", "clipped gradients"),
    Remedy("warmup_steps", "500", ""),
)


def losses_and_norms(history: History) -> list[str]:
    """Names of losses and gradient norms of training."""
    return [name for name in history.ending_in("loss", "grad_norm") if name.startswith("train/")]


def sees_course(history: History, facts: Facts) -> bool:
    """Whether there are a loss and enough rows to see where it goes, or it is known how training ended."""
    return facts.ended == "diverged" or any(history.count(name) >= ROWS for name in losses_and_norms(history))


def divergence(history: History, facts: Facts) -> Finding | None:
    """Whether training ended with numbers that are none, or its losses or gradients grow without a bound in sight."""
    advice = facts.advice(*_SLOWER, _lipschitz(history))
    if facts.ended == "diverged":
        text = facts.message or "a loss or gradient was not finite, or too large"
        return Finding("divergence", facts.ended_at, text, "certain", advice)
    for name in losses_and_norms(history):
        series = history.series(name)
        wrong = ~np.isfinite(series.values)
        if wrong.any():
            step = int(series.steps[wrong][0])
            return Finding("divergence", step, f"{name} is {series.values[wrong][0]}", "certain", advice)
    for name in [*losses_and_norms(history), "train/discriminator/wasserstein"]:
        if (growth := _growth(history.series(name))) >= GROWTH:
            newest = np.median(np.abs(history.series(name).newest()))
            text = f"{name} is {newest:.3g}, {growth:,.0f} times the most that it was in the first third of the rows, "
            text += "and still grows"
            return Finding("divergence", history.last_step, text, "likely", advice)
    return None


def swings(history: History, facts: Facts) -> Finding | None:
    """Whether a loss swings ever more: by three times as much in each third of the rows, and by half of its size."""
    for name in history.ending_in("loss"):
        series = history.series(name)
        if not name.startswith("train/") or len(series) < ROWS or not np.isfinite(series.values).all():
            continue
        sizes = [float(np.std(np.diff(third))) for third in series.thirds()]
        level = max(abs(float(np.median(third))) for third in series.thirds())
        if sizes[0] > 0 and sizes[1] >= SWELLING * sizes[0] and sizes[2] >= max(SWELLING * sizes[1], level / 2):
            text = (
                f"{name} changes from row to row by {sizes[0]:.2g}, {sizes[1]:.2g}, then {sizes[2]:.2g} in the thirds"
            )
            advice = facts.advice(*_SLOWER, _lipschitz(history))
            return Finding("growing swings", history.last_step, f"{text} of training", "likely", advice)
    return None


def sees_gradients(history: History, facts: Facts) -> bool:
    """Whether a gradient norm was logged often enough."""
    return any(history.count(name) >= 3 for name in history.ending_in("grad_norm"))


def no_gradient(history: History, facts: Facts) -> Finding | None:
    """Whether a player's gradient is 0, so that it learns nothing: dead units, or a loss that is saturated."""
    for name in history.ending_in("grad_norm"):
        newest = history.series(name).newest()
        if len(newest) >= 3 and (newest == 0).all():
            text = f"{name} is 0 in the newest {len(newest)} rows"
            advice = facts.advice(Remedy("learning_rate", "lower", "a lower learning rate"), "other initial weights")
            return Finding("no gradient", history.last_step, text, "certain", advice)
    return None


def sees_loss(history: History, facts: Facts) -> bool:
    """Whether a lone loss was logged from the start, often enough."""
    return history.count("train/loss") >= ROWS and not facts.options.get("init_from")


def flat_loss(history: History, facts: Facts) -> Finding | None:
    """Whether the loss is where it was, by its size and by what it changes from row to row.

    It may have been learned within the first row, which is why this is never more than possible.
    """
    first, middle, last = (float(np.median(third)) for third in history.series("train/loss").thirds())
    noise = float(np.median(np.abs(np.diff(history.series("train/loss").values))))
    gained = max(abs(first - middle), abs(first - last))
    if not (gained <= FLAT * abs(first) and gained <= max(noise, FLAT * abs(first) / 10)):
        return None
    text = f"train/loss is {first:.4g}, {middle:.4g} and {last:.4g} in the thirds of training"
    rate = Remedy("learning_rate", "raise", "a higher learning rate")
    other = "a lower one, if the first rows were worse; fewer steps, if all was learned before the first row"
    return Finding("flat loss", history.last_step, text, "possible", facts.advice(rate, other))


def sees_evaluations(history: History, facts: Facts) -> bool:
    """Whether the figure that the run is judged by was measured often enough while a loss was logged."""
    return (
        facts.objective is not None
        and history.count(facts.objective[0]) > EVALUATIONS
        and history.count("train/loss") > EVALUATIONS
    )


def overfitting(history: History, facts: Facts) -> Finding | None:
    """Whether the figure on held-out data has lost a tenth of what it had gained, while the loss of training fell.

    It counts where it is more than evaluations differ among each other beside their course.
    """
    assert facts.objective is not None
    name, better = facts.objective
    series, loss = history.series(name), history.series("train/loss")
    values = series.values if better == "minimize" else -series.values
    if not np.isfinite(values).all():
        return None
    best = int(values.argmin())
    since, gained = len(values) - 1 - best, values[0] - values[best]
    lost = float(np.median(values[-EVALUATIONS:])) - values[best]
    noise = float(np.median(np.abs(np.diff(values, 2)))) / 2  # what is left of evaluations beside their course
    if since < EVALUATIONS or best == 0 or not lost > max(LOST * gained, 3 * noise):
        return None
    then, now = _around(loss, int(series.steps[best])), float(np.median(loss.newest()))
    if not now < then:
        return None
    text = f"{name} was {series.values[best]:.4g} at step {series.steps[best]:,} and is {series.values[-1]:.4g} now, "
    text += f"{since} evaluations later, while train/loss fell from {then:.4g} to {now:.4g}"
    advice = facts.advice(
        Remedy("early_stopping", "3", "early stopping"),
        Remedy("dropout", "raise", ""),
        Remedy("weight_decay", "raise", "weight decay"),
        "augmentation, more data or a smaller network",
    )
    return Finding("overfitting", history.last_step, text, "likely", advice)


def sees_kl(history: History, facts: Facts) -> bool:
    """Whether a KL term was logged, and half of the steps are done: a young model may not use its code yet."""
    return history.count("train/kl") >= 3 and facts.half_done(history.last_step)


def posterior_collapse(history: History, facts: Facts) -> Finding | None:
    """Whether the posterior is the prior: a code with a KL of less than 0.1 nats tells next to nothing of x."""
    newest = history.series("train/kl").newest()
    if not newest.max() < UNUSED:
        return None
    text = f"the KL term is {newest.mean():.2g} nats an example over the newest {len(newest)} rows, which bounds what "
    text += "the code tells of x"
    advice = facts.advice(
        Remedy("kl_warmup_steps", "raise", "a KL weight that rises from 0"),
        Remedy("free_bits", "0.25", "free bits"),
        Remedy("beta", "lower", "a lower weight of the KL"),
        "a decoder that sees less of x",
    )
    return Finding("posterior collapse", history.last_step, text, "likely", advice)


def unfinished(history: History, facts: Facts) -> Finding | None:
    """Whether training ended before its last step, or has not ended."""
    if facts.ended in ("finished", "diverged"):
        return None
    how = f"it was {facts.ended}" if facts.ended else "it was interrupted, or is under way"
    text = f"{history.last_step:,} of {facts.steps:,} steps are logged and there is no result: {how}"
    return Finding("unfinished", history.last_step, text, "certain", "the same command goes on")


def _lipschitz(history: History) -> str:
    """A remedy for a critic whose gradient nothing bounds."""
    unbounded = history.count("train/discriminator/wasserstein") and not history.count("train/discriminator/penalty")
    return "a gradient penalty or clipped weights, without which nothing bounds the critic" if unbounded else ""


def _growth(series: Series) -> float:
    """How many times the largest size of the first third the newest values are; 0 where they do not rise throughout."""
    if len(series) < ROWS:
        return 0.0
    first, middle, last = (np.abs(third) for third in series.thirds())
    rises = np.median(first) < np.median(middle) < np.median(last) and np.median(np.abs(series.newest())) > middle.max()
    return float(np.median(np.abs(series.newest())) / first.max()) if rises and first.max() > 0 else 0.0


def _around(series: Series, step: int) -> float:
    """The values of about a tenth of all rows around a step, their median."""
    nearest = np.argsort(np.abs(series.steps - step), kind="stable")[: max(1, len(series) // 10)]
    return float(np.median(series.values[nearest]))
