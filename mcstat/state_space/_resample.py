"""Resampling for everybody."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option
from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.kernels.resampling import SCHEMES

__all__ = ["resample"]


def resample(
    weights: ArrayLike, n: int | None = None, scheme: str = "systematic", random_state: RandomState = None
) -> NDArray[np.int64]:
    """Draw indices such that index i comes n W_i times on average, W the normalised weights.

    Parameters
    ----------
    weights : array_like, shape (N,)
        Not negative, with a positive sum.
    n : int, optional
        Draws; default N.
    scheme : str
        "systematic", "stratified" (both in ascending order), "multinomial" (in ascending order), "multinomial_iid" (in
        random order), "residual", "ssp" or "killing" (only n = N).
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    ndarray of int64, shape (n,)

    Notes
    -----
    O(N + n).

    Examples
    --------
    >>> from mcstat.state_space import resample
    >>> resample([0.5, 0.0, 0.25, 0.25], random_state=0).tolist()
    [0, 0, 2, 3]
    """
    values = check_array("weights", weights, 1).copy()
    if len(values) == 0:
        raise InvalidData("weights must hold at least one weight, got none")
    if (values < 0.0).any():
        i = int(np.argmax(values < 0.0))
        raise InvalidData(f"weights must not be negative, got {values[i]:g} at [{i}]")
    if values.max() == 0.0:
        raise DegenerateWeightsError("weights must have a positive sum, got only zeros")
    # Their sum must not overflow.
    values /= values.max()
    m = len(values) if n is None else check_integer("n", n, 1)
    if check_option("scheme", scheme, tuple(SCHEMES)) == "killing" and m != len(values):
        raise InvalidParameter(f"n must be the number of weights, {len(values)}, for killing, got {m}")
    rng = stream(root_seed(random_state), "resample", Purpose.RESAMPLE, 0)
    kernel, n_uniforms = SCHEMES[scheme]
    out = np.empty(m, np.int64)
    kernel(values, rng.random(n_uniforms(len(values), m)), out)
    return out
