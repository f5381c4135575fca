"""First-order and closed Sobol' indices by adaptive importance sampling with control variates.

With Z = (X, X') two independent copies of the inputs and X^u = X' with the columns u from X, all moments in

    S_u = (E[M(X) M(X^u)] - E[M(X)]^2) / (E[M(X)^2] - E[M(X)]^2)

are expectations of one row of model values, and one sample of the adaptive sampler serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.core.checks import check_integer
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, child_seed, stream
from mcstat.importance._adaptive import AdaptiveImportanceSampler
from mcstat.importance._answer import propagated
from mcstat.importance._model import Model, model_values
from mcstat.importance._scores import NormalScores, StandardNormal

FloatArray = NDArray[np.float64]

# Model calls that find a centre and a unit for the outputs; neither changes the indices.
PILOT = 256


@dataclass(frozen=True)
class PickFreezeRow:
    """(n, 2 d) normal scores of X and X' to the columns M(X) M(X^u) for each set u, M(X) and M(X)^2.

    M is the model less ``centre`` in units of ``scale``: the indices stay, and the products lose their common part.
    """

    model: Model
    law: tuple[Any, ...]
    sets: tuple[tuple[int, ...], ...]
    centre: float = 0.0
    scale: float = 1.0

    @property
    def n_calls(self) -> int:
        """Model calls a row."""
        return len(self.sets) + 1

    def inputs(self, scores: FloatArray) -> FloatArray:
        """(n, d) inputs at normal scores."""
        return NormalScores(self.law).inputs(scores)

    def outputs(self, x: FloatArray) -> FloatArray:
        """(n,) centred and scaled outputs."""
        return (model_values("model", self.model, x) - self.centre) / self.scale

    def __call__(self, scores: FloatArray) -> FloatArray:
        """(n, number of sets + 2)."""
        d = len(self.law)
        x, other = self.inputs(scores[:, :d]), self.inputs(scores[:, d:])
        y = self.outputs(x)
        columns = []
        for members in self.sets:
            mixed = other.copy()
            mixed[:, members] = x[:, members]
            columns.append(y * self.outputs(mixed))
        return np.column_stack([*columns, y, y**2])


def importance_sampler(
    model: Model, law: Sequence[Any], sets: Sequence[tuple[int, ...]], budget: Any, root: SeedSequence
) -> tuple[AdaptiveImportanceSampler, PickFreezeRow]:
    """Sampler and function to fit it to, for ``budget`` model calls: the pilot's are spent here.

    The columns have both signs, so each is split. Parts and their coefficients serve all columns, cross-fitted.
    """
    row = PickFreezeRow(model, tuple(law), tuple(sets))
    d, fewest = len(law), PILOT + 10 * (2 * len(law) + 2) * row.n_calls
    if check_integer("budget", budget, 0) < fewest:
        raise InvalidParameter(f"budget must be at least {fewest} model calls for method='iscv', got {budget}")
    pilot = row.outputs(row.inputs(stream(root, "SobolIndices", Purpose.EXPLORE, 0).standard_normal((PILOT, d))))
    if not pilot.std() > 0:
        raise InvalidData(f"model(x) must vary: its values at {PILOT} points were all equal")
    sampler = AdaptiveImportanceSampler(
        law=StandardNormal(2 * d),
        weights="uniform",
        signed="split",
        control="crossfit",
        budget=(budget - PILOT) // row.n_calls,
        random_state=child_seed(root, "SobolIndices", Purpose.SAMPLE, 0),
    )
    return sampler, PickFreezeRow(row.model, row.law, row.sets, float(pilot.mean()), float(pilot.std()))


def index_values(moments: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Indices (q,) and their covariance by the delta method, from the q + 2 moments of a row and theirs."""
    products, mean, square = moments[:-2], moments[-2], moments[-1]
    variance = square - mean**2
    value = (products - mean**2) / variance
    q = len(value)
    slopes = np.zeros((q, q + 2))
    slopes[:, :q] = np.eye(q) / variance
    slopes[:, q] = 2 * mean * (value - 1) / variance
    slopes[:, q + 1] = -value / variance
    return value, propagated(slopes, cov)
