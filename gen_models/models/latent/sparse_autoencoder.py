"""Sparse autoencoders: few units of the code are active for an image, however many there are.

Three ways, each an object with the code's activation, the units that are kept and the penalty, which joins the error:

- `kl_sparse`: a unit's mean activity over the batch is drawn to a target (Lee et al., 2008; Ng, CS294A lecture notes,
  section 3): weight sum_j KL(rho || rho^_j), with rho^_j = mean_i a_j(x_i) and a_j of a sigmoid,

      KL(rho || rho^) = rho log(rho / rho^) + (1 - rho) log((1 - rho) / (1 - rho^))

- `l1_sparse`: weight sum_j |a_j|, after a rectifier. A code that shrinks while the decoder's weights grow would escape
  it: give the optimizer a penalty on these, `l2` or `weight_decay`.
- `k_sparse`: the k largest units of a linear code are kept, and nothing is penalised (Makhzani & Frey, 2013, algorithm
  1); only these have a gradient. Their factor alpha, by which `encode` keeps more units than training does, is
  `encoded`; their fall of k over the first epochs is not here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.latent.autoencoder import Network, parts_of
from gen_models.models.sizes import check_numbers, check_sizes
from gen_models.nn.autoencoding import Activation

_LEAST = 1e-6  # mean activity, and inactivity, below which a unit's divergence stays as it is, finite


class Sparsity(NamedTuple):
    """A way to make codes sparse, as functions of codes [B, D]."""

    activation: Activation | None  # of the code, where the model is given no other; None: the identity
    kept: Callable[[Array], Array]  # codes -> codes with units set to 0, in training
    encoded: Callable[[Array], Array]  # the same, of what `encode` gives
    penalty: Callable[[Array, Array], Array]  # (codes, each unit's mean over the whole batch [D]) -> scalar


def sparse_autoencoder(
    shape: Sequence[int] = (28, 28, 1),
    *,
    sparsity: Sparsity | None = None,
    axis_name: str | None = None,
    **network: Unpack[Network],
) -> Model:
    """An autoencoder whose codes are sparse.

    Its functions are those of `autoencoder`; the loss adds the penalty, and its metrics are "reconstruction",
    "sparsity", which is the penalty, and "active", the share of the code's numbers that are above 1/100 in size.

    Args:
      shape: (height, width, channels) of one image.
      sparsity: `kl_sparse`, `l1_sparse` or `k_sparse`; None: `kl_sparse()`.
      axis_name: of devices over which a unit's mean activity is taken, as batch norm's is; micro-batches of
        `accumulate` have means of their own.
      **network: as for `autoencoder`; a `code_activation` takes the place of the sparsity's own. That of `kl_sparse`
        must be between 0 and 1.

    Raises:
      ValueError: as `autoencoder`.
    """
    sparsity = kl_sparse() if sparsity is None else sparsity
    own: Network = {"code_activation": sparsity.activation}
    parts = parts_of(shape, **(own | network))

    def loss(params, stats, batch, key, *, step, train=True):
        x = parts.seen(batch)
        code = sparsity.kept(parts.code(params, x))
        reconstruction = parts.error(params, code, x).mean()
        activity = code.mean(0)
        penalty = sparsity.penalty(code, activity if axis_name is None else jax.lax.pmean(activity, axis_name))
        active = (jnp.abs(code) > 0.01).mean(dtype=jnp.float32)
        metrics = {"reconstruction": reconstruction, "sparsity": penalty, "active": active}
        return reconstruction + penalty, (stats, metrics)

    def encode(params, stats, x, key=None):
        """The codes of x [B, latent], with as many units as the sparsity keeps."""
        return sparsity.encoded(parts.code(params, parts.seen({"x": x})))

    return parts.model(loss, encode=encode)


def kl_sparse(target: float | Array = 0.05, weight: float | Array = 3.0) -> Sparsity:
    """Units of a sigmoid whose mean activity is drawn to `target`; the defaults are those of Ng's notes.

    Args:
      target: rho of the equation above, between 0 and 1; may be traced.
      weight: of the sum of the divergences, in the unit of the error; may be traced.

    Raises:
      ValueError: the target is not between 0 and 1, or the weight is negative, infinite or NaN.
    """
    if isinstance(target, int | float) and not 0 < target < 1:
        raise ValueError(f"a target activity must be between 0 and 1, got target={target}")
    check_numbers(weight=weight)

    def penalty(code: Float[Array, "b d"], activity: Float[Array, "d"]) -> Float[Array, ""]:
        mean = jnp.clip(activity, _LEAST, 1 - _LEAST)
        each = target * jnp.log(target / mean) + (1 - target) * jnp.log((1 - target) / (1 - mean))
        return weight * each.sum()

    return Sparsity(nn.sigmoid, _all, _all, penalty)


def l1_sparse(weight: float | Array = 0.1) -> Sparsity:
    """Units of a rectifier, the sum of whose sizes is penalised.

    Args:
      weight: of the sum over the units, a mean over the batch, in the unit of the error; may be traced.

    Raises:
      ValueError: the weight is negative, infinite or NaN.
    """
    check_numbers(weight=weight)

    def penalty(code: Float[Array, "b d"], activity: Float[Array, "d"]) -> Float[Array, ""]:
        return weight * jnp.abs(code).sum(1).mean()

    return Sparsity(nn.relu, _all, _all, penalty)


def k_sparse(k: int, encoded: int | None = None) -> Sparsity:
    """A linear code, of which the k largest units are kept for each image, and all others set to 0.

    Args:
      k: units that are kept.
      encoded: units that `encode` keeps, alpha k in the paper; None: k.

    Raises:
      ValueError: a number of units is below 1; when called, the code has fewer.
    """
    check_sizes(k=k, encoded=encoded)
    return Sparsity(None, _largest(k), _largest(encoded or k), lambda code, activity: jnp.zeros(()))


def _all(code: Array) -> Array:
    return code


def _largest(k: int) -> Callable[[Array], Array]:
    """Codes with exactly k units, the largest ones, of equal ones the first."""

    def kept(code: Float[Array, "b d"]) -> Float[Array, "b d"]:
        if k > code.shape[1]:
            raise ValueError(f"a code of {code.shape[1]} units has no {k} largest: lower k, or raise latent")
        chosen = jax.lax.top_k(code, k)[1]
        mask = jnp.zeros(code.shape, bool).at[jnp.arange(len(code))[:, None], chosen].set(True)
        return jnp.where(mask, code, 0)

    return kept
