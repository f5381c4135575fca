from ._builtin import LinearGaussian, PoissonAR, StochasticVolatility
from ._chain import DiscreteHMM, ForwardBackward
from ._errors import BoundViolationError, MissingDensityError, ParticleDegeneracyError
from ._filter import History, ParticleFilter
from ._gibbs import ParticleGibbs
from ._kalman import KalmanFilter
from ._linear import LinearGaussianSystem, LocalLevel, LocalLinearTrend
from ._mle import ParticleMLE
from ._paris import ParisSmoother
from ._particle_gibbs import ParisianParticleGibbs
from ._pmmh import PMMH
from ._resample import resample
from ._smoother import ParticleSmoother
from ._user_model import StateSpaceModel

__all__ = [
    "PMMH",
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
    "ParticleGibbs",
    "ParticleMLE",
    "ParticleSmoother",
    "PoissonAR",
    "StateSpaceModel",
    "StochasticVolatility",
    "resample",
]
