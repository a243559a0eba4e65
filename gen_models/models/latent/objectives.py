"""What models with latent variables are trained by, besides the evidence lower bound itself.

The weight of the KL term: Higgins et al., beta-VAE (2017), eq. 4; raised from 0 (Bowman et al., Generating Sentences
from a Continuous Space, 2016, section 3.1), once or in cycles (Fu et al., Cyclical Annealing Schedule, 2019, eq. 6).
Free bits: Kingma et al., Inverse Autoregressive Flow (2016), eq. 15. The importance-weighted bound: Burda et al., IWAE
(2016), eq. 8, with their gradient (eq. 14) or the doubly reparameterised one of Tucker et al. (2019), eq. 8.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Params


def kl_weight(
    step: int | Array, beta: float | Array = 1.0, warmup_steps: int | Array = 0, cycle_steps: int = 0
) -> Float[Array, ""]:
    """The KL term's weight in a step: it rises in a line from beta / warmup_steps to `beta`, once or once a cycle.

    Args:
      step: the number of the step, from 0 on.
      beta: the weight after the rise; may be traced.
      warmup_steps: steps of the rise; may be traced.
      cycle_steps: steps of a cycle, with each of which the rise begins again; at least `warmup_steps`, which must not
        be 0 then. 0: one rise, without cycles.
    """
    within = step % cycle_steps if cycle_steps else step
    weight = beta * jnp.minimum(1.0, (within + 1) / jnp.maximum(warmup_steps, 1))
    return jnp.asarray(weight, jnp.float32)


def with_free_bits(kl: Float[Array, "b d"], free: float | Array) -> Float[Array, ""]:
    """sum_j max(free, mean over the batch of KL_j): below `free` nats, a dimension's KL has no gradient.

    Kingma et al. (2016), eq. 15, with one dimension in each group. The mean is over the examples that a device has.
    """
    return jnp.maximum(kl.mean(0), free).sum()


def importance_bound(log_weights: Float[Array, "k b"]) -> Float[Array, ""]:
    """log 1/K sum_k w_k, the mean over the batch, which is trained by its own gradient."""
    return (jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])).mean()


def doubly_reparameterised(
    log_weights_of: Callable[[Params, Array], Float[Array, "k b"]], params: Params, z: Float[Array, "k b *d"]
) -> tuple[Float[Array, ""], Float[Array, "k b"]]:
    """The same bound, and log w, with the gradient of Tucker et al. (2019), eq. 8, towards the encoder.

    With normalised weights v_k = w_k / sum_i w_i, the decoder and the prior get sum_k v_k grad log w_k, as in IWAE; the
    encoder gets, through the draws z alone, sum_k v_k^2 d log w_k / d z_k. Its signal does not drown in noise as K
    grows, as IWAE's does (Rainforth et al., 2018).

    Args:
      log_weights_of: (params, z) -> log p(x, z_k) - log q(z_k | x), [K, B], where the parameters of q are constants:
        `jax.lax.stop_gradient` of the encoder's outputs.
      params: what the decoder and the prior are differentiated by; z carries the way to the encoder.
      z: draws from q, [K, B, D].
    """
    log_w, pull = jax.vjp(log_weights_of, *jax.lax.stop_gradient((params, z)))  # else its own gradient would be traced
    share = jax.nn.softmax(log_w, axis=0) / log_w.shape[1]  # v_k, and the mean over the batch
    of_params, of_z = pull(share)
    # `pull` has multiplied by v_k once; multiplied again, it is v_k^2.
    again = (share * log_w.shape[1]).reshape(*share.shape, *[1] * (z.ndim - 2))
    return _with_gradient(importance_bound(log_w), (params, z), (of_params, of_z * again)), log_w


@jax.custom_vjp
def _with_gradient(value: Array, inputs: Any, gradient: Any) -> Array:
    """The value, whose gradient by `inputs` is said to be `gradient`: not computed where nothing is differentiated."""
    return value


def _forward(value, inputs, gradient):
    return value, gradient


def _backward(gradient, cotangent):
    zeros = jax.tree.map(jnp.zeros_like, gradient)
    return jnp.zeros_like(cotangent), jax.tree.map(lambda g: cotangent * g, gradient), zeros


_with_gradient.defvjp(_forward, _backward)
