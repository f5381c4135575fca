from ._claims import Claim, ClaimTable
from ._plots import plot_nested_loop
from ._ranks import SbcResult
from ._report import report
from ._result import StudyResult
from ._sbc import sbc
from ._study import SimulationStudy

__all__ = ["Claim", "ClaimTable", "SbcResult", "SimulationStudy", "StudyResult", "plot_nested_loop", "report", "sbc"]
