"""Whether a predicted rare probability comes true as often as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer
from mcstat.core.errors import InvalidData

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

__all__ = ["calibration_error", "calibration_table", "plot_calibration"]

FloatArray = NDArray[np.float64]


def calibration_table(probability: ArrayLike, happened: ArrayLike, n_bins: int | None = None) -> pd.DataFrame:
    """Bins of equal numbers of rows, in the order of the predicted probability.

    Parameters
    ----------
    probability : array_like, shape (n,)
        Predicted probability of an event.
    happened : array_like of bool, shape (n,)
    n_bins : int, optional
        Default: a hundred rows a bin, at least ten bins (fewer only where there are fewer rows).

    Returns
    -------
    DataFrame
        One row a bin: ``n``, ``predicted`` (mean), ``observed`` (frequency).

    Examples
    --------
    >>> from mcstat.ordinal import calibration_table
    >>> print(calibration_table([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 0], n_bins=2))
       n  predicted  observed
    0  2        0.1       0.0
    1  2        0.9       0.5
    """
    import pandas as pd

    p, bins, observed = _binned(probability, happened, n_bins)
    sizes = np.bincount(bins)
    return pd.DataFrame({"n": sizes, "predicted": np.bincount(bins, p) / sizes, "observed": observed})


def calibration_error(probability: ArrayLike, happened: ArrayLike, n_bins: int | None = None) -> float:
    """Mean over rows of (predicted probability - frequency of the event in the row's bin)^2.

    Parameters
    ----------
    probability, happened, n_bins
        As for :func:`calibration_table`.

    Returns
    -------
    float

    Notes
    -----
    Rows, frequencies and bins are taken in the order of the prediction. (The code of the paper bins sorted
    predictions and subtracts from unsorted ones, so its published figures are not comparable.)
    """
    p, bins, observed = _binned(probability, happened, n_bins)
    return float(np.mean((p - observed[bins]) ** 2))


def plot_calibration(probability: ArrayLike, happened: ArrayLike, n_bins: int | None = None, ax: Any = None) -> Any:
    """Observed frequency against prediction, bin by bin (extra ``plot``), on a matplotlib Axes.

    Parameters
    ----------
    probability, happened, n_bins
        As for :func:`calibration_table`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    from mcstat.ordinal._views import plot_calibration as draw

    return draw(calibration_table(probability, happened, n_bins), ax)


def _binned(
    probability: ArrayLike, happened: ArrayLike, n_bins: int | None
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Sorted predictions, the bin of each, and the frequency of the event in each bin."""
    p, event = check_array("probability", probability, 1), check_array("happened", happened, 1)
    if len(p) == 0 or np.any((p < 0) | (p > 1)):
        raise InvalidData("probability must hold at least one number, all between 0 and 1")
    if event.shape != p.shape or not np.isin(event, (0.0, 1.0)).all():
        raise InvalidData(f"happened must hold {len(p)} times 0 or 1, got shape {event.shape}")
    n = len(p)
    wanted = max(round(n / 100), 10) if n_bins is None else check_integer("n_bins", n_bins, 1)
    wanted = min(wanted, n)
    order = np.argsort(p, kind="stable")
    bins = np.arange(n) * wanted // n
    return p[order], bins, np.bincount(bins, event[order]) / np.bincount(bins)
