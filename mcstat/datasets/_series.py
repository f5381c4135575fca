"""Real time series."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from mcstat.core.errors import InvalidData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_nile", "load_sp500"]


def load_nile() -> pd.Series:
    """Annual flow of the Nile at Aswan, 1871 to 1970, in 10^8 cubic metres.

    Returns
    -------
    Series
        100 flows, indexed by year.

    Notes
    -----
    Cobb, G. W. (1978). The problem of the Nile: conditional solution to a changepoint problem. Biometrika 65, 243-251,
    table 1; the numbers are those of R's data set ``Nile``. Measurements published in a journal: public domain.

    Examples
    --------
    >>> from mcstat.datasets import load_nile
    >>> load_nile().loc[1871]
    np.float64(1120.0)
    """
    import pandas as pd

    frame = _read("nile.csv")
    return pd.Series(frame["flow"].to_numpy(dtype=np.float64), index=pd.Index(frame["year"], name="year"), name="flow")


def load_sp500(start: str = "2000-01-01", end: str = "2015-12-31") -> pd.Series:
    """Daily log returns of the S&P 500 index, in per cent.

    Parameters
    ----------
    start, end : str
        First and last day wanted, within 2000-01-03 to 2015-12-31.

    Returns
    -------
    Series
        100 (log close_t - log close_{t-1}), indexed by date.

    Notes
    -----
    Closing prices from the data set ``sp500`` of the R package gt, under the MIT licence (copyright 2018-2024 gt
    authors).

    Examples
    --------
    >>> from mcstat.datasets import load_sp500
    >>> len(load_sp500("2008-01-01", "2008-12-31"))
    253
    """
    import pandas as pd

    frame = _read("sp500.csv")
    close = pd.Series(frame["close"].to_numpy(), index=pd.DatetimeIndex(frame["date"], name="date"))
    logs = pd.Series(100.0 * np.log(close.to_numpy()), index=close.index, name="return")
    returns: pd.Series = logs.diff().iloc[1:].loc[start:end]
    if returns.empty:
        raise InvalidData(f"start and end must hold trading days from 2000 to 2015, got {start!r} and {end!r}")
    return returns


def _read(name: str) -> pd.DataFrame:
    import pandas as pd

    with files("mcstat.datasets").joinpath(f"data/{name}").open("r", encoding="utf-8") as file:
        return pd.read_csv(file)
