"""Codebooks: names for vectors, which stand for the nearest of their entries, and follow them without a gradient.

van den Oord et al., Neural Discrete Representation Learning (2017), appendix A.1, eq. 6 to 8: with n_i of the outputs
z_ij of an encoder nearest to entry i,

    N_i <- gamma N_i + (1 - gamma) n_i,   m_i <- gamma m_i + (1 - gamma) sum_j z_ij,   e_i = m_i / N_i

What is kept are N, "share" [K], and m, "sum" [K, D]; entries are computed from them. Counts and sums here are of one
output on average (n_i / n), which changes no entry, and makes their means over devices those of one device. So that an
entry which nobody is near stays finite, the N_i are smoothed (Laplace) as in the authors' code: (N_i + c) / (N + K c)
N, where N is the sum of all. One that is forgotten goes to 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_models.core import Key

Running = dict[str, Array]  # "share" [K] and "sum" [K, D]
_SMOOTHING = 1e-9  # c: 1e-5 of some 10,000 outputs in a batch, as in the authors' code
_SPREAD = 1e-2  # of the noise by which entries that start from the same output differ


def nearest(z: Float[Array, "*b d"], entries: Float[Array, "k d"]) -> Int[Array, "*b"]:
    """The entry that is nearest to each z, int32 (eq. 1 of the paper); the first of several."""
    product = jnp.matmul(z, entries.T, precision=jax.lax.Precision.HIGHEST)
    return ((entries**2).sum(1) - 2 * product).argmin(-1).astype(jnp.int32)


def drawn_from(z: Float[Array, "*b d"], size: int, key: Key) -> Float[Array, "{size} d"]:
    """Entries that start near outputs z of an encoder, without replacement while there are enough."""
    order_key, noise_key = jax.random.split(key)
    z = jax.random.permutation(order_key, z.reshape(-1, z.shape[-1]))
    noise = jax.random.normal(noise_key, (size, z.shape[-1]), z.dtype)
    return z[jnp.arange(size) % len(z)] + _SPREAD * noise


def initial(entries: Float[Array, "k d"]) -> Running:
    """Counts and sums of these entries, all used alike."""
    share = jnp.full(len(entries), 1 / len(entries), jnp.float32)
    return {"share": share, "sum": share[:, None] * entries}


def entries(running: Running) -> Float[Array, "k d"]:
    """The codebook (eq. 8)."""
    share, total = running["share"], running["share"].sum()
    smoothed = (share + _SMOOTHING) / (total + len(share) * _SMOOTHING) * total
    return running["sum"] / smoothed[:, None]


def perplexity(running: Running) -> Float[Array, ""]:
    """e to the entropy of the shares: as how many equally used entries they are."""
    return jnp.exp(jax.scipy.special.entr(running["share"] / running["share"].sum()).sum())


def moved(
    running: Running, codes: Int[Array, "*b"], z: Float[Array, "*b d"], decay: float, axis_name: str | None = None
) -> Running:
    """Counts and sums after a batch of outputs z with these codes (eq. 6 and 7).

    With `axis_name`, those of the batches of all devices along it; without, the means of what devices get are the same.
    """
    z = jax.lax.stop_gradient(z).reshape(-1, z.shape[-1])
    chosen = jax.nn.one_hot(codes.reshape(-1), len(running["share"])) / len(z)
    new = {"share": chosen.sum(0), "sum": jnp.matmul(chosen.T, z, precision=jax.lax.Precision.HIGHEST)}
    if axis_name is not None:
        new = jax.lax.pmean(new, axis_name)
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, running, new)


def restarted(
    running: Running, z: Float[Array, "*b d"], below: float, key: Key, axis_name: str | None = None
) -> Running:
    """Entries whose share is less than `below` / K start again from outputs that are drawn from z.

    Dhariwal et al., Jukebox (2020), section 3.1. With `axis_name`, `running` must be the same on all devices along it;
    each entry is drawn by one of them, for all.
    """
    size = len(running["share"])
    z = jax.lax.stop_gradient(z).reshape(-1, z.shape[-1])
    drawn = z[jax.random.randint(key, (size,), 0, len(z))]
    if axis_name is not None:
        mine = jnp.arange(size) % jax.lax.axis_size(axis_name) == jax.lax.axis_index(axis_name)
        drawn = jax.lax.psum(jnp.where(mine[:, None], drawn, 0), axis_name)
    dead = running["share"] < below / size
    return {
        "share": jnp.where(dead, 1 / size, running["share"]),
        "sum": jnp.where(dead[:, None], drawn / size, running["sum"]),
    }
