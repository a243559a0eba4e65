"""Measurements as functions, each file by itself: `gm.evaluation.modes`, ..., imported when used."""

from . import average_precision as average_precision
from . import batch_norm as batch_norm
from . import bias_variance as bias_variance
from . import boundaries as boundaries
from . import collapse as collapse
from . import disentanglement as disentanglement
from . import feature_maps as feature_maps
from . import frechet as frechet
from . import high_dimensions as high_dimensions
from . import inception_score as inception_score
from . import kernel_distance as kernel_distance
from . import layers as layers
from . import manifold as manifold
from . import modes as modes
from . import mutual_information as mutual_information
from . import neighbours as neighbours
from . import ratings as ratings
from . import receptive_field as receptive_field
from . import saliency as saliency
from . import signals as signals
from . import support as support
