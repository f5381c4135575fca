"""Every exception and warning of the house.

Errors that a caller may want to catch separately derive from :class:`MCStatError` *and* from the builtin that
scikit-learn users expect (``ValueError``, ``ImportError``).
"""

from __future__ import annotations

__all__ = [
    "DegenerateWeightsError",
    "InvalidCard",
    "InvalidData",
    "InvalidFileError",
    "InvalidParameter",
    "JointLawError",
    "MCStatError",
    "MCStatWarning",
    "MissingExtraError",
    "PerformanceWarning",
    "RankWarning",
    "ReliabilityWarning",
]


class MCStatError(Exception):
    """Base class of the errors that mcstat raises on purpose."""


class InvalidParameter(MCStatError, ValueError):
    """A constructor or method argument has a value that cannot be used."""


class InvalidCard(MCStatError, ValueError):
    """A method's card has a key too many, a key too few or a value of the wrong type; the message names the file."""


class InvalidData(MCStatError, ValueError):
    """Data, or what a user's function returned, cannot be used."""


class JointLawError(MCStatError, ValueError):
    """A question about several quantities at once, asked of an Estimate that holds only their margins."""


class DegenerateWeightsError(MCStatError, ValueError):
    """Importance weights that sum to zero (all log-weights are minus infinity)."""


class InvalidFileError(MCStatError, ValueError):
    """A saved result that is damaged, hostile or from a newer mcstat."""


class MissingExtraError(MCStatError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class MCStatWarning(UserWarning):
    """Base class of the warnings that mcstat issues."""


class ReliabilityWarning(MCStatWarning):
    """The number that was computed should be read with the stated caution."""


class PerformanceWarning(MCStatWarning):
    """The work was done by a slow path; the message says what would make it fast."""


class RankWarning(MCStatWarning):
    """The columns of a matrix are linearly dependent; the work was done in its range."""
