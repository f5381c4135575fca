"""Every registered method as a pytest parameter, and its case fitted."""

import pytest

from mcstat.core.registry import methods

every_method = pytest.mark.parametrize("card", methods(), ids=lambda card: card.name)
# Cases are small: what they estimate may be flagged, and that is not what these tests look at.
quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")


def fitted(card, **settings):
    """The case's estimator with other settings, fitted."""
    case = card.load_case()
    return case.estimator.set_params(**settings).fit(**case.fit)


def bits(estimate):
    """All numbers of an Estimate that must not depend on how the work was spread."""
    parts = [estimate.value.tobytes(), estimate.std_error.tobytes()]
    parts += [array.tobytes() for array in (estimate.cov, estimate.draws) if array is not None]
    return b"".join(parts)
