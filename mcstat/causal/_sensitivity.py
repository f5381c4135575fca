"""How strong must an unobserved confounder be to change the answer: bounds, robustness values, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._base import DoubleML
from mcstat.causal._panel_data import Panel
from mcstat.causal._solve import aggregate, covariance
from mcstat.core.base import Estimator
from mcstat.core.checks import check_level, check_real
from mcstat.core.errors import InvalidParameter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bounded", "Loss", "Sensitive", "loss", "robustness_value"]

FloatArray = NDArray[np.float64]

_BISECTIONS = 50


@dataclass(frozen=True)
class Loss:
    """What confounding could do to one quantity, from one splitting.

    Attributes
    ----------
    sigma2 : float
        Variance of the outcome that treatment and covariates leave unexplained.
    nu2 : float
        Second moment of the Riesz representer (for partialling out: one over the treatment's residual variance).
    scale : float
        S = sqrt(sigma2 nu2).
    parts : ndarray, shape (m,)
        Each row's part in the error of S.
    """

    sigma2: float
    nu2: float
    scale: float
    parts: FloatArray


def loss(residual: FloatArray, riesz: FloatArray, moment: FloatArray | None, w: FloatArray) -> Loss:
    """From residuals of the outcome and the Riesz representer alpha, (m,) each.

    ``moment`` is m(W, alpha) where nu2 = 2 E m(W, alpha) - E alpha^2 is less noisy than E alpha^2; where that comes out
    negative the latter is taken.
    """
    share = w / w.sum()
    sigma2 = float(share @ residual**2)
    nu2 = float(share @ riesz**2)
    psi_nu2 = nu2 - riesz**2
    if moment is not None and (debiased := float(share @ (2.0 * moment - riesz**2))) > 0:
        nu2, psi_nu2 = debiased, 2.0 * moment - riesz**2 - debiased
    scale = float(np.sqrt(sigma2 * nu2))
    # Without residuals there is nothing to lose.
    psi = (sigma2 * psi_nu2 + nu2 * (residual**2 - sigma2)) / (2.0 * scale if scale > 0 else 1.0)
    return Loss(sigma2, nu2, scale, share * psi)


def robustness_value(distance: float) -> float:
    """Where c^2 / (1 - c) = k^2, k the distance to the null in units of |rho| S."""
    k2 = distance**2
    return float((-k2 + np.sqrt(k2**2 + 4.0 * k2)) / 2.0)


class Sensitive(Estimator):
    """Sensitivity analysis of quantities whose bounds are value +- strength S."""

    def _quantities(self) -> tuple[Sequence[str], FloatArray]:
        """Names and values, (q,)."""
        raise TypeError(f"{type(self).__name__} must define _quantities")

    def _scale(self, j: int) -> float:
        """S of quantity j."""
        raise TypeError(f"{type(self).__name__} must define _scale")

    def _bound(self, j: int, signed: float) -> tuple[float, float]:
        """Value of quantity j + signed S, and its error."""
        raise TypeError(f"{type(self).__name__} must define _bound")

    def sensitivity(self, cf_y: float, cf_d: float, rho: float = 1.0, *, level: float = 0.95) -> pd.DataFrame:
        """Bounds on the effects if a confounder was left out.

        Parameters
        ----------
        cf_y : float
            Share of the outcome's unexplained variance that the confounder would explain, in [0, 1).
        cf_d : float
            Share of the variance of the Riesz representer that it would add (for a partially linear model: of the
            treatment's residual variance that it would explain), in [0, 1).
        rho : float
            Correlation of what it does to outcome and treatment, in [-1, 1]; 1 is the worst case.
        level : float
            Of the one-sided intervals of the bounds.

        Returns
        -------
        DataFrame
            A row a quantity: ``theta``, ``lower``, ``upper``, and ``conf_low``, ``conf_high`` of the bounds.

        References
        ----------
        .. [1] Chernozhukov, V., Cinelli, C., Newey, W., Sharma, A. and Syrgkanis, V. (2022). Long story short: omitted
           variable bias in causal machine learning. arXiv:2112.13398.
        """
        import pandas as pd

        self._check_fitted()
        cf_y = check_real("cf_y", cf_y, 0.0, 1.0, closed="left")
        cf_d = check_real("cf_d", cf_d, 0.0, 1.0, closed="left")
        strength = abs(check_real("rho", rho, -1.0, 1.0)) * np.sqrt(cf_y * cf_d / (1.0 - cf_d))
        names, thetas = self._quantities()
        rows = [self._bounds(j, strength, check_level(level)) for j in range(len(names))]
        table = pd.DataFrame(rows, columns=["lower", "upper", "conf_low", "conf_high"], index=list(names))
        table.insert(0, "theta", thetas)
        return table

    def robustness_value(self, null: float = 0.0, level: float | None = None, rho: float = 1.0) -> pd.Series:
        """Strength cf_y = cf_d at which the bound (with ``level``: its confidence limit) reaches ``null``.

        Parameters
        ----------
        null : float
        level : float, optional
        rho : float

        Returns
        -------
        Series
            Near 0 a weak confounder would do, near 1 none would.
        """
        import pandas as pd

        self._check_fitted()
        null = check_real("null", null)
        rho = abs(check_real("rho", rho, -1.0, 1.0))
        if rho == 0:
            raise InvalidParameter("rho must not be 0: a confounder without correlation does no harm")
        names, thetas = self._quantities()
        values = []
        for j, theta in enumerate(thetas):
            if level is None:
                values.append(robustness_value((theta - null) / (rho * self._scale(j))))
            else:
                values.append(self._robustness_by_bisection(j, null, check_level(level), rho))
        return pd.Series(values, index=list(names), name="robustness value")

    def _bounds(self, j: int, strength: float, level: float) -> tuple[float, float, float, float]:
        """Lower and upper bound of quantity j, and the one-sided limits of each."""
        from scipy.special import ndtri

        z = float(ndtri(level))
        lower, lower_error = self._bound(j, -strength)
        upper, upper_error = self._bound(j, strength)
        return lower, upper, lower - z * lower_error, upper + z * upper_error

    def _robustness_by_bisection(self, j: int, null: float, level: float, rho: float) -> float:
        theta = self._quantities()[1][j]

        def crossed(cf: float) -> bool:
            bounds = self._bounds(j, rho * cf / np.sqrt(1.0 - cf), level)
            return bounds[2] <= null if theta >= null else bounds[3] >= null

        if crossed(0.0):
            return 0.0
        low, high = 0.0, 1.0 - 1e-12
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if crossed(middle) else (middle, high)
        return high


class Bounded(Sensitive, DoubleML):
    """Adds sensitivity analysis to an estimator that knows its residuals and Riesz representer."""

    _panel: Panel

    def _losses(self) -> list[list[Loss]]:
        """For each splitting, that of each quantity."""
        raise TypeError(f"{type(self).__name__} must define _losses")

    def _refit_without(self, panel: Panel) -> Any:
        """A clone, fitted on the same rows and folds with other covariates."""
        raise TypeError(f"{type(self).__name__} must define _refit_without")

    def benchmark(self, covariates: Sequence[str]) -> pd.DataFrame:
        """Strength of a confounder as strong as some of the covariates: the fit without them against the fit with.

        Parameters
        ----------
        covariates : sequence of str

        Returns
        -------
        DataFrame
            A row a quantity: ``cf_y``, ``cf_d``, ``rho`` to give to :meth:`sensitivity`, and the change of theta.
        """
        import pandas as pd

        self._check_fitted()
        wanted = [covariates] if isinstance(covariates, str) else list(covariates)
        panel = self._panel
        unknown = [name for name in wanted if name not in panel.covariates]
        if unknown or not wanted:
            raise InvalidParameter(f"covariates must name columns of X, {list(panel.covariates)}, got {wanted}")
        short = self._refit_without(_without(panel, wanted))
        rows = []
        pairs = zip(self._losses()[0], short._losses()[0], self._theta, short._theta, strict=True)
        for long_loss, short_loss, theta, theta_short in pairs:
            gained_y, gained_d = short_loss.sigma2 - long_loss.sigma2, long_loss.nu2 - short_loss.nu2
            product = max(gained_y, 0.0) * max(gained_d, 0.0)
            rho = float(np.clip((theta_short - theta) / np.sqrt(product), -1.0, 1.0)) if product > 0 else 0.0
            rows.append((gained_y / long_loss.sigma2, gained_d / long_loss.nu2, rho, theta_short - theta))
        columns = ["cf_y", "cf_d", "rho", "change"]
        return pd.DataFrame(rows, columns=columns, index=list(self._sample.names))

    def _quantities(self) -> tuple[Sequence[str], FloatArray]:
        return self._sample.names, self._theta

    def _scale(self, j: int) -> float:
        return float(np.median([losses[j].scale for losses in self._losses()]))

    def _bound(self, j: int, signed: float) -> tuple[float, float]:
        """Over the splittings."""
        thetas, covs = [], []
        for solution, losses in zip(self._solutions, self._losses(), strict=True):
            thetas.append([solution.theta[j] + signed * losses[j].scale])
            covs.append(covariance((solution.parts[:, j] + signed * losses[j].parts)[:, None], self._sums)[0])
        theta, cov = aggregate(np.array(thetas), np.array(covs), self.aggregate)
        return float(theta[0]), float(np.sqrt(cov[0, 0]))


def _without(panel: Panel, names: Sequence[str]) -> Panel:
    kept = [j for j, name in enumerate(panel.covariates) if name not in names]
    return replace(panel, X=np.ascontiguousarray(panel.X[:, kept]), covariates=tuple(panel.covariates[j] for j in kept))
