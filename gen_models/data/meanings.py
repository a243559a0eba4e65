"""What the values of data mean (`Dataset.meaning`), as JSON and back."""

from typing import Any

from gen_models.data.audio import Sound
from gen_models.data.boxes import Objects
from gen_models.data.dataset import Classes
from gen_models.data.parallel import Languages
from gen_models.data.sentences import Words
from gen_models.data.series import Series
from gen_models.data.symbols import Symbols
from gen_models.data.tables import Columns, Prepared
from gen_models.data.tokens import Vocabulary

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Classes, Columns, Languages, Objects, Prepared, Series, Sound, Symbols, Vocabulary, Words)
}


def meaning_to_json(meaning: Any) -> Any:
    """A meaning as what JSON gives back, lists in place of tuples, so that the two are equal; None for none of ours."""
    name = type(meaning).__name__
    if KINDS.get(name) is type(meaning):
        return {"type": name, "value": {field: _lists(value) for field, value in meaning._asdict().items()}}
    return {"type": "tuple", "value": _lists(meaning)} if type(meaning) is tuple else None


def meaning_from_json(found: Any) -> Any:
    """The meaning that `meaning_to_json` gave."""
    if found is None:
        return None
    if found["type"] == "tuple":
        return _tuples(found["value"])
    return KINDS[found["type"]](**{name: _tuples(value) for name, value in found["value"].items()})


def _lists(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return list(map(_lists, value)) if isinstance(value, list | tuple) else value


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
