from ._adaptive import AdaptiveImportanceSampler
from ._psis import PsisResult, ess, psis
from ._sobol import SobolIndices

__all__ = ["AdaptiveImportanceSampler", "PsisResult", "SobolIndices", "ess", "psis"]
