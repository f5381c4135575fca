from ._auditor import PrivacyAuditor
from ._gaussian_canaries import GaussianCanaryAudit
from ._gdp import eps_to_gdp, gdp_to_eps
from ._one_run import one_run_pvalue
from ._posterior import EpsilonPosterior
from ._rates import epsilon_from_rates, rates_region

__all__ = [
    "EpsilonPosterior",
    "GaussianCanaryAudit",
    "PrivacyAuditor",
    "eps_to_gdp",
    "epsilon_from_rates",
    "gdp_to_eps",
    "one_run_pvalue",
    "rates_region",
]
