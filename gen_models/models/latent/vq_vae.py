"""VQ-VAE: an autoencoder whose code is a grid of names from a codebook, with a Gated PixelCNN as the names' prior.

van den Oord et al., Neural Discrete Representation Learning (2017). The encoder's outputs z_e(x) become the nearest
entries e of the codebook (eq. 1 and 2), and the decoder's gradient goes to the encoder as if nothing had happened in
between (section 3.2). The loss is eq. 3, where sg stops the gradient:

    L = -log p(x | z_q(x)) + |sg[z_e(x)] - e|^2 + beta |z_e(x) - sg[e]|^2

The first term trains the encoder and the decoder, the second the codebook, the third (commitment) the encoder. By
default there is no second term: entries are running means of the outputs that were nearest to them (appendix A.1, in
`gen_models/nn/codebook.py`). The prior p(z) is trained with the autoencoder, as a player of its own: by -log p of the
codes that the encoder, already updated, gives. Since the code of an image is certain, log p(x | z_q(x)) + log p(z_q(x))
is a lower bound on log p(x).

Differs from the paper, which trains the prior when the autoencoder is done. The terms of the loss are sums over the
grid, as the likelihood is one over pixels, where the paper's second and third are means. The codebook starts from the
encoder's outputs for the first batch. The prior embeds the codes, which are names and no quantities.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.inputs import check_count, images, known, real_array, within_levels, within_unit
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.nn import codebook
from gen_models.nn.autoencoding import check_strides, maps_of, transposed
from gen_models.nn.conv import Conv
from gen_models.nn.likelihoods import Likelihood, discretised_logistic


def vq_vae(
    shape: Sequence[int] = (28, 28, 1),
    *,
    likelihood: Likelihood | None = None,
    channels: Sequence[int] = (64, 128),
    residual_blocks: int = 2,
    residual_features: int = 32,
    code_size: int = 512,
    code_features: int = 64,
    commitment: float | Array = 0.25,
    decay: float | None = 0.99,
    restart_below: float = 0.0,
    prior_features: int = 64,
    prior_layers: int = 8,
    prior_embedded: int = 32,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A VQ-VAE of images of levels, or of pixels between 0 and 1; its players are "autoencoder", then "prior".

    Its functions:
      loss: of the autoencoder L in nats per image, with the metrics "reconstruction", "commitment" and, with `decay`,
        "perplexity", e to the entropy of the N_i; of the prior -log p(z) in nats per image, with "bits_per_code".
      encode(params, stats, x, key=None): the codes, int32 [B, H', W'] from 0 to K - 1.
      apply(params, stats, codes): the decoder's outputs, which the likelihood reads.
      decode(params, stats, codes): the mean of p(x|z), pictures with pixels from 0 to 1.
      log_prob(params, stats, x, key=None): log p(x | z_q(x)) + log p(z_q(x)), a lower bound on log p(x), [B] nats.
      elbo(params, stats, batch, key=None): its two terms, {"reconstruction": -log p(x|z), "kl": -log p(z)}, [B].
      sample(params, stats, key, n, temperature=1.0, draw=False): means of p(x|z) for codes that are drawn from the
        prior, whose logits are divided by the temperature; with `draw`, x drawn from p(x|z).

    Args:
      shape: (height, width, channels) of one image.
      likelihood: p(x|z), of `gen_models/nn/likelihoods.py`; None: the discretised logistic of 256 levels.
      channels: of 4x4 convolutions of stride 2, each of which halves the grid of codes; the decoder mirrors them.
      residual_blocks: of both networks, at the codes' resolution: ReLU, 3x3, ReLU, 1x1 (section 4.1).
      residual_features: of their 3x3 convolutions.
      code_size: K, entries of the codebook, 2 or more.
      code_features: D, numbers of an entry.
      commitment: beta; may be traced.
      decay: gamma; None: the codebook is a parameter, and trained by the second term.
      restart_below: N_i, in parts of 1/K, below which an entry starts again from an output for the batch, drawn by the
        step's key (Dhariwal et al., Jukebox, 2020, section 3.1); 0: none does.
      prior_features: of the prior's two stacks.
      prior_layers: gated layers of the prior.
      prior_embedded: features in which the prior embeds a code.
      axis_name: mapped axis over which the devices agree on the entries that start again (`pmap`, `shard_map`); all
        else needs none.
      dtype: of the networks' computations; the codebook, parameters and losses are float32.

    Raises:
      ValueError: a size is not positive, `code_size` is below 2, the image is too small for so many strides, there is
        none, `decay` is outside [0, 1), `commitment` or `restart_below` is negative, or entries are to start again
        without `decay`; a batch or codes of another shape; or, outside of `jit`, pixels without a probability or codes
        that there are not.
    """
    check_sizes(shape=shape, residual_blocks=residual_blocks, residual_features=residual_features)
    check_sizes(code_size=code_size, code_features=code_features)
    check_each(channels=channels)
    check_strides(shape, channels)
    check_numbers(commitment=commitment, restart_below=restart_below)
    if code_size < 2 or not channels:
        raise ValueError(f"a codebook has two entries or more and an image a stride, got {code_size=}, {channels=}")
    if decay is None and restart_below:
        raise ValueError("entries start again by their running counts: give decay=0.99, or leave restart_below at 0")
    if decay is not None and not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}: None trains the codebook by gradients")
    likelihood = likelihood or discretised_logistic()
    sizes: dict[str, Any] = {"blocks": residual_blocks, "features": residual_features, "dtype": dtype}
    made = (*shape[:-1], shape[-1] * likelihood.outputs)
    grid = maps_of(shape, channels)[-1][:2]
    own = _VqVae(
        tuple(shape),
        grid,
        _Encoder(channels=tuple(channels), outputs=code_features, **sizes),
        _Decoder(channels=tuple(channels), shape=made, **sizes),
        likelihood,
        gated_pixel_cnn(
            (*grid, 1),
            code_size,
            features=prior_features,
            layers=prior_layers,
            head_features=prior_features,
            embedded=prior_embedded,
            dtype=dtype,
        ),
        code_size,
        commitment,
        decay,
        restart_below,
        axis_name,
    )
    return Model(
        own.init,
        {"autoencoder": own.loss_of_autoencoder, "prior": own.loss_of_prior},
        apply=own.apply,
        sample=own.sample,
        log_prob=own.log_prob,
        encode=own.encode,
        decode=own.decode,
        elbo=own.elbo,
    )


class _VqVae(NamedTuple):
    """The parts, and the model's functions as methods."""

    shape: tuple[int, ...]
    grid: tuple[int, ...]
    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    prior: Model
    code_size: int
    commitment: float | Array
    decay: float | None
    restart_below: float
    axis_name: str | None

    def init(self, key, batch):
        """Parameters of both players, and the running counts and sums."""
        x = images(batch, self.shape)
        encoder_key, decoder_key, prior_key, book_key = jax.random.split(key, 4)
        encoder = self.encoder.init(encoder_key, self.likelihood.scaled(x[:1]))["params"]
        z = self._outputs_of_encoder({"encoder": encoder}, x)
        book = codebook.drawn_from(z, self.code_size, book_key)
        own = {
            "encoder": encoder,
            "decoder": self.decoder.init(decoder_key, jnp.zeros((1, *self.grid, z.shape[-1])))["params"],
            "likelihood": self.likelihood.init(),
            "codebook": book if self.decay is None else {},
        }
        prior, _ = self.prior.init(prior_key, {"x": jnp.zeros((1, *self.grid, 1), jnp.int32)})
        params = {"autoencoder": {name: part for name, part in own.items() if jax.tree.leaves(part)}, "prior": prior}
        return params, {} if self.decay is None else codebook.initial(book)

    def loss_of_autoencoder(self, params, stats, batch, key, *, step, train=True):
        """Eq. 3 in nats per image; where `train`, the running counts and sums take a step."""
        x, fits = self._checked(images(batch, self.shape))
        own, book = params["autoencoder"], self._codebook(params, stats)
        z = self._outputs_of_encoder(own, x)
        codes = codebook.nearest(z, book)
        quantised = book[codes]
        straight = z + jax.lax.stop_gradient(quantised - z)
        reconstruction = jnp.where(fits, -self._log_likelihood(own, x, straight), jnp.nan).mean()
        distance = _squared(z - jax.lax.stop_gradient(quantised))
        value = reconstruction + self.commitment * distance
        metrics = {"reconstruction": reconstruction, "commitment": distance}
        if self.decay is None:
            return value + _squared(jax.lax.stop_gradient(z) - quantised), (stats, metrics)
        metrics["perplexity"] = codebook.perplexity(stats)
        return value, (self._moved(stats, codes, z, key) if train else stats, metrics)

    def loss_of_prior(self, params, stats, batch, key, *, step, train=True):
        """Minus the mean of log p(z) in nats per image; no gradient goes to the autoencoder."""
        codes = self._codes(jax.lax.stop_gradient(params), stats, *self._checked(images(batch, self.shape)))
        loss: Any = self.prior.loss  # a single function
        value, (_, found) = loss(params["prior"], {}, {"x": codes[..., None]}, key, step=step, train=train)
        return value, (stats, {"bits_per_code": found["bits_per_dim"]})

    def encode(self, params, stats, x, key=None) -> Int[Array, "b h w"]:
        """The codes; -1 of an x that has no probability."""
        return self._codes(params, stats, *self._checked(images({"x": x}, self.shape)))

    def apply(self, params, stats, codes):
        """The decoder's outputs, which the likelihood reads; NaN for codes that there are not."""
        if jnp.shape(real_array(codes, "codes"))[1:] != self.grid or not jnp.issubdtype(codes.dtype, jnp.integer):
            raise ValueError(f"codes must be integers {['B', *self.grid]}, got {codes.dtype} {list(codes.shape)}")
        codes = jnp.asarray(codes)
        fits = ((codes >= 0) & (codes < self.code_size)).all((1, 2))
        if known(fits) and not bool(fits.all()):
            worst = codes.min() if codes.min() < 0 else codes.max()
            raise ValueError(f"codes must be from 0 to {self.code_size - 1}, got {int(worst)}")
        quantised = self._codebook(params, stats)[codes]
        outputs: Any = self.decoder.apply({"params": params["autoencoder"]["decoder"]}, quantised)
        return jnp.where(fits[:, None, None, None], outputs, jnp.nan)

    def decode(self, params, stats, codes) -> Float[Array, "b *shape"]:
        """The mean of p(x|z)."""
        outputs = self.apply(params, stats, codes)
        return self.likelihood.mean(params["autoencoder"].get("likelihood", {}), outputs)

    def elbo(self, params, stats, batch, key=None):
        """The terms of the bound: the code of an image is certain, so that KL(q || p) is -log p of it."""
        x, fits = self._checked(images(batch, self.shape))
        codes = self._codes(params, stats, x, fits)
        log_prior = self.prior.log_prob(params["prior"], {}, jnp.maximum(codes, 0)[..., None])
        quantised = self._codebook(params, stats)[jnp.maximum(codes, 0)]
        reconstruction = -self._log_likelihood(params["autoencoder"], x, quantised)
        return {"reconstruction": jnp.where(fits, reconstruction, jnp.nan), "kl": jnp.where(fits, -log_prior, jnp.nan)}

    def log_prob(self, params, stats, x, key=None) -> Float[Array, " b"]:
        """log p(x | z_q(x)) + log p(z_q(x)), [B] nats: one term of the sum over all codes, so a lower bound."""
        terms = self.elbo(params, stats, {"x": x})
        return -(terms["reconstruction"] + terms["kl"])

    def sample(
        self, params, stats, key: Key, n: int, *, temperature: float | Array = 1.0, draw: bool = False
    ) -> Float[Array, "n *shape"]:
        """Means of p(x|z), or x drawn from it, for n grids of codes from the prior."""
        check_count(n)
        code_key, x_key = jax.random.split(key)
        codes = self.prior.sample(params["prior"], {}, code_key, n, temperature=temperature)[..., 0]
        outputs = self.apply(params, stats, codes)
        own = params["autoencoder"].get("likelihood", {})
        return self.likelihood.draw(x_key, own, outputs) if draw else self.likelihood.mean(own, outputs)

    def _checked(self, x):
        """x, and whether each has a probability."""
        if self.likelihood.levels is not None:
            return x, within_levels(x, self.likelihood.levels)
        return x, within_unit(x) if self.likelihood.unit else jnp.ones(len(x), bool)

    def _outputs_of_encoder(self, own, x) -> Any:
        return self.encoder.apply({"params": own["encoder"]}, self.likelihood.scaled(x))

    def _log_likelihood(self, own, x, quantised):
        outputs: Any = self.decoder.apply({"params": own["decoder"]}, quantised)
        return self.likelihood.log_prob(own.get("likelihood", {}), outputs, x)

    def _codes(self, params, stats, x, fits):
        codes = codebook.nearest(self._outputs_of_encoder(params["autoencoder"], x), self._codebook(params, stats))
        return jnp.where(fits[:, None, None], codes, -1)

    def _codebook(self, params, stats):
        """[K, D]."""
        return jnp.asarray(params["autoencoder"]["codebook"] if self.decay is None else codebook.entries(stats))

    def _moved(self, stats, codes, z, key):
        """The running counts and sums after a step."""
        assert self.decay is not None
        stats = codebook.moved(stats, codes, z, self.decay, self.axis_name)
        if not self.restart_below:
            return stats
        return codebook.restarted(stats, z, self.restart_below, key, self.axis_name)


def _squared(difference):
    """|.|^2 over the grid, the mean over the batch."""
    return (difference**2).sum((1, 2, 3)).mean()


class _Residual(nn.Module, kw_only=True):
    blocks: int
    features: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, h):  # [B, H, W, C] -> [B, H, W, C]
        for _ in range(self.blocks):
            inner = Conv(self.features, (3, 3), dtype=self.dtype)(nn.relu(h))
            h += Conv(h.shape[-1], (1, 1), dtype=self.dtype)(nn.relu(inner))
        return nn.relu(h)


class _Encoder(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    blocks: int
    features: int
    outputs: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, h):  # [B, H, W, C] -> [B, H', W', D]
        for index, features in enumerate(self.channels):
            h = Conv(features, (4, 4), strides=2, dtype=self.dtype)(nn.relu(h) if index else h)
        h = _Residual(blocks=self.blocks, features=self.features, dtype=self.dtype)(h)
        return Conv(self.outputs, (1, 1), dtype=self.dtype)(h).astype(jnp.float32)


class _Decoder(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    blocks: int
    features: int
    shape: tuple[int, ...]
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z):  # [B, H', W', D] -> [B, H, W, outputs]
        h = Conv(self.channels[-1], (3, 3), dtype=self.dtype)(z)
        h = _Residual(blocks=self.blocks, features=self.features, dtype=self.dtype)(h)
        for index, (*sides, features) in enumerate(reversed(maps_of(self.shape, self.channels)[:-1])):
            h = transposed(features, sides, self.dtype)(nn.relu(h) if index else h)
        return h.astype(jnp.float32)
