"""Optimizers by name, each a chain of optax transformations.

One order for all of them:

1. the penalties `l1` and `l2` join the gradient: g + l1 sign(p) + l2 p is the gradient of the penalised objective
   L + l1 |p|_1 + l2/2 |p|^2;
2. `clip_norm` scales that gradient down to a global norm of at most `clip_norm` (Pascanu et al. 2013, algorithm 1). The
   penalties come first because they are part of the objective, and so that the bound holds for what the rule sees: a
   step of plain SGD is never longer than learning_rate * clip_norm;
3. the rule: sgd, momentum, nesterov, adagrad, rmsprop, adam;
4. decoupled weight decay joins the rule's direction (Loshchilov & Hutter 2019);
5. all of it is multiplied by minus the learning rate, which may be a float, a traced value or an optax schedule, such
   as those of `gen_models/schedules.py`.

Steps 1 and 4 leave biases and normalisation scales alone (`not_bias_or_scale`). Every float of an optimizer may be
traced.

    tx = optimizer("adamw", schedule("cosine", 1e-3, 10_000, warmup_steps=500), clip_norm=1.0, weight_decay=0.05)

Where we differ from the papers, because optax does:

- momentum: Polyak's step is beta * (last step) - learning_rate * g; here the learning rate multiplies the whole
  velocity. The same for a constant rate; under a schedule a new rate takes hold at once, as in PyTorch.
- adagrad: Duchi et al. divide by delta + sqrt(sum g^2), we by sqrt(sum g^2 + eps). The sum starts at 0 as in the paper
  (optax's own default is 0.1), and while it is 0 the step is 0.
- rmsprop: Hinton's slide has no epsilon; ours is under the root, as in Graves (2013), eq. 40.
- adam: epsilon outside the root, added to the bias-corrected sqrt(v_hat): algorithm 1 of Kingma & Ba, exactly.
- adamw: algorithm 2 of Loshchilov & Hutter multiplies the decay by the schedule alone, not by the base rate alpha;
  here it is by both, as in PyTorch: their lambda is our learning_rate * weight_decay.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from gen_models.errors import unknown

Scalar = float | Float[Array, ""]
LearningRate = Scalar | Callable[[Any], Any]  # or an optax schedule: step -> rate
Mask = Callable[[PyTree], PyTree]


class Common(TypedDict, total=False):
    """What every optimizer takes besides its own options; the module's docstring says in which order they act."""

    clip_norm: Scalar | None  # bound on the gradient's global L2 norm; None: no clipping
    l1: Scalar  # adds l1 * sign(p) to the gradient
    l2: Scalar  # adds l2 * p to the gradient
    weight_decay: Scalar  # decoupled: adds weight_decay * p to the direction; 0, but for adamw 0.01
    mask: Mask  # params -> tree of booleans: where l1, l2 and weight_decay act


def not_bias_or_scale(params: PyTree) -> PyTree:
    """True for the leaves that penalties and decay act on: not named "bias" or "scale", and of two or more dimensions.

    The number of dimensions also spares biases and scales of other names (an `embedding` vector, a `log_scale`).
    """

    def decays(path, leaf) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True) if path else ""
        return name not in ("bias", "scale") and jnp.ndim(leaf) > 1

    return jax.tree_util.tree_map_with_path(decays, params)


def sgd(learning_rate: LearningRate, **common: Unpack[Common]) -> optax.GradientTransformation:
    """Gradient descent: p - learning_rate * g."""
    return _chain(optax.identity(), learning_rate, **common)


def momentum(
    learning_rate: LearningRate, momentum: Scalar = 0.9, nesterov: bool = False, **common: Unpack[Common]
) -> optax.GradientTransformation:
    """Heavy ball (Polyak 1964): v = momentum * v + g, p - learning_rate * v.

    With `nesterov`, p - learning_rate * (g + momentum * v): Sutskever et al. (2013), eq. 3 and 4, written in the
    parameters at which their gradient is taken.
    """
    _between("momentum", momentum, 0, 1)
    return _chain(optax.trace(momentum, nesterov=nesterov), learning_rate, **common)


def nesterov(
    learning_rate: LearningRate, momentum: Scalar = 0.9, **common: Unpack[Common]
) -> optax.GradientTransformation:
    """`momentum` with `nesterov=True`."""
    _between("momentum", momentum, 0, 1)
    return _chain(optax.trace(momentum, nesterov=True), learning_rate, **common)


def adagrad(
    learning_rate: LearningRate, initial_accumulator: Scalar = 0.0, eps: Scalar = 1e-10, **common: Unpack[Common]
) -> optax.GradientTransformation:
    """AdaGrad (Duchi et al. 2011, figure 1, diagonal): g / sqrt(initial_accumulator + sum of g^2 + eps)."""
    _at_least("initial_accumulator", initial_accumulator, 0)
    _at_least("eps", eps, 0)
    return _chain(optax.scale_by_rss(initial_accumulator, eps), learning_rate, **common)


def rmsprop(
    learning_rate: LearningRate,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    momentum: Scalar = 0.0,
    centered: bool = False,
    **common: Unpack[Common],
) -> optax.GradientTransformation:
    """RMSProp (Tieleman & Hinton 2012, lecture 6e): g / sqrt(m + eps), m the decayed average of g^2, from 0.

    `centered` subtracts the square of the decayed average of g from m, and `momentum` accumulates the scaled gradient:
    together Graves (2013), eq. 38 to 41 (decay 0.95, momentum 0.9, eps 1e-4).
    """
    _between("decay", decay, 0, 1)
    _between("momentum", momentum, 0, 1)
    _at_least("eps", eps, 0)
    rule = _scale_by_centered_rms(decay, eps) if centered else optax.scale_by_rms(decay, eps)
    if not (isinstance(momentum, (int, float)) and momentum == 0):
        rule = optax.chain(rule, optax.trace(momentum))
    return _chain(rule, learning_rate, **common)


def adam(
    learning_rate: LearningRate,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    **common: Unpack[Common],
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015, algorithm 1): m_hat / (sqrt(v_hat) + eps)."""
    _between("b1", b1, 0, 1)
    _between("b2", b2, 0, 1)
    _at_least("eps", eps, 0)
    return _chain(optax.scale_by_adam(b1, b2, eps), learning_rate, **common)


def adamw(
    learning_rate: LearningRate,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    **common: Unpack[Common],
) -> optax.GradientTransformation:
    """Adam with decoupled decay (Loshchilov & Hutter 2019, algorithm 2); `weight_decay` is 0.01 unless given."""
    return adam(learning_rate, b1, b2, eps, **(Common(weight_decay=0.01) | common))


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


def optimizer(
    name: str = "adam",
    learning_rate: LearningRate = 1e-3,
    *,
    clip_norm: Scalar | None = None,
    l1: Scalar = 0.0,
    l2: Scalar = 0.0,
    weight_decay: Scalar | None = None,
    mask: Mask = not_bias_or_scale,
    **hyper: Any,
) -> optax.GradientTransformation:
    """An optimizer by its name in `OPTIMIZERS`.

    Args:
      name: "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam" or "adamw".
      learning_rate: a float, a traced scalar, or a schedule (step -> rate, from step 0).
      clip_norm: bound on the global L2 norm of the gradient, penalties included; None: no clipping.
      l1: weight of the absolute-value penalty.
      l2: weight of half the squared penalty, as part of the gradient.
      weight_decay: decoupled decay, per unit of learning rate; None: the optimizer's own (adamw 0.01, else 0).
      mask: params -> tree of booleans: where l1, l2 and weight_decay act.
      **hyper: options of that optimizer, such as `b1`.

    Raises:
      ValueError: an unknown name, an option that this optimizer does not take, or a value out of its range.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    rule = OPTIMIZERS[name]
    takes = [p.name for p in inspect.signature(rule).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
    for option in hyper:
        if option not in takes:
            raise ValueError(f"{name} takes no option {option!r}: its own are {', '.join(takes) or 'none'}")
    if weight_decay is not None:
        hyper["weight_decay"] = weight_decay
    return rule(learning_rate, clip_norm=clip_norm, l1=l1, l2=l2, mask=mask, **hyper)


def injected(name: str = "adam", learning_rate: Scalar = 1e-3, **options: Any) -> optax.GradientTransformation:
    """`optimizer`, with the learning rate in the optimizer's state instead of in the program.

    One compiled step then serves every rate, and `vmap` runs over them: give each member's state its own rate with
    `set_learning_rate`, or build the transformation inside the mapped function from a traced `learning_rate`. Other
    floats are hyperparameters of the program, unless they are traced themselves.

    Raises:
      ValueError: as `optimizer`; or `learning_rate` is a schedule, which state would not hold.
    """
    if callable(learning_rate):
        raise ValueError(f"injected takes a learning rate, not the schedule {learning_rate!r}: use optimizer()")
    _at_least("learning_rate", learning_rate, 0)
    return optax.inject_hyperparams(lambda learning_rate: optimizer(name, learning_rate, **options))(
        learning_rate=learning_rate
    )


def set_learning_rate(opt_state: Any, learning_rate: Scalar) -> Any:
    """A copy of an `injected` optimizer's state with another learning rate, for the same compiled step."""
    old = opt_state.hyperparams["learning_rate"]
    rate = jnp.broadcast_to(jnp.asarray(learning_rate, old.dtype), old.shape)
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "learning_rate": rate})


def clipped_weights(tx: optax.GradientTransformation, c: Scalar = 0.01) -> optax.GradientTransformation:
    """`tx`, after whose update every parameter lies in [-c, c]: Arjovsky et al., Wasserstein GAN (2017), algorithm 1.

    They clip all of the critic's parameters, so that it is K-Lipschitz for some K that depends on c. Here biases are
    clipped as well, and scales of a normalisation. Parameters that start outside come inside with the first update. It
    wraps the whole chain, as whatever came after it could lead out again.

    Args:
      tx: the critic's transformation; RMSProp with a rate of 5e-5 in the paper.
      c: the bound; may be traced.

    Raises:
      ValueError: c is not positive and finite; when it is used, the parameters are not given to `update`.
    """
    if isinstance(c, (int, float)) and not 0 < c < math.inf:
        raise ValueError(f"c must be positive and finite, got {c}")

    def update(grads, state, params=None):
        if params is None:
            raise ValueError("clipped weights need the parameters: call update(grads, state, params)")
        updates, state = tx.update(grads, state, params)
        return jax.tree.map(partial(_clipped_update, c), updates, params), state

    return optax.GradientTransformation(tx.init, update)


def _clipped_update(c: Scalar, update: Array, p: Array) -> Array:
    """What leads p to where the update would lead, but at most to -c or c."""
    bound = jnp.asarray(c, p.dtype)
    inside = jnp.abs(p + update) <= bound  # there the update is as it is, as p + ((p + update) - p) may be rounded
    clipped = jnp.clip(p + update, -bound, bound) - p
    after = p + clipped  # may be rounded to the number beyond the bound, from which one step back leads inside
    clipped = jnp.where(jnp.abs(after) > bound, jnp.nextafter(clipped, -jnp.sign(after) * jnp.inf), clipped)
    return jnp.where(inside, update, clipped)


def _chain(
    rule: optax.GradientTransformation,
    learning_rate: LearningRate,
    clip_norm: Scalar | None = None,
    l1: Scalar = 0.0,
    l2: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    mask: Mask = not_bias_or_scale,
) -> optax.GradientTransformation:
    """The order of the module's docstring around one rule."""
    if not callable(learning_rate):
        _at_least("learning_rate", learning_rate, 0)
    for name, value in (("l1", l1), ("l2", l2), ("weight_decay", weight_decay)):
        _at_least(name, value, 0)
    parts = [_add(lambda p: l1 * jnp.sign(p), l1, mask), _add(lambda p: l2 * p, l2, mask)]
    if clip_norm is not None:
        if isinstance(clip_norm, (int, float)) and not clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, or None for no clipping, got {clip_norm}")
        parts.append(optax.clip_by_global_norm(clip_norm))
    parts += [rule, _add(lambda p: weight_decay * p, weight_decay, mask)]
    parts.append(optax.scale_by_learning_rate(learning_rate))
    return optax.chain(*parts)


def _add(term: Callable[[Array], Array], weight: Scalar, mask: Mask) -> optax.GradientTransformation:
    """Adds term(p) to the update of each masked leaf; nothing at all where the weight is known to be 0."""
    if isinstance(weight, (int, float)) and weight == 0:
        return optax.identity()

    def add(updates, params):
        if params is None:
            raise ValueError("penalties and weight decay need the parameters: call update(grads, state, params)")
        return jax.tree.map(lambda u, p: u + term(p).astype(u.dtype), updates, params)

    return optax.masked(optax.stateless(add), mask)


def _scale_by_centered_rms(decay: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """Graves (2013), eq. 38 to 40. optax has NaN where rounding makes the variance negative; here it stops at 0."""

    def init(params):
        return jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)

    def update(grads, state, params=None):
        del params
        mean = jax.tree.map(lambda g, m: decay * m + (1 - decay) * g, grads, state[0])
        square = jax.tree.map(lambda g, n: decay * n + (1 - decay) * g**2, grads, state[1])
        variance = jax.tree.map(lambda m, n: jnp.maximum(n - m**2, 0.0), mean, square)
        return jax.tree.map(lambda g, v: g * jax.lax.rsqrt(v + eps), grads, variance), (mean, square)

    return optax.GradientTransformation(init, update)


def _between(name: str, value: Any, low: float, high: float) -> None:
    """Refuses a value outside [low, high), where it is known."""
    if isinstance(value, (int, float)) and not low <= value < high:
        raise ValueError(f"{name} must be at least {low} and below {high}, got {value}")


def _at_least(name: str, value: Any, low: float) -> None:
    """Refuses a value that is below `low`, infinite or NaN, where it is known."""
    if isinstance(value, (int, float)) and not low <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least {low}, got {value}")
