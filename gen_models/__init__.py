"""A functional JAX/Flax research framework for generative models.

Nothing is imported here, so that `--help` and a mistyped option answer at once: users import what they need, as in
`from gen_models.models.latent.vae import vae`.
"""

__version__ = "0.1.0"
