"""Two panels from the United States: men and their wages, states and their homicides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_castle", "load_wage_panel"]

_DATA = Path(__file__).parent / "data"


def load_wage_panel() -> pd.DataFrame:
    """Wages and union membership of 545 young men, 1980 to 1987.

    Returns
    -------
    DataFrame
        4360 rows: ``person``, ``year``, ``log_wage`` (hourly), ``union`` (wage set by collective bargaining),
        ``experience`` and ``schooling`` (years), ``black``, ``hispanic``, ``married``, ``poor_health`` (0 or 1).

    Notes
    -----
    The file ``wage_panel_LICENCE.txt`` beside the data has source and licence.

    References
    ----------
    .. [1] Vella, F. and Verbeek, M. (1998). Whose wages do unions raise? A dynamic model of unionism and wage rate
       determination for young men. Journal of Applied Econometrics 13, 163-183.
    """
    import pandas as pd

    return pd.read_csv(_DATA / "wage_panel.csv")


def load_castle() -> pd.DataFrame:
    """Homicide in 50 states, 2000 to 2010, and when they widened the right to self-defence (castle doctrine).

    Returns
    -------
    DataFrame
        550 rows: ``state`` (a number), ``year``, ``log_homicide`` (per 100 000 people), ``first_law`` (year, 0 for
        none), ``unemployment``, ``poverty``, ``log_police``, ``log_income``, ``log_prisoners``, ``population``.

    Notes
    -----
    The file ``castle_LICENCE.txt`` beside the data has source and licence.

    References
    ----------
    .. [1] Cheng, C. and Hoekstra, M. (2013). Does strengthening self-defense law deter crime or escalate violence?
       Evidence from expansions to castle doctrine. Journal of Human Resources 48(3), 821-854.
    """
    import pandas as pd

    return pd.read_csv(_DATA / "castle.csv")
