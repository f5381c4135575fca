"""Every registered method as a pytest parameter, and its case fitted."""

from importlib.util import find_spec

import pytest

from mcstat.core.registry import methods

WITHOUT_TORCH = find_spec("torch") is None


def methods_here():
    """The methods whose room can be imported here."""
    return [card for card in methods() if not (WITHOUT_TORCH and card.room.startswith("torch"))]


every_method = pytest.mark.parametrize("card", methods_here(), ids=lambda card: card.name)


def methods_where(condition):
    """Those methods as a parameter whose case fulfils the condition."""
    return pytest.mark.parametrize(
        "card", [card for card in methods_here() if condition(card.load_case())], ids=lambda card: card.name
    )


def methods_with(*parameters):
    """Those methods as a parameter whose estimators have all these settings."""
    return methods_where(lambda case: set(parameters) <= set(case.estimator.get_params(deep=False)))


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
