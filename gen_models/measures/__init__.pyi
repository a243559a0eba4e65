"""The measures, for editors, type checkers and `__init__.py`, which imports each when it is used."""

from .base import Split as Split
from .base import Trained as Trained
from .classification import Accuracy as Accuracy
from .classification import Confusion as Confusion
from .classification import ValidationAccuracy as ValidationAccuracy
from .classification import predicted as predicted
from .codes import CodeUsage as CodeUsage
from .cost import Flops as Flops
from .cost import Parameters as Parameters
from .cost import SamplingTime as SamplingTime
from .disentanglement import Disentanglement as Disentanglement
from .latent import Elbo as Elbo
from .latent import LatentWalk as LatentWalk
from .latent import Reconstructions as Reconstructions
from .layers import Gradients as Gradients
from .layers import Units as Units
from .likelihood import LogLikelihood as LogLikelihood
from .likelihood import NegativeLogLikelihood as NegativeLogLikelihood
from .modes import GridCoverage as GridCoverage
from .probes import LinearProbe as LinearProbe
from .probes import NearestNeighbours as NearestNeighbours
from .reconstruction import ReconstructionError as ReconstructionError
from .reconstruction import UnitPictures as UnitPictures
from .regression import RegressionErrors as RegressionErrors
from .samples import Completions as Completions
from .samples import Samples as Samples
