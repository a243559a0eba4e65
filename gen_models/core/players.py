"""The players of a model: their losses and transformations, how often each is updated, and their own parameters."""

from collections.abc import Mapping
from typing import Any

from gen_models.core.model import Loss, Optimizer, Params

ALL = "all"  # the one player of a model whose loss is a single function


def players_of(
    loss: Loss | Mapping[str, Loss], tx: Optimizer | Mapping[str, Optimizer]
) -> dict[str, tuple[Loss, Optimizer]]:
    """Player -> its loss and its transformation; the one player of a lone loss is called `ALL`."""
    if not isinstance(loss, Mapping):
        return {ALL: (loss, tx)}
    if not isinstance(tx, Mapping) or set(loss) != set(tx):
        named = sorted(tx) if isinstance(tx, Mapping) else "a single transformation"
        raise ValueError(f"the losses name the players {sorted(loss)}, but the optimizers are {named}")
    return {name: (loss[name], tx[name]) for name in loss}


def counts_of(players: Mapping[str, Any], repeats: Mapping[str, int] | None) -> dict[str, int]:
    """Player -> how many updates it takes in a step."""
    repeats = repeats or {}
    for name, count in repeats.items():
        if name not in players or name == ALL:
            named = "a single loss has none" if ALL in players else f"they are {sorted(players)}"
            raise ValueError(f"repeats names the player {name!r}, but {named}")
        if count < 1:
            raise ValueError(f"repeats must be 1 or more, got {name}: {count}")
    return {name: repeats.get(name, 1) for name in players}


def check_alone(counts: Mapping[str, int]) -> None:
    """Refuse several players or updates together with a carry: each of them would need a carry of its own."""
    if len(counts) > 1 or max(counts.values()) > 1:
        raise ValueError(f"a model with a carry has one player, which takes one update a step, got {dict(counts)}")


def own_of(params: Params, name: str) -> Params:
    """The sub-tree of the parameters that the player owns."""
    return params if name == ALL else params[name]


def with_own(params: Params, name: str, own: Params) -> Params:
    """The parameters, with another sub-tree for the player."""
    return own if name == ALL else {**params, name: own}
