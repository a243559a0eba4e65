"""Networks whose features of images are compared, a file each: `gm.features.classifier`, ..., imported when used."""

from . import classifier as classifier
from . import extractor as extractor
