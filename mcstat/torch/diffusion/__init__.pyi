from ._analytic import EmpiricalDenoiser, GaussianDenoiser, GaussianMixtureDenoiser
from ._denoiser import BaseDenoiser, Denoiser, GuidedDenoiser
from ._dpm import DPMSolver, SinglestepDPMSolver
from ._grids import Grid, make_grid
from ._momentum import GHVB, PLMS, HeavyBall, stability_region
from ._sample import DiffusionResult, sample
from ._schedules import EDM, VE, FlowMatching, NoiseSchedule, VPCosine, VPDiscrete, VPLinear
from ._solvers import DDIM, Euler, Heun, Multistep, Solver, State, Table
from ._thresholds import DynamicThreshold, StaticThreshold
from ._unipc import UniPC

__all__ = [
    "DDIM",
    "EDM",
    "GHVB",
    "PLMS",
    "VE",
    "BaseDenoiser",
    "DPMSolver",
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
    "HeavyBall",
    "Heun",
    "Multistep",
    "NoiseSchedule",
    "SinglestepDPMSolver",
    "Solver",
    "State",
    "StaticThreshold",
    "Table",
    "UniPC",
    "VPCosine",
    "VPDiscrete",
    "VPLinear",
    "make_grid",
    "sample",
    "stability_region",
]
