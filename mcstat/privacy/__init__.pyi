from ._auditor import PrivacyAuditor
from ._posterior import EpsilonPosterior
from ._rates import epsilon_from_rates, rates_region

__all__ = [
    "EpsilonPosterior",
    "PrivacyAuditor",
    "epsilon_from_rates",
    "rates_region",
]
