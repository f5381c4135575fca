from ._adaptive import AdaptiveImportanceSampler
from ._amis import AMIS
from ._control_variates import ControlVariates
from ._cross_entropy import CrossEntropy
from ._multiple import MultipleImportanceSampler
from ._perturbed import PerturbedLawIndices
from ._psis import PsisResult, ess, psis
from ._sobol import SobolIndices

__all__ = [
    "AMIS",
    "AdaptiveImportanceSampler",
    "ControlVariates",
    "CrossEntropy",
    "MultipleImportanceSampler",
    "PerturbedLawIndices",
    "PsisResult",
    "SobolIndices",
    "ess",
    "psis",
]
