from . import causal, core, datasets, importance, kernels, ordinal, privacy, state_space, study, subsampling, torch
from ._version import __version__
from .core.estimate import Estimate
from .core.registry import find, methods

__all__ = [
    "Estimate",
    "__version__",
    "causal",
    "core",
    "datasets",
    "find",
    "importance",
    "kernels",
    "methods",
    "ordinal",
    "privacy",
    "state_space",
    "study",
    "subsampling",
    "torch",
]
