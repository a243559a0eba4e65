"""A recurrent network of polyphonic music: which keys of a piano sound in each step, given the steps before.

Boulanger-Lewandowski, Bengio & Vincent, Modeling Temporal Dependencies in High-Dimensional Sequences (2012); with
gates: Chung et al., Empirical Evaluation of Gated Recurrent Neural Networks on Sequence Modeling (2014). A step is a
row v_t of zeros and ones, and a sequence follows a row of zeros, v_0. Recurrent layers read the row before,

    h_t = f(v_{t-1}, h_{t-1}),   log p(v_1 ... v_T) = sum over t of log p(v_t | h_t)

and the keys of a row are, given h_t,

- independent: logits b + U h_t (the RNN of section 4 of the first paper; all of the second);
- or NADE's (RNN-NADE, section 3 with NADE in the RBM's place): logit of key d is b_t[d] + V_d . sigmoid(a_d), with
  a_{d+1} = a_d + v_t[d] W_d from a_1 = c_t, and b_t = b + U h_t, c_t = c + U' h_t. So a chord is judged as a whole.

Chung et al. disturb the weights in training by Gaussian noise (`weight_noise`; Graves, Practical Variational Inference
for Neural Networks, 2011). W and V are fixed in time. How we differ: the first paper's RBM in place of NADE, whose
likelihood is not exact, is left out.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Real, UInt8

from gen_models.core import Key, Model
from gen_models.errors import unknown
from gen_models.models.autoregressive.nade import nade_products
from gen_models.models.inputs import check_count, check_temperature, field
from gen_models.models.sequences.recurrent_layers import CELLS, empty_states, through_layers
from gen_models.models.sizes import check_sizes
from gen_models.nn.dropout import Dropout, check_dropout

OUTPUTS = ("independent", "nade")
SAMPLERS = ("cached", "naive")


def polyphonic(
    keys: int = 88,
    *,
    cell: Literal["gru", "lstm", "elman"] = "gru",
    features: int = 46,
    layers: int = 1,
    output: Literal["independent", "nade"] = "independent",
    nade_features: int = 64,
    dropout: float | Array = 0.0,
    weight_noise: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of sequences of rows of zeros and ones, [T, keys].

    Its functions:
      loss: minus the sum of log p(y_t | x_1 ... x_t) over a batch, divided by its B T steps: nats a step where windows
        are full. Reads `batch["x"]`, [B, T, keys], the row before each, `batch["y"]`, the rows, and `batch["length"]`,
        [B], where only so many rows of a window count. Goes on from window to window.
      apply(params, stats, x, lengths=None): logits [B, T, keys] of the rows that follow x; of independent keys alone.
      log_prob(params, stats, x, key=None, inputs=None, lengths=None): exact, [B] nats, of rows x [B, T, keys], each
        of which follows that of `inputs`, by default a row of zeros and all of x but its last.
      sample(params, stats, key, n, length=64, prompt=None, temperature=1.0, method="cached"): uint8 [n, length, keys].
        `prompt`, [P, keys] or [n, P, keys], are the rows that come first.
      init_carry: what the layers keep of a batch's sequences.

    Args:
      keys: of a row.
      cell: kind of the layers.
      features: of each layer. Chung et al. have 46 for a GRU, 36 for an LSTM and 100 for Elman's, 20,000 parameters.
      layers: how many, one above another.
      output: what the keys of a row are given the state.
      nade_features: hidden units of NADE.
      dropout: probability with which a unit is dropped in training, before each layer and before the output.
      weight_noise: standard deviation of what is added to each parameter in training, anew in each step.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, NADE and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell or output, `dropout` is not in [0, 1), or `weight_noise` is
        negative; arguments of other shapes than these.
    """
    check_sizes(keys=keys, features=features, layers=layers, nade_features=nade_features)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    if isinstance(weight_noise, int | float) and not weight_noise >= 0:
        raise ValueError(f"weight_noise must be 0 or more, got {weight_noise}")
    hidden = nade_features if output == "nade" else 0
    network = _Network(
        keys=keys, cell=cell, features=features, layers=layers, hidden=hidden, dropout=dropout, dtype=dtype
    )

    def init(key, batch):
        x, _, _ = _windows(batch, keys)
        return network.init(key, jnp.zeros((1, *x.shape[1:])), None, None, False)["params"], {}

    def conditions(params, x, carry=None, lengths=None, train=False, key=None):
        """What each row's probabilities depend on, and the layers' states."""
        rngs = None if key is None else {"dropout": key}
        return network.apply({"params": params}, x, carry, lengths, train, rngs=rngs)

    def of_rows(params, given, y, lengths) -> Float[Array, "b t"]:
        """log p of each row of y, 0 behind a sequence's length."""
        logits = _nade_logits(params["nade"], given, y) if hidden else given
        log_p = (y * logits - jax.nn.softplus(logits)).sum(-1)
        return log_p if lengths is None else jnp.where(_counts(y, lengths), log_p, 0)

    def loss(params, stats, batch, key, *, step, train=True, carry=None):
        """Nats a step; noise and dropout where `train`."""
        x, y, lengths = _windows(batch, keys)
        if train:
            noise_key, key = jax.random.split(key)
            params = _disturbed(params, weight_noise, noise_key)
        given, carry = conditions(params, x, carry, lengths, train, key)
        return -of_rows(params, given, y, lengths).sum() / (x.shape[0] * x.shape[1]), (stats, {}, carry)

    def apply(params, stats, x: Real[Array, "b t k"], lengths: Int[Array, " b"] | None = None):
        """The logits of the keys of the row that follows each, [B, T, keys]."""
        return conditions(params, _checked(x, "x", keys), None, lengths)[0]

    def log_prob(
        params,
        stats,
        x: Real[Array, "b t k"],
        key: Key | None = None,
        *,
        inputs: Any = None,
        lengths: Int[Array, " b"] | None = None,
    ) -> Float[Array, " b"]:
        """Exact log p(x), [B] nats, or of x given `inputs`."""
        x = _checked(x, "x", keys)
        inputs = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0))) if inputs is None else _checked(inputs, "inputs", keys)
        if inputs.shape != x.shape:
            raise ValueError(f"inputs must be as x, {list(x.shape)}, got {list(inputs.shape)}")
        return of_rows(params, conditions(params, inputs, None, lengths)[0], x, lengths).sum(1)

    def sample(
        params,
        stats,
        key: Key,
        n: int,
        *,
        length: int = 64,
        prompt: Any = None,
        temperature: float | Array = 1.0,
        method: Literal["cached", "naive"] = "cached",
    ) -> UInt8[Array, "n length k"]:
        """Rows drawn one after another, behind a prompt or behind silence."""
        check_count(n)
        check_sizes(length=length)
        fits = check_temperature(temperature)
        if method not in SAMPLERS:
            raise unknown("method of sampling", method, SAMPLERS)
        rows, given_rows = _prompt(prompt, n, length, keys)

        def drawn(key, given):
            if hidden:
                return _drawn_by_nade(params["nade"], key, given, temperature)
            return jax.random.bernoulli(key, jax.nn.sigmoid(given / temperature)).astype(jnp.float32)

        def one(carry, t):
            row, kept = carry
            if method == "naive":
                kept = kept.at[:, t].set(row)
                given = jax.tree.map(lambda leaf: leaf[:, t], conditions(params, kept)[0])
            else:
                given, kept = network.apply({"params": params}, row, kept, method="step")
            row = jnp.where(t < given_rows, rows[:, t], drawn(jax.random.fold_in(key, t), given))
            return (row, kept), row

        silence = jnp.zeros((n, keys))
        kept = jnp.zeros((n, length, keys)) if method == "naive" else network.empty(n)
        drawn_rows = lax.scan(one, (silence, kept), jnp.arange(length))[1].swapaxes(0, 1)
        return jnp.where(fits, drawn_rows, 255).astype(jnp.uint8)  # 255 is no key's value

    def init_carry(params, batch):
        return network.empty(_windows(batch, keys)[0].shape[0])

    more: Mapping[str, Any] = {} if hidden else {"apply": apply}
    return Model(init=init, loss=loss, sample=sample, log_prob=log_prob, init_carry=init_carry, **more)


class _Network(nn.Module, kw_only=True):
    keys: int
    cell: str
    features: int
    layers: int
    hidden: int  # units of NADE; 0: keys are independent
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, carry, lengths, train, one=False):  # [B, T, K], or [B, K] with `one`
        layers = [
            CELLS[self.cell](self.features, dtype=self.dtype, name=f"{self.cell}_{index}")
            for index in range(self.layers)
        ]
        # The rows themselves are never dropped.
        before = lambda h, index: Dropout()(h, self.dropout, train) if index else h  # noqa: E731
        h, carry = through_layers(layers, x, carry, lengths, before, one=one)
        h = Dropout()(h, self.dropout, train)
        logits = nn.Dense(self.keys, dtype=self.dtype, name="logits")(h).astype(jnp.float32)
        if not self.hidden:
            return logits, carry
        first = nn.Dense(self.hidden, dtype=self.dtype, name="first_sums")(h).astype(jnp.float32)
        _Nade(self.keys, self.hidden, name="nade")()
        return (logits, first), carry

    def step(self, row, carry):
        return self(row, carry, None, False, one=True)

    def empty(self, batch):
        return empty_states(self.cell, self.features, self.layers, batch)


class _Nade(nn.Module):
    """The weights of NADE that do not change in time."""

    keys: int
    hidden: int

    @nn.compact
    def __call__(self):
        init = nn.initializers.normal(0.01)
        return tuple(self.param(name, init, (self.keys, self.hidden), jnp.float32) for name in ("W", "V"))


def _nade_logits(weights, given, y):
    """Logits [B, T, K] of each key of y, given the keys below it in its row."""
    b, c = given
    each = nade_products(y.reshape(-1, y.shape[-1]), weights["W"], weights["V"], c.reshape(-1, c.shape[-1]))
    return each.reshape(y.shape) + b


def _drawn_by_nade(weights, key, given, temperature):
    """Rows [n, K], drawn key by key from below."""
    b, c = given

    def one(a, numbered):
        d, w, v, bias = numbered
        logit = bias + jax.nn.sigmoid(a) @ v
        on = jax.random.bernoulli(jax.random.fold_in(key, d), jax.nn.sigmoid(logit / temperature)).astype(jnp.float32)
        return a + on[:, None] * w, on

    return lax.scan(one, c, (jnp.arange(b.shape[-1]), weights["W"], weights["V"], b.T))[1].T


def _disturbed(params, deviation, key):
    """The parameters with Gaussian noise of this standard deviation, which a number of 0 leaves out."""
    if isinstance(deviation, int | float) and deviation == 0:
        return params
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [leaf + deviation * jax.random.normal(own, leaf.shape) for leaf, own in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def _windows(batch: Mapping[str, Array], keys: int) -> tuple[Array, Array, Array | None]:
    """The rows before, the rows, and how many count, or None for all."""
    x = _checked(field(batch, "x", "name the rows before each row 'x'"), "the batch's 'x'", keys)
    y = _checked(field(batch, "y", "the rows that follow those of 'x', as 'y'"), "the batch's 'y'", keys)
    if x.shape != y.shape:
        raise ValueError(f"each row of 'x' is followed by one of 'y', got {list(x.shape)} and {list(y.shape)}")
    return x, y, jnp.asarray(batch["length"]) if "length" in batch else None


def _checked(rows: Any, what: str, keys: int) -> Array:
    shape = jnp.shape(rows)
    if len(shape) != 3 or 0 in shape or shape[2] != keys:
        raise ValueError(f"{what} must be rows [B, T, {keys}], got {list(shape)}")
    return jnp.asarray(rows, jnp.float32)


def _counts(rows: Array, lengths: Array) -> Array:
    return jnp.arange(rows.shape[1]) < lengths[:, None]


def _prompt(prompt: Any, n: int, length: int, keys: int) -> tuple[Array, int]:
    """The prompt's rows, [n, length, keys], and how many they are."""
    if prompt is None:
        return jnp.zeros((n, length, keys)), 0
    prompt = jnp.asarray(prompt, jnp.float32)
    if prompt.ndim not in (2, 3) or prompt.shape[:-2] not in ((), (n,)) or prompt.shape[-1] != keys:
        raise ValueError(f"prompt must be rows [P, {keys}] or [{n}, P, {keys}], got {list(prompt.shape)}")
    count = prompt.shape[-2]
    if count > length:
        raise ValueError(f"the prompt has {count} rows, and length={length} is less: ask for more")
    return jnp.zeros((n, length, keys)).at[:, :count].set(prompt), count
