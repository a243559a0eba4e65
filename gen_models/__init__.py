"""A functional JAX/Flax research framework for generative models.

    import gen_models as gm

    model = gm.vae((28, 28, 1), latent=16)

Every public name is in `__init__.pyi`, and is imported when it is used: so `--help` and a mistyped option answer
without JAX.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
