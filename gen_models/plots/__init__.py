"""Grids of images, curves and scatter plots, written to PNG files without a display."""

from gen_models.plots.canvas import drawing as drawing
from gen_models.plots.canvas import literal as literal
from gen_models.plots.matrices import alignments as alignments
from gen_models.plots.matrices import matrix as matrix
from gen_models.plots.over_time import Curve as Curve
from gen_models.plots.over_time import curves as curves
from gen_models.plots.over_time import forecasts as forecasts
from gen_models.plots.over_time import lines as lines
from gen_models.plots.over_time import panels as panels
from gen_models.plots.pictures import captioned as captioned
from gen_models.plots.pictures import image_grid as image_grid
from gen_models.plots.pictures import word_by_word as word_by_word
from gen_models.plots.planes import classes as classes
from gen_models.plots.planes import paths as paths
from gen_models.plots.planes import scatter as scatter
from gen_models.plots.sequences import rolls as rolls
from gen_models.plots.sequences import spectrograms as spectrograms
from gen_models.plots.sequences import texts as texts
