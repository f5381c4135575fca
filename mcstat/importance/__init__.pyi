from ._adaptive import AdaptiveImportanceSampler

__all__ = ["AdaptiveImportanceSampler"]
