from ._claims import Claim, ClaimTable
from ._result import StudyResult
from ._study import SimulationStudy

__all__ = ["Claim", "ClaimTable", "SimulationStudy", "StudyResult"]
