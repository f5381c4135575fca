from ._group_time import GroupTimeATT
from ._irm import IIVM, IRM
from ._panel_dml import PanelDML
from ._plr import PLIV, PLR

__all__ = ["IIVM", "IRM", "PLIV", "PLR", "GroupTimeATT", "PanelDML"]
