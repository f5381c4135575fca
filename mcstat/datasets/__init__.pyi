from ._beams import make_perturbed_beams
from ._dp_sgd import DpSgdAttack, dp_sgd_epsilon, make_dp_sgd_attack
from ._logistic import LogisticPosterior, load_logistic_posterior
from ._sensitivity import (
    SensitivityProblem,
    make_cantilever_beam,
    make_g_function,
    make_ishigami,
    make_linear,
)

__all__ = [
    "DpSgdAttack",
    "LogisticPosterior",
    "SensitivityProblem",
    "dp_sgd_epsilon",
    "load_logistic_posterior",
    "make_cantilever_beam",
    "make_dp_sgd_attack",
    "make_g_function",
    "make_ishigami",
    "make_linear",
    "make_perturbed_beams",
]
