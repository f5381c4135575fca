from ._analytic import EmpiricalDenoiser, GaussianDenoiser, GaussianMixtureDenoiser
from ._denoiser import BaseDenoiser, Denoiser, GuidedDenoiser
from ._grids import Grid, make_grid
from ._sample import DiffusionResult, sample
from ._schedules import EDM, VE, FlowMatching, NoiseSchedule, VPCosine, VPDiscrete, VPLinear
from ._solvers import DDIM, Euler, Heun, Multistep, Solver, State, Table
from ._thresholds import DynamicThreshold, StaticThreshold

__all__ = [
    "DDIM",
    "EDM",
    "VE",
    "BaseDenoiser",
    "Denoiser",
    "DiffusionResult",
    "DynamicThreshold",
    "EmpiricalDenoiser",
    "Euler",
    "FlowMatching",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "Grid",
    "GuidedDenoiser",
    "Heun",
    "Multistep",
    "NoiseSchedule",
    "Solver",
    "State",
    "StaticThreshold",
    "Table",
    "VPCosine",
    "VPDiscrete",
    "VPLinear",
    "make_grid",
    "sample",
]
