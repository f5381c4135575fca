from ._beams import make_perturbed_beams
from ._sensitivity import (
    SensitivityProblem,
    make_cantilever_beam,
    make_g_function,
    make_ishigami,
    make_linear,
)

__all__ = [
    "SensitivityProblem",
    "make_cantilever_beam",
    "make_g_function",
    "make_ishigami",
    "make_linear",
    "make_perturbed_beams",
]
