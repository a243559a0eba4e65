"""All checks of what was logged, and a diagnosis by them. One of your own is a `Check` more in the list."""

from collections.abc import Sequence
from typing import NamedTuple

from gen_models.diagnosis import adversarial, training
from gen_models.diagnosis.finding import Check, Facts, Finding, has
from gen_models.diagnosis.history import History

# What `diagnose` and `Watch` look for, in the order in which it is said.
CHECKS: tuple[Check, ...] = (
    Check("divergence", training.divergence, "losses or gradient norms in 12 rows", training.sees_course),
    Check("growing swings", training.swings, "losses in 12 rows", training.sees_course),
    Check("no gradient", training.no_gradient, "gradient norms in 3 rows", training.sees_gradients),
    Check(
        "vanishing generator gradient",
        adversarial.vanishing_gradient,
        "losses and gradient norms of a generator and a discriminator, which is no Wasserstein critic, in 5 rows",
        lambda history, facts: (
            has(adversarial.GENERATOR_GRADIENT, rows=adversarial.ROWS)(history, facts)
            and adversarial.sees_dominance(history, facts)
        ),
    ),
    Check(
        "discriminator dominance",
        adversarial.discriminator_dominance,
        "probabilities or losses of a discriminator, which is no Wasserstein critic, in 5 rows",
        adversarial.sees_dominance,
    ),
    Check(
        "mode collapse during training",
        adversarial.samples_alike,
        "evaluations with gm.measures.Collapse or GridCoverage",
        adversarial.sees_alike,
    ),
    Check(
        "posterior collapse", training.posterior_collapse, "a KL term, in the second half of training", training.sees_kl
    ),
    Check(
        "overfitting",
        training.overfitting,
        "a lone loss, and the figure that the run is judged by in 4 evaluations on held-out data",
        training.sees_evaluations,
    ),
    Check(
        "flat loss",
        training.flat_loss,
        "a lone loss in 12 rows, from fresh weights",
        training.sees_loss,
        while_training=False,
    ),
    Check(
        "unfinished",
        training.unfinished,
        "the number of steps",
        lambda history, facts: facts.steps > 0,
        while_training=False,
    ),
)


class Diagnosis(NamedTuple):
    """What was found, and what was looked at."""

    findings: tuple[Finding, ...]
    looked: tuple[str, ...]  # failures that were looked for
    unseen: tuple[tuple[str, str], ...]  # (failure, what it would need), of those that could not be

    @property
    def collapsed(self) -> bool:
        """Whether it is accused of mode collapse, as `gen_models.evaluation.collapse` or lost classes or modes say."""
        return any(finding.name == "mode collapse" for finding in self.findings)

    @property
    def diverged(self) -> bool:
        """Whether training ended with numbers that are none, or its losses or gradients grow without bound."""
        return any(finding.name == "divergence" for finding in self.findings)

    def with_(self, name: str, finding: Finding | None) -> "Diagnosis":
        """The diagnosis after another failure was looked for."""
        findings = self.findings if finding is None else (*self.findings, finding)
        return self._replace(findings=findings, looked=(*self.looked, name))

    def without(self, name: str, needs: str) -> "Diagnosis":
        """The diagnosis after another failure could not be looked for."""
        return self._replace(unseen=(*self.unseen, (name, needs)))


def diagnose(history: History, facts: Facts | None = None, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Look for every failure that the history lets be seen.

    Args:
      history: what was logged, as `fit` names it: "train/loss", "train/generator/grad_norm", "validation/elbo", ...
      facts: what else is known.
      checks: what is looked for.
    """
    facts, found = facts or Facts(), Diagnosis((), (), ())
    for check in checks:
        if check.sees(history, facts):
            found = found.with_(check.name, check.look(history, facts))
        else:
            found = found.without(check.name, check.needs)
    return found
