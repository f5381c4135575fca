"""How many challenges an audit needs."""

from __future__ import annotations

from mcstat.core.checks import check_integer, check_level, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.privacy._joint import JointExact
from mcstat.privacy._posterior import EpsilonPosterior
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle

__all__ = ["challenges_needed"]

_LAWS = {
    "joint-beta": EpsilonPosterior,
    "clopper-pearson": ClopperPearsonRectangle,
    "jeffreys": JeffreysRectangle,
    "joint-exact": JointExact,
}


def challenges_needed(
    width: float,
    *,
    fnr: float,
    fpr: float,
    delta: float = 1e-5,
    level: float = 0.95,
    method: str = "joint-beta",
    most: int = 100_000_000,
) -> int:
    """Members, and as many non-members, for an interval of epsilon that is at most ``width`` wide.

    Parameters
    ----------
    width : float
        Wished width of the two-sided interval.
    fnr, fpr : float
        Error rates that the attack is thought to have, strictly between 0 and 1.
    delta, level : float
    method : {"joint-beta", "clopper-pearson", "jeffreys", "joint-exact"}
        As of :class:`PrivacyAuditor`.
    most : int
        Where the search ends.

    Returns
    -------
    int
        Smallest n whose interval at the expected counts n * rate is narrow enough. The counts of an audit vary, so its
        interval is narrower in about half of all audits.

    Raises
    ------
    InvalidParameter
        Naming the argument; also when ``most`` challenges a side are not enough.

    Examples
    --------
    >>> from mcstat.privacy import challenges_needed
    >>> challenges_needed(1.0, fnr=0.2, fpr=0.05)
    296
    """
    check_real("width", width, 0.0, closed="neither")
    check_real("fnr", fnr, 0.0, 1.0, closed="neither")
    check_real("fpr", fpr, 0.0, 1.0, closed="neither")
    check_real("delta", delta, 0.0, 1.0, closed="left")
    check_level(level)
    law = _LAWS[check_option("method", method, tuple(_LAWS))]

    def enough(n: int) -> bool:
        counts = {"fn": [n * fnr], "fp": [n * fpr], "tn": [n * (1 - fpr)], "tp": [n * (1 - fnr)]}
        lower, upper = law(**counts, delta=[delta]).interval(level)
        return bool(upper[0] - lower[0] <= width)

    low, high = 0, 1
    while not enough(high):
        if high >= check_integer("most", most, 1):
            raise InvalidParameter(f"width {width:g} needs more than most = {most} challenges a side")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
