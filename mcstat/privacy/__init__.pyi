from ._auditor import PrivacyAuditor
from ._gaussian_canaries import GaussianCanaryAudit
from ._gdp import eps_to_gdp, gdp_to_eps
from ._hierarchical import hierarchical_audit
from ._metrics import attack_metrics, membership_advantage
from ._one_run import one_run_pvalue
from ._planner import challenges_needed
from ._plots import plot_posterior, plot_roc, plot_tradeoff
from ._posterior import EpsilonPosterior
from ._rates import epsilon_from_rates, rates_region

__all__ = [
    "EpsilonPosterior",
    "GaussianCanaryAudit",
    "PrivacyAuditor",
    "attack_metrics",
    "challenges_needed",
    "eps_to_gdp",
    "epsilon_from_rates",
    "gdp_to_eps",
    "hierarchical_audit",
    "membership_advantage",
    "one_run_pvalue",
    "plot_posterior",
    "plot_roc",
    "plot_tradeoff",
    "rates_region",
]
