from ._group_time import GroupTimeATT
from ._iivm import IIVM
from ._irm import IRM
from ._learners import Lasso, Stack
from ._panel_dml import PanelDML
from ._plr import PLIV, PLR

__all__ = ["IIVM", "IRM", "PLIV", "PLR", "GroupTimeATT", "Lasso", "PanelDML", "Stack"]
