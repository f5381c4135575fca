from ._builtin import LinearGaussian, PoissonAR, StochasticVolatility
from ._errors import BoundViolationError, MissingDensityError, ParticleDegeneracyError
from ._user_model import StateSpaceModel

__all__ = [
    "BoundViolationError",
    "LinearGaussian",
    "MissingDensityError",
    "ParticleDegeneracyError",
    "PoissonAR",
    "StateSpaceModel",
    "StochasticVolatility",
]
