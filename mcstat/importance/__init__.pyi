from ._adaptive import AdaptiveImportanceSampler
from ._amis import AMIS
from ._control_variates import ControlVariates
from ._multiple import MultipleImportanceSampler
from ._psis import PsisResult, ess, psis
from ._sobol import SobolIndices

__all__ = [
    "AMIS",
    "AdaptiveImportanceSampler",
    "ControlVariates",
    "MultipleImportanceSampler",
    "PsisResult",
    "SobolIndices",
    "ess",
    "psis",
]
