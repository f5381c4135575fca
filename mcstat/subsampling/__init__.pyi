from ._balanced_sgd import BalancedSGD
from ._coreset import Coreset
from ._distortion import Distortion, embedding_distortion
from ._leverage import leverage_scores
from ._lewis import LewisInfo, lewis_weights
from ._mixtures import (
    gradient_variance_gap,
    scalarization_weights,
    temperature_probabilities,
    unimax_probabilities,
    variance_inflation,
)
from ._regression import LpRegressor
from ._rs2 import RS2Estimator
from ._sampler import LpSampler
from ._selection import SelectionComparison, compare_selection
from ._sensitivity import lp_sensitivities, total_sensitivity
from ._streaming import MergeReduceCoreset, OnlineSampler

__all__ = [
    "BalancedSGD",
    "Coreset",
    "Distortion",
    "LewisInfo",
    "LpRegressor",
    "LpSampler",
    "MergeReduceCoreset",
    "OnlineSampler",
    "RS2Estimator",
    "SelectionComparison",
    "compare_selection",
    "embedding_distortion",
    "gradient_variance_gap",
    "leverage_scores",
    "lewis_weights",
    "lp_sensitivities",
    "scalarization_weights",
    "temperature_probabilities",
    "total_sensitivity",
    "unimax_probabilities",
    "variance_inflation",
]
