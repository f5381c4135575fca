from ._beams import make_perturbed_beams
from ._did import make_did
from ._dp_sgd import DpSgdAttack, dp_sgd_epsilon, make_dp_sgd_attack
from ._flights import Flights, load_flights
from ._logistic import LogisticPosterior, load_logistic_posterior
from ._ordinal import OrdinalProblem, load_soup, make_funnel, make_presto
from ._panels import make_panel_cp, make_panel_fp, make_plr
from ._sensitivity import (
    SensitivityProblem,
    make_cantilever_beam,
    make_g_function,
    make_ishigami,
    make_linear,
)
from ._series import load_nile, load_sp500
from ._us_panels import load_castle, load_wage_panel

__all__ = [
    "DpSgdAttack",
    "Flights",
    "LogisticPosterior",
    "OrdinalProblem",
    "SensitivityProblem",
    "dp_sgd_epsilon",
    "load_castle",
    "load_flights",
    "load_logistic_posterior",
    "load_nile",
    "load_soup",
    "load_sp500",
    "load_wage_panel",
    "make_cantilever_beam",
    "make_did",
    "make_dp_sgd_attack",
    "make_funnel",
    "make_g_function",
    "make_ishigami",
    "make_linear",
    "make_panel_cp",
    "make_panel_fp",
    "make_perturbed_beams",
    "make_plr",
    "make_presto",
]
