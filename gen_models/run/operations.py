"""What a trained run can do with an example or a code, each as one pure function that can be exported.

    operation = operation_of(load_run("runs/vae/base/0"), "reconstruct")
    operation.function(images)            # uint8 [N, H, W, C], prepared as the run's evaluation does

- predict: raw inputs to probabilities of classes, or to numbers (`predicting.py`);
- encode: inputs to their codes, of a posterior its mean;
- decode: codes to inputs, or the mean of p(x|z);
- reconstruct: inputs to what is decoded of their codes, without noise where the model was trained to remove it;
- apply: inputs to the model's outputs, such as logits, masks or forecasts;
- log_prob: inputs to log p(x) or a bound, in nats.

Images and prepared tables are taken raw, as they lie in files; all else as the model reads it. Each example is computed
alone, by `vmap`, so that a function may be traced for any number of them; noise of a preparation, such as drawn
binarisation, and of a bound is that of the key 0 for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from gen_models.data.table_preparation import preparation
from gen_models.data.tables import Prepared
from gen_models.errors import unknown
from gen_models.measures.base import Trained
from gen_models.run.predicting import predictor_of
from gen_models.run.restore import Loaded

NAMES = ("predict", "encode", "decode", "reconstruct", "apply", "log_prob")
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "predict": ("apply",),
    "encode": ("encode",),
    "decode": ("encode", "decode"),
    "reconstruct": ("encode", "decode"),
    "apply": ("apply",),
    "log_prob": ("log_prob",),
}


@dataclass(frozen=True, eq=False)
class Operation:
    """One function of a trained model, and what it takes."""

    name: str
    function: Callable[..., Any]  # arrays [N, ...] -> array [N, ...], or for predict a mapping of arrays
    shapes: Callable[[Any], Any]  # number of examples, perhaps symbolic -> shapes and dtypes of the argument
    note: str  # what the argument is, in words
    described: Mapping[str, Any]  # what else a caller needs, as JSON: columns, words, classes


def operation_of(found: Loaded, name: str) -> Operation:
    """An operation of a restored run, with the parameters that it is evaluated with.

    Raises:
      ValueError: the operation is unknown, or the model's family lacks it.
      DataAbsent: only the data say how inputs are prepared, and they are not there.
    """
    if name not in NAMES:
        raise unknown("operation", name, NAMES)
    model = found.job.model
    lacks = [need for need in _NEEDS[name] if not model.has(need)]
    if lacks:
        has = [own for own in NAMES if all(model.has(need) for need in _NEEDS[own])]
        raise ValueError(
            f"{found.run.folder} is a run of {found.job.experiment.name}, whose model lacks {lacks[0]!r}, which {name} "
            f"needs: it has {', '.join(has) or 'sample alone'}"
        )
    if name == "predict":
        return _predict(found)
    trained = found.job.trained(found.state)
    prepare, shapes, note = _inputs(found)
    if name == "decode":
        return _decode(trained, prepare, shapes)
    function = _FUNCTIONS[name]
    made = Operation(name, _each(lambda x: function(trained, prepare(x))), shapes, note, {})
    try:
        jax.eval_shape(made.function, shapes(2))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of {found.run.folder} does not take {note}: {str(error).splitlines()[0]}") from None
    return made


def _each(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function of batches, called for each example alone."""

    def one(example: Any) -> Any:
        found = function(jax.tree.map(lambda leaf: leaf[None], example))
        return jax.tree.map(lambda leaf: leaf[0], found)

    return jax.vmap(one)


def _predict(found: Loaded) -> Operation:
    predictor = predictor_of(found)
    form = predictor.form
    described: dict[str, Any] = {
        "operation": "predict",
        "kind": form.kind,
        "target": predictor.target,
        "classes": predictor.classes,
        "outputs": "probabilities of the classes" if predictor.classes else f"numbers, {predictor.target!r}",
    }
    note = "raw images, uint8"
    if isinstance(form.meaning, Prepared):
        described |= {"numeric": form.meaning.numeric, "categorical": form.meaning.categorical}
        note = "x: the numeric columns, NaN where missing; categories: each word's number from 1 on, 0 if missing"
    elif form.kind == "sentences":
        described |= {"words": form.meaning.symbols}
        note = "words as numbers: 0 behind a sentence, 1 for a word that is not known"
    return Operation("predict", _each(predictor.forward), predictor.shapes, note, described)


def _inputs(found: Loaded) -> tuple[Callable[[Any], Any], Callable[[Any], Any], str]:
    """How x is prepared, the shapes of what is taken, and what that is."""
    data = found.job.data
    meaning = data.train.meaning
    if data.train.kind == "images":
        source: Any = data.train.source
        if hasattr(source, "refuse"):
            source.refuse()
        own = data.evaluation

        def image(x: Any) -> Any:
            return x if own is None else own({"x": x, "y": jnp.zeros(x.shape[0], jnp.int32)}, jax.random.key(0))["x"]

        return image, lambda n: jax.ShapeDtypeStruct((n, *data.shape), jnp.uint8), "raw images, uint8"
    if isinstance(meaning, Prepared) and not meaning.categorical:
        rows = preparation(meaning)
        note = f"the columns {', '.join(meaning.numeric)}, NaN where missing"
        return lambda x: rows({"x": x}, None)["x"], lambda n: jax.ShapeDtypeStruct((n, *data.shape), jnp.float32), note
    batch = found.job.batch_shape
    if not isinstance(batch, Mapping) or "x" not in batch:
        raise ValueError(f"{found.run.folder}: its batches have no 'x' that an operation could take")
    x = batch["x"]
    return lambda x: x, lambda n: jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype), "x as the model reads it"


def _code(trained: Trained, x: Any) -> Any:
    """The code of x: of a tuple, as of mean and log deviation, the first entry."""
    code = trained.model.encode(trained.params, trained.stats, x, jax.random.key(0))
    return code[0] if isinstance(code, tuple) else code


def _decode(trained: Trained, prepare: Callable[[Any], Any], shapes: Callable[[Any], Any]) -> Operation:
    code = jax.eval_shape(lambda x: _code(trained, prepare(x)), shapes(2))

    def function(z: Any) -> Any:
        return trained.model.decode(trained.params, trained.stats, z)

    def of(n: Any) -> Any:
        return jax.ShapeDtypeStruct((n, *code.shape[1:]), code.dtype)

    return Operation("decode", _each(function), of, "codes", {})


_FUNCTIONS: Mapping[str, Callable[[Trained, Any], Any]] = {
    "encode": _code,
    "reconstruct": lambda trained, x: trained.model.decode(trained.params, trained.stats, _code(trained, x)),
    "apply": lambda trained, x: trained.model.apply(trained.params, trained.stats, x),
    "log_prob": lambda trained, x: trained.model.log_prob(trained.params, trained.stats, x, jax.random.key(0)),
}
