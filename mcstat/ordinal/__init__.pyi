from ._calibration import calibration_error, calibration_table, plot_calibration
from ._path import OrdinalPath, cumulative_logit_path, presto_path
from ._presto import PRESTOClassifier
from ._proportional_odds import ProportionalOdds
from ._rare_logit import RareLogit

__all__ = [
    "OrdinalPath",
    "PRESTOClassifier",
    "ProportionalOdds",
    "RareLogit",
    "calibration_error",
    "calibration_table",
    "cumulative_logit_path",
    "plot_calibration",
    "presto_path",
]
