from ._adaptive import AdaptiveImportanceSampler
from ._perturbed import PerturbedLawIndices
from ._psis import PsisResult, ess, psis
from ._sobol import SobolIndices

__all__ = ["AdaptiveImportanceSampler", "PerturbedLawIndices", "PsisResult", "SobolIndices", "ess", "psis"]
