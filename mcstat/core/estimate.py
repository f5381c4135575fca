"""The one result type: numbers that never travel without their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_option
from mcstat.core.laws import Law

if TYPE_CHECKING:
    import pandas as pd

    from mcstat.core._algebra import WaldTest
    from mcstat.core._display import Summary

__all__ = ["KINDS", "Estimate"]

FloatArray = NDArray[np.float64]
KINDS = ("monte_carlo", "frequentist", "posterior", "bootstrap")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate:
    """``q`` estimated quantities with their uncertainty, and where both came from.

    It is immutable and holds no reference to data or estimator. Make one by hand with
    ``Estimate(value=3.1, std_error=0.2)`` or :meth:`from_draws`; every mcstat estimator returns one from
    ``estimate()``.

    Parameters
    ----------
    value : array_like, shape (q,)
        The estimates; a scalar means q = 1.
    std_error : array_like, shape (q,), optional
        Standard error (for kind ``"posterior"``: posterior standard deviation) of each value. Needed only where the
        full covariance is not known; otherwise taken from ``cov`` or ``draws``.
    names : sequence of str, optional
        q unique names.
    coords : mapping of str to array_like, shape (q,), optional
        Labels (time, group, ...) that serve tables and plots.
    cov : array_like, shape (q, q), optional
        Covariance of ``value`` about the estimand; authoritative where several sources exist.
    draws : array_like, shape (chain, draw, q), optional
        Posterior or bootstrap draws; for kind ``"monte_carlo"`` independent replicates of ``value``.
    log_weights : array_like, shape (chain, draw), optional
        Log importance weights of ``draws``, up to a constant.
    law : Law, optional
        Where the uncertainty is not normal; see :mod:`mcstat.core.laws`.
    influence : array_like, shape (n, q), optional
        Influence values per sampling unit, scaled so that ``influence.T @ influence / n**2`` estimates ``cov``.
    sample_id : str, optional
        Estimates of equal ``sample_id`` share their sampling units, so differences between them are known.
    clusters : array_like, shape (n,), optional
        Cluster code of each sampling unit.
    kind : {"monte_carlo", "frequentist", "posterior", "bootstrap"}
        Decides the words: confidence or credible, standard error or sd.
    mcse : array_like, shape (q,), optional
        The part of the uncertainty that more computing would remove; equal to ``std_error`` for ``"monte_carlo"``.
    df : float, optional
        Degrees of freedom of Student's t; None is the normal law.
    estimand, method : str
        What is estimated, and the estimator's class.
    diagnostics, info : mapping
        Plain numbers, strings and lists.
    warnings : sequence of str
        Reasons to doubt the numbers.

    Examples
    --------
    >>> from mcstat import Estimate
    >>> est = Estimate(value=3.1, std_error=0.2)
    >>> float(est)
    3.1
    >>> print(est.conf_int(level=0.9).round(3).to_string(header=False))
    value  2.771  3.429
    """

    value: FloatArray
    std_error: FloatArray = None  # type: ignore[assignment]  # always (q,) after construction
    names: tuple[str, ...] = None  # type: ignore[assignment]
    coords: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    cov: FloatArray | None = None
    draws: FloatArray | None = None
    log_weights: FloatArray | None = None
    law: Law | None = None
    influence: FloatArray | None = None
    sample_id: str | None = None
    clusters: NDArray[np.int64] | None = None
    kind: str = "frequentist"
    mcse: FloatArray = None  # type: ignore[assignment]
    df: float | None = None
    estimand: str = ""
    method: str = ""
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes, fill what follows from what was given, and own read-only copies."""
        from mcstat.core._fields import clean_fields

        for name, cleaned in clean_fields(self).items():
            object.__setattr__(self, name, cleaned)

    # Making one ---------------------------------------------------------------------------------------------

    @classmethod
    def from_draws(
        cls,
        draws: ArrayLike,
        *,
        names: Iterable[str] | None = None,
        log_weights: ArrayLike | None = None,
        kind: str = "posterior",
        **fields: Any,
    ) -> Self:
        """Summarise draws: their (weighted) mean, standard deviation, covariance and Monte Carlo error.

        Parameters
        ----------
        draws : array_like, shape (draw,), (draw, q) or (chain, draw, q)
        names : iterable of str, optional
        log_weights : array_like, shape (draw,) or (chain, draw), optional
        kind : {"posterior", "bootstrap", "monte_carlo"}
            For ``"monte_carlo"`` the draws are independent replicates of the estimate, and ``std_error`` is that of
            their mean.
        **fields
            Other fields of :class:`Estimate`.

        Notes
        -----
        The Monte Carlo error of dependent draws is by non-overlapping batch means (about sqrt(n) batches a chain),
        that of weighted draws by the delta method.
        """
        from mcstat.core._fields import summarise_draws

        summary = summarise_draws(draws, log_weights, check_option("kind", kind, KINDS))
        return cls(**(summary | {"names": names, "kind": kind} | fields))

    @classmethod
    def concat(cls, estimates: Sequence[Estimate] | Mapping[str, Estimate], *, independent: bool = False) -> Estimate:
        """One Estimate that holds the quantities of several.

        Parameters
        ----------
        estimates : sequence or mapping of Estimate
            A mapping prefixes the names with its keys.
        independent : bool
            True asserts that they are independent, which makes the joint covariance block-diagonal. Otherwise it is
            known only between estimates of equal ``sample_id`` with influence values.
        """
        from mcstat.core._algebra import concat

        return concat(estimates, independent=independent)

    # Uncertainty --------------------------------------------------------------------------------------------

    def conf_int(
        self, level: float = 0.95, *, how: str | None = None, joint: bool = False, sides: str = "two"
    ) -> pd.DataFrame:
        """Interval for each quantity (credible for posteriors, confidence otherwise).

        Parameters
        ----------
        level : float
            Strictly between 0 and 1.
        how : {"law", "quantile", "t", "normal"}, optional
            Default: the law if there is one, quantiles of posterior or bootstrap draws, Student's t where ``df`` is
            known, else the normal law. The way used is the name of the columns.
        joint : bool
            True gives a band that covers all quantities at once (the quantile of the largest standardised
            deviation); it needs ``cov``, ``influence`` or ``draws``.
        sides : {"two", "lower", "upper"}
            ``"lower"`` is [lower, inf), ``"upper"`` is (-inf, upper].

        Returns
        -------
        DataFrame
            Index: names; columns ``lower`` and ``upper``.
        """
        import pandas as pd

        from mcstat.core._intervals import interval

        band = interval(self, level, how=how, joint=joint, sides=sides)
        frame = pd.DataFrame({"lower": band.lower, "upper": band.upper}, index=list(self.names))
        frame.columns.name = band.label
        return frame

    def test(self, R: ArrayLike | None = None, r: ArrayLike = 0.0) -> WaldTest:
        """Wald test of ``R @ value == r`` (default: every quantity is 0); F where ``df`` is known, else chi-squared.

        Parameters
        ----------
        R : array_like, shape (p, q), optional
            One restriction a row; default the identity.
        r : array_like, shape (p,)
        """
        from mcstat.core._algebra import wald_test

        return wald_test(self, R, r)

    def recluster(self, clusters: ArrayLike) -> Estimate:
        """Same values, covariance from influence values summed within other clusters, shape (n,) (G/(G-1) scaled)."""
        from mcstat.core._algebra import recluster

        return recluster(self, clusters)

    # Other quantities ---------------------------------------------------------------------------------------

    def transform(self, fn: Callable[[FloatArray], ArrayLike], names: Iterable[str] | None = None) -> Estimate:
        """Estimate of ``fn(value)``: draw by draw where there are draws, else by the delta method.

        Parameters
        ----------
        fn : callable
            (q,) to (p,) or to a number. Its derivative is taken by central differences.
        names : iterable of str, optional
            Default: the same names if p = q.
        """
        from mcstat.core._algebra import transform

        return transform(self, fn, names)

    def __getitem__(self, key: str | Sequence[str]) -> Estimate:
        """The Estimate of one named quantity, or of a list of them."""
        from mcstat.core._algebra import select

        return select(self, key)

    def __add__(self, other: Any) -> Any:
        """Sum with a number, an array (q,) or an Estimate on the same sample."""
        from mcstat.core._algebra import combine

        return combine(self, other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        """Difference to a number, an array (q,) or an Estimate on the same sample."""
        from mcstat.core._algebra import combine

        return combine(self, other, -1.0)

    def __rsub__(self, other: Any) -> Any:
        """A number minus this."""
        return -self + other

    def __mul__(self, other: Any) -> Any:
        """Product with a number or an array (q,)."""
        from mcstat.core._algebra import scale

        return scale(self, other)

    __rmul__ = __mul__
    # NumPy would otherwise take an Estimate for an object scalar and multiply element by element.
    __array_ufunc__ = None

    def __neg__(self) -> Any:
        """The same with opposite sign."""
        return self * -1.0

    # Reading ------------------------------------------------------------------------------------------------

    def __float__(self) -> float:
        """The value, where there is just one."""
        if len(self.value) != 1:
            raise TypeError(f"float() wants one quantity, this Estimate has {len(self.value)}; select with est[name]")
        return float(self.value[0])

    def __len__(self) -> int:
        """Number of quantities q."""
        return len(self.value)

    def __repr__(self) -> str:
        from mcstat.core._display import short_text

        return short_text(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def summary(self, level: float = 0.95) -> Summary:
        """All quantities with intervals, facts and warnings; prints as text, shows as HTML in a notebook."""
        from mcstat.core._display import Summary

        return Summary.of(self, level)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Tidy table: term, estimate, std_error, mcse, statistic, p_value, conf_low, conf_high and the coords.

        Statistic and p-value (of the hypothesis that the quantity is 0) are NaN for posteriors and Monte Carlo
        estimates, which test nothing.
        """
        from mcstat.core._display import tidy

        return tidy(self, level)

    @staticmethod
    def compare(estimates: Mapping[str, Estimate], level: float = 0.95) -> pd.DataFrame:
        """Several estimates side by side: a row a term, columns (label, estimate, std_error, conf_low or conf_high)."""
        from mcstat.core._display import compare

        return compare(estimates, level)

    def plot(self, ax: Any = None, level: float = 0.95) -> Any:
        """Values with intervals as a forest plot on a matplotlib Axes, which is returned (extra ``plot``)."""
        from mcstat.core.plots import forest

        return forest(self, ax=ax, level=level)

    def to_arviz(self, random_state: int = 0) -> Any:
        """Draws as ArviZ data (extra ``arviz``); weighted draws are resampled with ``random_state``."""
        from mcstat.core._arviz import to_arviz

        return to_arviz(self, random_state)

    # Keeping ------------------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write to one file: a zip of ``.npy`` arrays and a JSON page, no pickle."""
        from mcstat.core.storage import save_estimate

        save_estimate(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Estimate:
        """Read what :meth:`save` wrote. Damaged or hostile files raise ``InvalidFileError``; nothing in them is run."""
        from mcstat.core.storage import load_estimate

        return load_estimate(path)
