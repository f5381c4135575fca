from . import diffusion
from ._bridge import from_estimate, generator, to_estimate
from ._resampling import resampled_indices

__all__ = ["diffusion", "from_estimate", "generator", "resampled_indices", "to_estimate"]
