"""Networks whose features of images are compared, a file each: `gm.features.classifier`, ..., imported when used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
