"""What goes wrong in a training, and what helps: checks of what was logged and of samples. Imports no JAX."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
