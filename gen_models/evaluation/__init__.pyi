"""Measurements as functions, each file by itself: `gm.evaluation.modes`, ..., imported when used."""

from . import layers as layers
from . import modes as modes
from . import receptive_field as receptive_field
