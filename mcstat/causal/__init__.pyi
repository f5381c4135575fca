from ._group_time import GroupTimeATT
from ._panel_dml import PanelDML

__all__ = ["GroupTimeATT", "PanelDML"]
