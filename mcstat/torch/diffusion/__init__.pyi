from ._adaptive import AdaptiveDPMSolver
from ._analytic import EmpiricalDenoiser, GaussianDenoiser, GaussianMixtureDenoiser
from ._cascade import CascadePolynomialRegression
from ._categorical import sample_categorical, truncated_gumbel_law
from ._dc import DCSolver
from ._deis import DEIS
from ._denoiser import BaseDenoiser, Denoiser, GuidedDenoiser
from ._dpm import DPMSolver, SinglestepDPMSolver
from ._fkc import FeynmanKacCorrector
from ._grids import Grid, make_grid
from ._log_density import log_density, sample_with_logp
from ._masked import AncestralSampler, FirstHittingSampler
from ._masked_models import TabularMaskedModel, masked_nelbo, sentence_entropy
from ._metrics import mmd2, mode_coverage, ode_error, sliced_wasserstein
from ._momentum import GHVB, PLMS, HeavyBall, stability_region
from ._reference import convergence_order, reference_solution
from ._s3 import S3Search
from ._sample import DiffusionResult, add_noise, initial_noise, invert, sample
from ._schedules import EDM, VE, FlowMatching, NoiseSchedule, VPCosine, VPDiscrete, VPLinear
from ._solvers import DDIM, Euler, Heun, Multistep, Solver, State, Table
from ._statistics import EMS, estimate_ems
from ._superdiff import SuperDiff
from ._superposition import ito_log_density
from ._thresholds import DynamicThreshold, StaticThreshold
from ._time_shift import EpsilonScaling, TimeShift
from ._train import digits_data, load_denoiser, save_denoiser, train_denoiser
from ._unipc import UniPC
from ._usf import USFSolver
from ._usf_schedule import SolverSchedule, StepConfig
from ._v3 import DPMSolverV3

__all__ = [
    "DDIM",
    "DEIS",
    "EDM",
    "EMS",
    "GHVB",
    "PLMS",
    "VE",
    "AdaptiveDPMSolver",
    "AncestralSampler",
    "BaseDenoiser",
    "CascadePolynomialRegression",
    "DCSolver",
    "DPMSolver",
    "DPMSolverV3",
    "Denoiser",
    "DiffusionResult",
    "DynamicThreshold",
    "EmpiricalDenoiser",
    "EpsilonScaling",
    "Euler",
    "FeynmanKacCorrector",
    "FirstHittingSampler",
    "FlowMatching",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "Grid",
    "GuidedDenoiser",
    "HeavyBall",
    "Heun",
    "Multistep",
    "NoiseSchedule",
    "S3Search",
    "SinglestepDPMSolver",
    "Solver",
    "SolverSchedule",
    "State",
    "StaticThreshold",
    "StepConfig",
    "SuperDiff",
    "Table",
    "TabularMaskedModel",
    "TimeShift",
    "USFSolver",
    "UniPC",
    "VPCosine",
    "VPDiscrete",
    "VPLinear",
    "add_noise",
    "convergence_order",
    "digits_data",
    "estimate_ems",
    "initial_noise",
    "invert",
    "ito_log_density",
    "load_denoiser",
    "log_density",
    "make_grid",
    "masked_nelbo",
    "mmd2",
    "mode_coverage",
    "ode_error",
    "reference_solution",
    "sample",
    "sample_categorical",
    "sample_with_logp",
    "save_denoiser",
    "sentence_entropy",
    "sliced_wasserstein",
    "stability_region",
    "train_denoiser",
    "truncated_gumbel_law",
]
