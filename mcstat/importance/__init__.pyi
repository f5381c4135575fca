from ._adaptive import AdaptiveImportanceSampler
from ._cross_entropy import CrossEntropy
from ._perturbed import PerturbedLawIndices
from ._psis import PsisResult, ess, psis
from ._sobol import SobolIndices

__all__ = [
    "AdaptiveImportanceSampler",
    "CrossEntropy",
    "PerturbedLawIndices",
    "PsisResult",
    "SobolIndices",
    "ess",
    "psis",
]
