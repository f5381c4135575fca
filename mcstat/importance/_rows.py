"""Points of a law, independent or scrambled, with a function and its control variates evaluated at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, stream
from mcstat.importance._evaluation import call

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], ArrayLike]


@dataclass(frozen=True)
class InputLaw:
    """X by a joint law with ``rvs``, by independent marginals with ``ppf``, or (in one dimension) both."""

    joint: Any
    marginals: tuple[Any, ...]

    @staticmethod
    def of(law: Any, sampler: str) -> InputLaw:
        """From what the user gave."""
        if isinstance(law, Sequence) and not isinstance(law, str):
            for i, marginal in enumerate(law):
                if not callable(getattr(marginal, "ppf", None)):
                    raise InvalidParameter(f"law[{i}] must have ppf(u), as frozen SciPy marginals do, got {marginal!r}")
            if len(law) == 0:
                raise InvalidParameter("law must hold at least one marginal, got an empty list")
            return InputLaw(None, tuple(law))
        if not callable(getattr(law, "rvs", None)):
            raise InvalidParameter(
                f"law must be a list of marginals with ppf(u), or have rvs(size, random_state), got {law!r}"
            )
        invertible = callable(getattr(law, "ppf", None))
        if sampler == "rqmc" and not invertible:
            raise InvalidParameter(f"law must be a list of marginals with ppf(u) for sampler='rqmc', got {law!r}")
        return InputLaw(law, (law,) if invertible else ())

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) independent draws."""
        if self.joint is None:
            # An exact 0 would be minus infinity for a normal.
            return self.from_uniforms(np.maximum(rng.random((n, len(self.marginals))), 2.0**-54))
        return np.asarray(self.joint.rvs(size=n, random_state=rng), dtype=np.float64).reshape(n, -1)

    def from_uniforms(self, u: FloatArray) -> FloatArray:
        """(n, d) points whose marginals stand at the probabilities u."""
        x = np.empty(u.shape)
        for i, marginal in enumerate(self.marginals):
            x[:, i] = check_array(f"law[{i}].ppf(u)", marginal.ppf(u[:, i]), 1)
        return x


@dataclass(frozen=True)
class Rows:
    """What the regression sees: values (n, J) and controls (n, M); of ``n_points`` points with variances ``squares``.

    ``sizes`` (M,) are the largest regressors in absolute value, known means included. A row that averages over a
    scramble keeps its points.
    """

    values: FloatArray
    controls: FloatArray
    n_points: int
    squares: FloatArray
    sizes: FloatArray
    names: tuple[str, ...] | None
    points: Rows | None = None


@dataclass(frozen=True)
class Source:
    """Draws points and calls function and regressors on them; task (k, n) is always the same for the same root."""

    law: InputLaw
    func: Function
    regressors: Function
    means: FloatArray
    root: SeedSequence
    chunk_size: int | None
    n_base: int

    def sample(self, task: tuple[int, int]) -> Rows:
        """``n`` independent points of stream ``k``."""
        k, n = task
        return self._rows(self.law.rvs(n, stream(self.root, "ControlVariates", Purpose.SAMPLE, k)))

    def scramble(self, task: tuple[int, int]) -> Rows:
        """One row: averages over scramble ``k`` of the Sobol' sequence."""
        from scipy.stats import qmc

        rng = stream(self.root, "ControlVariates", Purpose.RANDOMISATIONS, task[0])
        cells = np.floor(qmc.Sobol(len(self.law.marginals), scramble=True, rng=rng).random(self.n_base) * self.n_base)
        # SciPy's scrambles share their deeper digits: most integrate a line exactly and a few badly, so that means over
        # scrambles are no basis for a regression. Fresh digits within the cells, as in Owen's nested scrambling, leave
        # the variance as it is and make the means nearly normal.
        u = (cells + rng.random(cells.shape)) / self.n_base
        rows = self._rows(self.law.from_uniforms(np.clip(u, 2.0**-54, 1 - 2.0**-53)))
        values, controls = rows.values.mean(axis=0)[None], rows.controls.mean(axis=0)[None]
        return Rows(values, controls, self.n_base, rows.squares, rows.sizes, rows.names, rows)

    def _rows(self, x: FloatArray) -> Rows:
        values, names = call("func", self.func, x, self.chunk_size)
        raw = call("regressors", self.regressors, x, self.chunk_size)[0]
        if raw.shape[1] != len(self.means):
            raise InvalidData(
                "regressors must give the same number of columns at every call, "
                f"got {len(self.means)} and {raw.shape[1]}"
            )
        sizes = np.maximum(np.abs(raw).max(axis=0), np.abs(self.means))
        return Rows(values, raw - self.means, len(x), values.var(axis=0), sizes, names)
