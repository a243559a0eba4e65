"""The public names, for editors, type checkers and `__init__.py`, which imports each when it is used."""

from .checks import CHECKS as CHECKS
from .checks import Diagnosis as Diagnosis
from .checks import diagnose as diagnose
from .finding import Check as Check
from .finding import Facts as Facts
from .finding import Finding as Finding
from .finding import Remedy as Remedy
from .history import History as History
from .history import Series as Series
from .watch import TrainingWarning as TrainingWarning
from .watch import Watch as Watch
