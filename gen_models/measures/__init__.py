"""What can be measured of a trained model: small frozen objects, of which an experiment lists some (`base.py`).

Every measure is in `__init__.pyi`, and is imported when it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
