"""Networks whose features of images are compared, a file each: `gm.features.classifier`, ..., imported when used."""

from . import classifier as classifier
from . import efficientnet_lite0 as efficientnet_lite0
from . import extractor as extractor
from . import inception as inception
from . import squeezenet as squeezenet
from . import torch_files as torch_files
