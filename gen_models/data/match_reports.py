"""Generated reports of matches and their summaries, which are certain: who won, and how many goals each side scored.

A report names two teams and then what happened, of which the goals alone count:

    reds play golds . golds miss . reds score . golds foul . reds score . golds score .

Its summary is "reds beat golds 2 to 1", or where both scored as often "reds and golds draw 1 to 1", in the order of the
report's first sentence. So the words of a summary are in no place of the report: what it is about must be picked, and
goals must be counted. There are up to `EVENTS` events, of four kinds, by either team.
"""

import numpy as np

from gen_models.data.splits import Splits
from gen_models.data.symbols import Symbols, with_meaning

TEAMS = ("reds", "golds", "blues", "greens", "whites", "blacks")
KINDS = ("score", "miss", "foul", "save")
EVENTS = 8
READ = (*TEAMS, *KINDS, "play", ".")  # the words of reports, by token
WRITTEN = ("", *TEAMS, "beat", "and", "draw", "to", *map(str, range(EVENTS + 1)))  # of summaries; 0 is the end
LONGEST = 4 + 3 * EVENTS  # tokens of a report
LENGTH = 8  # tokens of the longest summary, with its end


def match_splits(examples: int) -> Splits:
    """Reports and their summaries: `examples` to train on, and 1,000 each to validate and to test on.

    No report of one part is in another. An example is {"source": int32 [28], "source_length": int32 [], "x": int32 [8],
    "y": int32 [8], "length": int32 []}; x begins with the end, 0, and y[t] follows x[t].

    Raises:
      ValueError: `examples` is not positive.
    """
    if examples < 1:
        raise ValueError(f"examples must be 1 or more, got {examples}")
    draw, seen, parts = np.random.default_rng(0), set(), []
    for count in (1000, 1000, examples):
        reports: list[str] = []
        while len(reports) < count:
            report = generated_report(draw)
            if report not in seen:
                reports.append(report)
        seen |= set(reports)
        parts.append(_arrays(reports))
    held_out, test, train = parts
    splits = Splits.of_arrays(train, test, held_out, name="matches", examples="reports")
    return with_meaning(splits, Symbols((READ, WRITTEN), (len(READ), 0), " "))


def generated_report(draw: np.random.Generator) -> str:
    """A report of a match; half of its events are goals."""
    teams = [TEAMS[index] for index in draw.permutation(len(TEAMS))[:2]]
    words = [teams[0], "play", teams[1], "."]
    for _ in range(1 + draw.integers(EVENTS)):
        kind = KINDS[0] if draw.integers(2) else KINDS[1 + draw.integers(len(KINDS) - 1)]
        words += [teams[draw.integers(2)], kind, "."]
    return " ".join(words)


def summary_of(report: str) -> str:
    """The summary of a report."""
    first, _, second, *_ = report.split()
    goals = [report.count(f"{team} score") for team in (first, second)]
    if goals[0] == goals[1]:
        return f"{first} and {second} draw {goals[0]} to {goals[1]}"
    if goals[0] < goals[1]:
        first, second = second, first
    return f"{first} beat {second} {max(goals)} to {min(goals)}"


def _arrays(reports: list[str]) -> dict[str, np.ndarray]:
    """Reports and summaries as tokens."""
    source = np.zeros((len(reports), LONGEST), np.int32)
    target = np.zeros((len(reports), LENGTH + 1), np.int32)
    counts = np.zeros(len(reports), np.int32)
    for row, report in enumerate(reports):
        words, summary = report.split(), summary_of(report).split()
        counts[row] = len(words)
        source[row, : len(words)] = [READ.index(word) for word in words]
        target[row, 1 : len(summary) + 1] = [WRITTEN.index(word) for word in summary]
    found = {"source": source, "source_length": counts, "x": target[:, :-1], "y": target[:, 1:]}
    return found | {"length": (target > 0).sum(1).astype(np.int32) + 1}
