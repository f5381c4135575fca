from ._adaptive import AdaptiveImportanceSampler
from ._psis import PsisResult, ess, psis

__all__ = ["AdaptiveImportanceSampler", "PsisResult", "ess", "psis"]
