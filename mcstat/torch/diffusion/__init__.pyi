from ._analytic import EmpiricalDenoiser, GaussianDenoiser, GaussianMixtureDenoiser
from ._categorical import sample_categorical, truncated_gumbel_law
from ._denoiser import BaseDenoiser, Denoiser, GuidedDenoiser
from ._dpm import DPMSolver, SinglestepDPMSolver
from ._fkc import FeynmanKacCorrector
from ._grids import Grid, make_grid
from ._masked import AncestralSampler, FirstHittingSampler
from ._masked_models import TabularMaskedModel, masked_nelbo, sentence_entropy
from ._sample import DiffusionResult, sample
from ._schedules import EDM, VE, FlowMatching, NoiseSchedule, VPCosine, VPDiscrete, VPLinear
from ._solvers import DDIM, Euler, Heun, Multistep, Solver, State, Table
from ._superdiff import SuperDiff
from ._superposition import ito_log_density
from ._thresholds import DynamicThreshold, StaticThreshold
from ._unipc import UniPC

__all__ = [
    "DDIM",
    "EDM",
    "VE",
    "AncestralSampler",
    "BaseDenoiser",
    "DPMSolver",
    "Denoiser",
    "DiffusionResult",
    "DynamicThreshold",
    "EmpiricalDenoiser",
    "Euler",
    "FeynmanKacCorrector",
    "FirstHittingSampler",
    "FlowMatching",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "Grid",
    "GuidedDenoiser",
    "Heun",
    "Multistep",
    "NoiseSchedule",
    "SinglestepDPMSolver",
    "Solver",
    "State",
    "StaticThreshold",
    "SuperDiff",
    "Table",
    "TabularMaskedModel",
    "UniPC",
    "VPCosine",
    "VPDiscrete",
    "VPLinear",
    "ito_log_density",
    "make_grid",
    "masked_nelbo",
    "sample",
    "sample_categorical",
    "sentence_entropy",
    "truncated_gumbel_law",
]
