"""A recurrent network that reads vectors and answers at a sequence's end or at each of its steps.

Elman, Finding Structure in Time (1990); LSTM, Hochreiter & Schmidhuber (1997); GRU, Cho et al. (2014): their equations
stand in `gen_models/nn/recurrent.py`. Layers read

    h^0_t = x_t;   h^l_t, s^l_t = layer(h^(l-1)_t, s^l_(t-1));   answer_t = W h^L_t + b

Backpropagation through time (Werbos, 1990). With s_t the state behind step t, f the step and L the loss,

    dL/ds_t = (the part of L that reads s_t itself) + (df/ds_t)^T dL/ds_(t+1)

so that the gradient at a distance of k steps is a product of k matrices df/ds: it falls as r^k where these have norms
of r < 1, and may grow so where their spectral radius is r > 1 (Bengio et al., Learning Long-Term Dependencies with
Gradient Descent is Difficult, 1994; Pascanu et al., On the Difficulty of Training Recurrent Neural Networks, 2013).
Truncated backpropagation through time (Williams & Peng, 1990) leaves the second term out at the borders between windows
of steps:

- `window` cuts what one example holds: the forward values are those of the whole sequence, the gradients those of the
  windows. Borders are fixed; Williams & Peng's BPTT(h; h') lets each step look back equally far.
- `truncated` cuts between batches: a batch goes on from the state in which the one before it ended.

Bidirectional layers read the sequence backward as well (Schuster & Paliwal, 1997), and answer at the end from what each
direction has read whole. A layer behind the first may add its input to its output, with a layer norm and dropout before
it (Zaremba et al., 2014), as in `recurrent_language_model`; the first layer reads x as it is, as x is data, not learned
features. `cell="irnn"` is Elman's network with relu, whose recurrent matrix begins as the identity and whose input's
kernel with deviation 0.001 (Le et al., A Simple Way to Initialize Recurrent Networks of Rectified Linear Units, 2015).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model
from gen_models.errors import unknown
from gen_models.models.inputs import images
from gen_models.models.sequences.answers import HEADS, check_answers, checked_lengths, scored
from gen_models.models.sequences.recurrent_layers import empty_states, regularised
from gen_models.models.sizes import check_divides, check_numbers, check_sizes
from gen_models.models.supervised.heads import Answer
from gen_models.nn.dropout import check_dropout
from gen_models.nn.recurrent import GRU, LSTM, Bidirectional, Elman

CELLS = ("lstm", "gru", "elman", "irnn")
ACTIVATIONS = ("tanh", "relu", "linear")


def recurrent_network(
    shape: Sequence[int],
    outputs: int,
    *,
    answer: Answer = "classes",
    at: Literal["end", "each"] = "end",
    cell: Literal["lstm", "gru", "elman", "irnn"] = "lstm",
    features: int = 64,
    layers: int = 1,
    activation: Literal["tanh", "relu", "linear"] = "tanh",
    radius: float | Array = 1.0,
    bidirectional: bool = False,
    residual: bool = False,
    layer_norm: bool = False,
    dropout: float | Array = 0.0,
    variational: bool = False,
    window: int | None = None,
    truncated: bool = False,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of answers to sequences x [B, T, F]: a classifier, a tagger, or a regression.

    Its functions:
      loss: the mean over a batch's answers, which are B at the end and B T at each step, of the cross-entropy in nats
        ("classes"), of the squared error, itself a mean over outputs ("numbers"), or of -log p(y | x) in nats, summed
        over outputs ("normal"). Reads `batch["x"]`, float [B, T, F], and `batch["y"]`: integers [B] or [B, T] of
        classes, else floats [B, D] or [B, T, D], whose last axis may be left out where D is 1. With
        `batch["length"]`, integers [B] from 1 on, only so many steps of each sequence count: it ends there, and the sum
        over the steps that count is divided by all B T. Metrics: "accuracy" of classes, "mean_squared_error" else, over
        the answers that count.
      apply(params, stats, x, lengths=None): logits [..., K], or the answers' means [..., D]; [...] is [B] at the end
        and [B, T] at each step. `deviations=True` gives the pair of means and standard deviations of "normal" answers.
      encode(params, stats, x, key=None, lengths=None): the state behind each step, for each layer h [B, T, H], of an
        LSTM (h, c). Absent where `bidirectional`. The loss takes `nudges=`, arrays of these shapes, which are added to
        the states as the sequence is read: its gradient by them is dL/ds_t, with s_t the states of all layers.
      init_carry: with `truncated`, the state in which a batch's sequences begin: zeros.

    Args:
      shape: (T, F).
      outputs: K classes or D numbers.
      answer: what an answer is: one of K classes, D numbers, D independent normal distributions, or another head of
        `supervised/heads.py`.
      at: whether there is one answer, at a sequence's end, or one at each step.
      cell: kind of the layers.
      features: H of each layer, and of each direction.
      layers: how many, one above another.
      activation: of Elman's network; "linear" is for study.
      radius: the spectral radius of each recurrent matrix (of each gate's) at the start, when it is `radius` times an
        orthogonal one (for "irnn", times the identity); may be traced.
      bidirectional: whether each layer also reads backward; the next one reads both.
      residual: whether a layer behind the first adds its input to its output, where they have as many features.
      layer_norm: whether a layer norm stands before each layer behind the first and before the answers.
      dropout: probability with which a unit is dropped in training, at the same places; may be traced.
      variational: whether the dropped units are the same at all steps of a window.
      window: steps behind which gradients stop, a divisor of T; None: none does.
      truncated: whether a batch goes on from the state in which the one before ended, as `batches(...,
        contiguous=True)` gives them.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, fewer than two classes, an unknown word, a window that does not divide T, a
        network that reads backward with `window` or `truncated`, `dropout` outside of [0, 1), or a `radius` that is
        negative; a batch of another shape or without answers, and outside of `jit` a label of no class.
    """
    shape = check_answers(shape, outputs, answer, at)
    check_sizes(features=features, layers=layers, window=window)
    check_dropout(dropout)
    check_numbers(radius=radius)
    for what, word, known in (("cell", cell, CELLS), ("activation", activation, ACTIVATIONS)):
        if word not in known:
            raise unknown(what, word, known)
    if window is not None:
        check_divides("steps of a window", window, T=shape[0])
    if bidirectional and (window is not None or truncated):
        raise ValueError(
            f"a bidirectional network reads whole sequences, got {window=}, {truncated=}: leave them out, or read "
            "forward alone"
        )
    head = HEADS[answer](outputs)
    network = _Network(
        outputs=head.width,
        at=at,
        window=window,
        stack={
            "cell": cell,
            "features": features,
            "layers": layers,
            "activation": activation,
            "radius": radius,
            "bidirectional": bidirectional,
            "residual": residual,
        },
        layer_norm=layer_norm,
        dropout=dropout,
        variational=variational,
        dtype=dtype,
    )
    return _model(network, shape, at, head, truncated, bidirectional)


def _model(network, shape, at, head, truncated, bidirectional) -> Model:
    """The functions of a network of states and of a head of answers."""

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        return network.init(key, jnp.zeros((1, 1, shape[1]), jnp.float32))["params"], {}

    def outputs(params, x, lengths=None, **how):
        """Outputs [B, D] or [B, T, D], and the last states."""
        x = images({"x": x}, shape)
        lengths = None if lengths is None else checked_lengths(lengths, len(x))
        return network.apply({"params": params}, x, lengths, **how)

    def apply(
        params, stats, x: Float[Array, "b t f"], lengths: Int[Array, " b"] | None = None, *, deviations: bool = False
    ) -> Any:
        """Logits, or means of the answers; with `deviations`, means and standard deviations."""
        if deviations and head.deviations is None:
            raise ValueError("these answers have no standard deviations: they are those of answer='normal'")
        found, _ = outputs(params, x, lengths)
        return (head.predicted(found), head.deviations(found)) if deviations else head.predicted(found)

    def encode(
        params, stats, x: Float[Array, "b t f"], key: Key | None = None, *, lengths: Int[Array, " b"] | None = None
    ) -> Any:
        """The state behind each step, [B, T, H] on every leaf."""
        return outputs(params, x, lengths, each_state=True)[1]

    def loss(params, stats, batch, key, *, step, train=True, carry=None, nudges=None):
        """The mean over answers; dropout where `train`."""
        if bidirectional and nudges is not None:
            raise ValueError("nudges are of one direction's states: read forward alone")
        rngs = {"dropout": key} if train else None
        how = {"states": carry, "train": train, "nudges": nudges, "rngs": rngs}
        value, metrics, states = scored(head, at, batch, shape, lambda x, lengths: outputs(params, x, lengths, **how))
        return value, (stats, metrics, states) if truncated else (stats, metrics)

    def init_carry(params, batch):
        return network.empty(len(images(batch, shape)))

    more: Mapping[str, Any] = ({"init_carry": init_carry} if truncated else {}) | (
        {} if bidirectional else {"encode": encode}
    )
    return Model(init=init, loss=loss, apply=apply, **more)


class _Network(nn.Module, kw_only=True):
    outputs: int
    at: str
    window: int | None
    stack: Mapping[str, Any]
    layer_norm: bool
    dropout: float | Array
    variational: bool
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, lengths=None, states=None, train=False, nudges=None, each_state=False):
        """[B, T, F] -> ([B, D] or [B, T, D], last states or, with `each_state`, those behind each step)."""
        by_step = each_state or nudges is not None
        size = 1 if by_step else self.window or x.shape[1]  # steps of what the layers read at once
        between: dict[str, Any] = {"layer_norm": self.layer_norm, "dropout": self.dropout}
        between |= {"variational": self.variational, "dtype": self.dtype}
        more = between | {"train": train, "name": "layers"}
        if size >= x.shape[1] and not by_step:
            states, (h, _) = _Layers(**self.stack, **more)(states, x, lengths)
        else:
            h, states = self._by_parts(x, lengths, states, nudges, size, more, each_state)
        h = regularised(self._answering(h, lengths), "last_norm", train, **between)
        if self.at == "end":
            h = h[:, 0]
        return nn.Dense(self.outputs, dtype=self.dtype, name="outputs")(h).astype(jnp.float32), states

    def _by_parts(self, x, lengths, states, nudges, size, more, each_state):
        """Outputs and states, `size` steps at a time: gradients stop between windows."""
        batch, steps = x.shape[:2]
        count = steps // size
        parts = lambda leaf: leaf.reshape(batch, count, size, *leaf.shape[2:]).swapaxes(0, 1)  # noqa: E731
        whole = lambda leaf: leaf.swapaxes(0, 1).reshape(batch, steps, *leaf.shape[3:])  # noqa: E731
        begins = jnp.arange(count) * size
        border = (begins > 0) & (begins % self.window == 0) if self.window else begins < 0
        if lengths is not None:
            lengths = jnp.clip(lengths - begins[:, None], 0, size)
        if nudges is not None:
            nudges = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), nudges)
        scanned = nn.scan(
            _Layers,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=(0, 0, 0, 0),
            out_axes=0,
        )
        states = self.empty(batch) if states is None else states
        last, (h, kept) = scanned(**self.stack, **more)(states, parts(x), lengths, nudges, border)
        return whole(h), jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), kept) if each_state else last

    def _answering(self, h, lengths):
        """The outputs that answers read: all of them, or [B, 1, H], of a sequence's end."""
        if self.at == "each":
            return h
        end = h[:, -1] if lengths is None else h[jnp.arange(len(h)), jnp.maximum(lengths, 1) - 1]
        if self.stack["bidirectional"]:  # the second half has read the whole sequence where that begins
            end = jnp.concatenate([end[:, : self.stack["features"]], h[:, 0, self.stack["features"] :]], -1)
        return end[:, None]

    def empty(self, batch):
        """The states of all layers before a sequence: zeros."""
        return empty_states(self.stack["cell"], self.stack["features"], self.stack["layers"], batch)


class _Layers(nn.Module, kw_only=True):
    """All layers over some steps."""

    cell: str
    features: int
    layers: int
    activation: str
    radius: float | Array
    bidirectional: bool
    residual: bool
    layer_norm: bool
    dropout: float | Array
    variational: bool
    dtype: DTypeLike | None
    train: bool

    @nn.compact
    def __call__(self, states, h, lengths, nudges=None, border=None):
        """States and [B, T, F] -> states and ([B, T, H], states): at a border, those before are cut off from gradients.

        `nudges` are added to the states behind the one step that is read: what is answered and the next step see them.
        """
        kept, told = [], h
        if border is not None:
            states = jax.tree.map(lambda state: jnp.where(border, lax.stop_gradient(state), state), states)
        for index in range(self.layers):
            x = self._between(h, f"norm_{index}") if index else h
            y, state = self._layer(index)(x, None if states is None else states[index], lengths)
            nudged = y
            if nudges is not None:
                state = jax.tree.map(jnp.add, state, nudges[index])
                nudged = (state[0] if self.cell == "lstm" else state)[:, None].astype(y.dtype)
            added = self.residual and index and h.shape == y.shape
            h, told = (h + y, told + nudged) if added else (y, nudged)
            kept.append(state)
        return tuple(kept), (told, tuple(kept))

    def _between(self, h, name):
        how: dict[str, Any] = {"layer_norm": self.layer_norm, "dropout": self.dropout, "variational": self.variational}
        return regularised(h, name, self.train, dtype=self.dtype, **how)

    def _layer(self, index):
        name = f"{self.cell}_{index}"
        if not self.bidirectional:
            return self._one_way(name=name)
        return Bidirectional(self._one_way(parent=None), self._one_way(reverse=True, parent=None), name=name)

    def _one_way(self, **how):
        how |= {"dtype": self.dtype, "recurrent_init": nn.initializers.orthogonal(self.radius)}
        if self.cell == "irnn":
            how |= {"recurrent_init": _identity(self.radius), "kernel_init": nn.initializers.normal(1e-3)}
            return Elman(self.features, activation="relu", **how)
        if self.cell == "elman":
            return Elman(self.features, activation=self.activation, **how)
        return (LSTM if self.cell == "lstm" else GRU)(self.features, **how)


def _identity(scale):
    return lambda key, shape, dtype: jnp.asarray(scale, dtype) * jnp.eye(shape[0], dtype=dtype)
