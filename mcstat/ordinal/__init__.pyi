from ._path import OrdinalPath, cumulative_logit_path, presto_path
from ._presto import PRESTOClassifier
from ._proportional_odds import ProportionalOdds
from ._rare_logit import RareLogit

__all__ = [
    "OrdinalPath",
    "PRESTOClassifier",
    "ProportionalOdds",
    "RareLogit",
    "cumulative_logit_path",
    "presto_path",
]
