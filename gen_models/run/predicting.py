"""What a trained run predicts of raw inputs: the data's own preparation, the model, and names of classes.

    predictor = predictor_of(load_run("runs/tables/mlp/0"))
    predictions = predictor(from_file(Path("rows.csv"), predictor.form))

`predictor.forward(arrays)` is one pure function of raw arrays, which `tools.export` writes into a file and
`tools.serve` compiles for a few sizes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.data.raw_inputs import Form, Inputs
from gen_models.data.sentences import Words
from gen_models.data.table_preparation import preparation
from gen_models.data.tables import Prepared
from gen_models.measures.base import Trained
from gen_models.run.restore import Loaded

BATCH = 256  # inputs that are predicted at a time

Arrays = Mapping[str, Any]


class Predictions(NamedTuple):
    """What a model says of N inputs."""

    values: np.ndarray  # int32 [N], classes; or float32 [N] or [N, D], numbers in the target's unit
    probabilities: np.ndarray | None  # float32 [N, K] of classes; None: numbers are predicted
    classes: tuple[str, ...] | None  # names of the K classes

    def named(self) -> list[Any]:
        """Names of classes, or numbers."""
        return self.values.tolist() if self.classes is None else [self.classes[index] for index in self.values]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A run's model for raw inputs."""

    form: Form  # what an input is
    classes: tuple[str, ...] | None  # names of the classes; None: numbers are predicted
    target: str  # what is predicted, in a word
    forward: Callable[[Arrays], Any]  # raw arrays [N, ...] -> probabilities [N, K], or numbers [N] or [N, D]

    def __call__(self, inputs: Inputs) -> Predictions:
        """Predictions of inputs, some at a time; they do not depend on how many."""
        total, found = len(inputs), []
        for start in range(0, total, BATCH):
            part = {name: inputs.arrays[name][start : start + BATCH] for name in self.shapes(1)}
            size = min(BATCH, total - start)
            found.append(np.asarray(self.compiled(padded(part, BATCH)))[:size])
        return self.of_outputs(np.concatenate(found))

    @cached_property
    def compiled(self) -> Callable[[Arrays], Any]:
        """`forward`, compiled for each size that it is called with."""
        return jax.jit(self.forward)

    def of_outputs(self, outputs: np.ndarray) -> Predictions:
        """Predictions of what `forward` gave."""
        if self.classes is None:
            return Predictions(outputs, None, None)
        return Predictions(outputs.argmax(-1).astype(np.int32), outputs, self.classes)

    def shapes(self, count: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of `count` raw inputs; `count` may be a symbolic dimension."""
        kind = {"tables": jnp.float32, "images": jnp.uint8, "sentences": jnp.int32}[self.form.kind]
        found = {"x": jax.ShapeDtypeStruct((count, *self.form.shape), kind)}
        if self.form.kind == "tables" and self.form.meaning.categorical:
            found["categories"] = jax.ShapeDtypeStruct((count, len(self.form.meaning.categorical)), jnp.int32)
        return found


def padded(arrays: Arrays, size: int) -> dict[str, np.ndarray]:
    """Arrays [N, ...] as [size, ...], filled up with the first example."""
    count = len(next(iter(arrays.values())))
    if count == size:
        return dict(arrays)
    return {name: np.concatenate([v, np.repeat(v[:1], size - count, 0)]) for name, v in arrays.items()}


def predictor_of(found: Loaded) -> Predictor:
    """The predictor of a restored run.

    Raises:
      ValueError: its model predicts nothing of an input, or its data are of a kind that has no raw inputs.
      DataAbsent: only the data say how inputs are prepared, and they are not there.
    """
    job, train = found.job, found.job.data.train
    who = f"{found.run.folder} is a run of {job.experiment.name}"
    if not job.model.has("apply"):
        raise ValueError(f"{who}, whose model predicts nothing: it has no operation 'apply'")
    form = Form(train.kind, train.shape, train.levels, train.meaning)
    prepare = _preparation(found, form, who)
    trained = job.trained(found.state)
    classes = _classes(train.num_classes, train.meaning)

    def forward(arrays: Arrays) -> Any:
        x = prepare(arrays)["x"]
        return _as_predictions(trained.model.apply(trained.params, trained.stats, x), classes)

    made = Predictor(form, classes, getattr(train.meaning, "target", None) or "class", forward)
    _check(made, trained, who)
    return made


def _preparation(found: Loaded, form: Form, who: str) -> Callable[[Arrays], Any]:
    """(raw arrays) -> batch, as the run evaluates it."""
    if form.kind == "tables" and isinstance(form.meaning, Prepared):
        rows = preparation(form.meaning)
        return lambda arrays: rows(arrays, None)
    if form.kind == "sentences" and isinstance(form.meaning, Words):
        return dict
    if form.kind != "images":
        raise ValueError(
            f"{who} on {form.kind}, of which raw inputs are not read: prepared tables, images and sentences are"
        )
    source: Any = found.job.data.train.source
    if hasattr(source, "refuse"):
        source.refuse()
    own = found.job.data.evaluation
    return (lambda arrays: own(arrays, jax.random.key(0))) if own is not None else dict


def _classes(count: int | None, meaning: Any) -> tuple[str, ...] | None:
    """Names of the classes, by the data or as numbers."""
    if count is None:
        return None
    return tuple(getattr(meaning, "classes", None) or map(str, range(count)))


def _as_predictions(outputs: Any, classes: tuple[str, ...] | None) -> Any:
    """Probabilities [N, K] of logits [N, K], or of the logit [N] of the second of two classes; numbers as they are."""
    if classes is None:
        return outputs
    if outputs.ndim == 1:
        positive = jax.nn.sigmoid(outputs)
        return jnp.stack([1 - positive, positive], -1)
    return jax.nn.softmax(outputs, -1)


def _check(made: Predictor, trained: Trained, who: str) -> None:
    """Refuse a model whose `apply` is no prediction of an example."""
    try:
        shape = jax.eval_shape(made.forward, made.shapes(3)).shape
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{who}, whose model makes no prediction of an example: {str(error).splitlines()[0]}"
        ) from None
    wanted = (3, len(made.classes)) if made.classes is not None else (3,)
    if shape[: len(wanted)] != wanted or len(shape) > 2:
        raise ValueError(f"{who}, whose outputs of an example are no class and no numbers, but {list(shape[1:])}")
