"""Reports of matches and their summaries, against a reader that counts; parts that share no report."""

import re

import numpy as np
import pytest

from gen_models.data.match_reports import EVENTS, LENGTH, TEAMS, generated_report, match_splits, summary_of


def _counted(report):
    """(teams, {team: goals}) of a report, sentence by sentence."""
    opening, *events = [sentence.split() for sentence in report.split(".") if sentence.strip()]
    teams, goals = (opening[0], opening[2]), {opening[0]: 0, opening[2]: 0}
    for team, what in events:
        goals[team] += what == "score"
    assert 1 <= len(events) <= EVENTS
    return teams, goals


def test_a_summary_says_who_won_and_how():
    draw, outcomes = np.random.default_rng(3), set()
    for _ in range(300):
        report = generated_report(draw)
        teams, goals = _counted(report)
        said = re.fullmatch(r"(\w+) (beat|and) (\w+) (draw )?(\d+) to (\d+)", summary_of(report))
        one, how, other, draws, most, least = said.groups()
        assert {one, other} == set(teams) <= set(TEAMS) and (goals[one], goals[other]) == (int(most), int(least))
        assert (how == "and") == bool(draws) == (most == least)
        assert (one, other) == teams if draws else int(most) > int(least)
        outcomes.add("draw" if draws else "first" if one == teams[0] else "second")
    assert outcomes == {"draw", "first", "second"}


def test_parts_share_no_report_and_their_tokens_are_those_words():
    splits = match_splits(500)
    meaning, texts = splits.train.meaning, []
    for part in (splits.train, splits.held_out, splits.test):
        arrays = part.arrays
        read = [meaning.decode(row[:n], 0) for row, n in zip(arrays["source"], arrays["source_length"], strict=True)]
        assert [meaning.decode(row) for row in arrays["y"]] == [summary_of(report) for report in read]
        assert ((arrays["y"] > 0).sum(1) + 1 == arrays["length"]).all() and arrays["y"].shape[1] == LENGTH
        assert (arrays["x"][:, 0] == 0).all() and (arrays["x"][:, 1:] == arrays["y"][:, :-1]).all()
        texts.append(set(read))
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [500, 1000, 1000]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    with pytest.raises(ValueError, match="examples must be 1 or more, got 0"):
        match_splits(0)
