from ._result import StudyResult
from ._study import SimulationStudy

__all__ = ["SimulationStudy", "StudyResult"]
