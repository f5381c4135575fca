from ._posterior import EpsilonPosterior
from ._rates import epsilon_from_rates, rates_region

__all__ = [
    "EpsilonPosterior",
    "epsilon_from_rates",
    "rates_region",
]
