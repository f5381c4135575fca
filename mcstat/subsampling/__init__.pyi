from ._leverage import leverage_scores
from ._lewis import lewis_weights

__all__ = ["leverage_scores", "lewis_weights"]
