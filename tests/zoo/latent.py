"""Models with a code, each small enough to train in a blink."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from gen_models.models.latent.autoencoder import autoencoder
from gen_models.models.latent.contractive_autoencoder import contractive_autoencoder
from gen_models.models.latent.denoising_autoencoder import denoising_autoencoder
from gen_models.models.latent.hierarchical_vae import hierarchical_vae
from gen_models.models.latent.on_features import on_features
from gen_models.models.latent.pca import pca
from gen_models.models.latent.pixel_vae import pixel_vae
from gen_models.models.latent.restoring_autoencoder import restoring_autoencoder
from gen_models.models.latent.semi_supervised_vae import semi_supervised_vae
from gen_models.models.latent.sparse_autoencoder import sparse_autoencoder
from gen_models.models.latent.stacked_denoising_autoencoder import stacked_denoising_autoencoder
from gen_models.models.latent.vae import vae
from gen_models.models.latent.vq_vae import vq_vae
from gen_models.nn.likelihoods import bernoulli, gaussian
from gen_models.nn.priors import mixture

from .batches import binary, bright, few_labels, small
from .entry import SHAPE, SLOW, Entry

LATENT: dict[str, Callable[..., Entry]] = {
    "vae": lambda dtype=None: Entry(
        vae(SHAPE, latent=2, hidden=(8,), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "convolutional_vae": lambda dtype=None: Entry(
        vae(SHAPE, latent=2, hidden=(8,), channels=(3, 4), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "hierarchical_vae": lambda dtype=None: Entry(
        hierarchical_vae(SHAPE, latents=(3, 2), hidden=((8,), (6,)), dtype=dtype), binary, optax.sgd(0.01, momentum=0.9)
    ),
    "ladder_vae": lambda dtype=None: Entry(
        hierarchical_vae(SHAPE, latents=(3, 2), hidden=((8,), (6,)), ladder=True, dtype=dtype),
        binary,
        optax.sgd(0.01, momentum=0.9),
    ),
    "importance_vae": lambda dtype=None: Entry(
        vae(
            SHAPE,
            latent=2,
            hidden=(8,),
            particles=3,
            doubly_reparameterised=True,
            likelihood=gaussian("each"),
            prior=mixture(2),
            classes=3,
            dtype=dtype,
        ),
        bright,
        optax.sgd(0.002, momentum=0.9),
    ),
    "semi_supervised_vae": lambda dtype=None: Entry(
        semi_supervised_vae(SHAPE, 3, latent=2, hidden=(8,), dtype=dtype), few_labels, SLOW
    ),
    "m1_m2": lambda dtype=None: Entry(
        on_features(
            vae(SHAPE, latent=2, hidden=(8,), dtype=dtype),
            semi_supervised_vae((2,), 3, latent=2, hidden=(8,), likelihood=gaussian("each", unit=False), dtype=dtype),
        ),
        few_labels,
        {"features": SLOW, "top": optax.sgd(0.01, momentum=0.9)},
    ),
    "autoencoder": lambda dtype=None: Entry(
        autoencoder(SHAPE, latent=2, hidden=(8,), dtype=dtype), binary, SLOW, deterministic=True
    ),
    "denoising_autoencoder": lambda dtype=None: Entry(
        denoising_autoencoder(SHAPE, latent=2, hidden=(), dtype=dtype), binary, SLOW
    ),
    "restoring_autoencoder": lambda dtype=None: Entry(
        restoring_autoencoder(SHAPE, channels=(3,), layers=0, dtype=dtype), binary, SLOW
    ),
    "sparse_autoencoder": lambda axis_name=None, dtype=None: Entry(
        sparse_autoencoder(SHAPE, latent=3, hidden=(), axis_name=axis_name, dtype=dtype),
        binary,
        SLOW,
        deterministic=True,
    ),
    "contractive_autoencoder": lambda dtype=None: Entry(
        contractive_autoencoder(SHAPE, latent=2, hidden=(8,), activation=jnp.tanh, dtype=dtype),
        binary,
        SLOW,
        deterministic=True,
    ),
    "stacked_denoising_autoencoder": lambda dtype=None: Entry(
        stacked_denoising_autoencoder(SHAPE, latent=2, hidden=(8,), steps_per_layer=0, dtype=dtype),
        binary,
        optax.sgd(0.01, momentum=0.9),
        deterministic=True,
    ),
    "pca": lambda dtype=None: Entry(pca(SHAPE, latent=2, dtype=dtype), binary, SLOW, deterministic=True),
    "vq_vae": lambda axis_name=None, dtype=None: Entry(
        vq_vae(
            SHAPE,
            likelihood=bernoulli(),
            channels=(4,),
            residual_blocks=1,
            residual_features=4,
            code_size=3,
            code_features=2,
            prior_features=4,
            prior_layers=1,
            prior_embedded=3,
            axis_name=axis_name,
            dtype=dtype,
        ),
        binary,
        {"autoencoder": SLOW, "prior": SLOW},
        deterministic=True,
    ),
    "pixel_vae": lambda dtype=None: Entry(
        pixel_vae((4, 4, 1), latent=2, hidden=(8,), features=4, layers=2, first_window=3, head_features=4, dtype=dtype),
        small,
        SLOW,
    ),
}
