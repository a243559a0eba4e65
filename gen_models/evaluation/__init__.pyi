"""Measurements as functions, each file by itself: `gm.evaluation.likelihood`, ..., imported when used."""

from . import layers as layers
from . import likelihood as likelihood
from . import modes as modes
from . import receptive_field as receptive_field
