"""Draws as ArviZ data, in both dialects (InferenceData before 1.0, DataTree since)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.core.extras import import_extra
from mcstat.core.rng import Purpose, root_seed, stream

if TYPE_CHECKING:
    from mcstat.core.estimate import Estimate

FloatArray = NDArray[np.float64]


def to_arviz(est: Estimate, random_state: int) -> Any:
    """See :meth:`Estimate.to_arviz`."""
    if est.draws is None:
        raise InvalidData("to_arviz() wants an Estimate with draws; this one has none")
    draws = est.draws
    attrs: dict[str, Any] = {"method": est.method, "estimand": est.estimand, "kind": est.kind}
    if est.log_weights is not None:
        draws = _resampled(draws, est.log_weights, random_state)
        attrs["resampled_with_random_state"] = random_state
    posterior = {name: draws[:, :, i] for i, name in enumerate(est.names)}
    arviz = import_extra("arviz", "arviz")
    try:
        data = arviz.from_dict(posterior=posterior)
    except TypeError:
        data = arviz.from_dict({"posterior": posterior})
    data["posterior"].attrs.update(attrs)
    return data


def _resampled(draws: FloatArray, log_weights: FloatArray, random_state: int) -> FloatArray:
    """Equally weighted draws of the same shape, by systematic resampling."""
    from mcstat.core._fields import normalised_weights

    weights = normalised_weights(log_weights)
    rng = stream(root_seed(random_state), "to_arviz", Purpose.RESAMPLE, 0)
    positions = (rng.random() + np.arange(len(weights))) / len(weights)
    picked = np.searchsorted(np.cumsum(weights), positions).clip(max=len(weights) - 1)
    return np.asarray(draws.reshape(-1, draws.shape[2])[picked].reshape(draws.shape))
