from ._panel_dml import PanelDML

__all__ = ["PanelDML"]
