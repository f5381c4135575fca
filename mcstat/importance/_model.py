"""Calling a user's model: (n, d) inputs to (n,) finite outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData

FloatArray = NDArray[np.float64]
Model = Callable[[FloatArray], ArrayLike]


def model_values(name: str, model: Model, x: FloatArray) -> FloatArray:
    """(n,) outputs at the rows of x; ``name`` is what errors call the model."""
    # The model gets a copy: one that works in place must not spoil the points.
    y = check_array(f"{name}(x)", model(x.copy()), (0, 1, 2), finite=False)
    if y.shape not in ((len(x),), (len(x), 1)):
        raise InvalidData(f"{name}(x) must have shape ({len(x)},) for x of shape {x.shape}, got {y.shape}")
    y = y.reshape(len(x))
    bad = ~np.isfinite(y)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidData(f"{name}(x) must be finite, got {y[first]} at the point {x[first].tolist()}")
    return y
