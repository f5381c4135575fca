from ._builtin import LinearGaussian, PoissonAR, StochasticVolatility
from ._chain import DiscreteHMM, ForwardBackward
from ._errors import BoundViolationError, MissingDensityError, ParticleDegeneracyError
from ._filter import History, ParticleFilter
from ._kalman import KalmanFilter
from ._linear import LinearGaussianSystem, LocalLevel, LocalLinearTrend
from ._paris import ParisSmoother
from ._particle_gibbs import ParisianParticleGibbs
from ._resample import resample
from ._user_model import StateSpaceModel

__all__ = [
    "BoundViolationError",
    "DiscreteHMM",
    "ForwardBackward",
    "History",
    "KalmanFilter",
    "LinearGaussian",
    "LinearGaussianSystem",
    "LocalLevel",
    "LocalLinearTrend",
    "MissingDensityError",
    "ParisSmoother",
    "ParisianParticleGibbs",
    "ParticleDegeneracyError",
    "ParticleFilter",
    "PoissonAR",
    "StateSpaceModel",
    "StochasticVolatility",
    "resample",
]
