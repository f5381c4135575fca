"""Every card leads to a public class with a small case, and every public estimator has a card."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import mcstat
from mcstat.core.registry import methods
from tests.contract.cases import methods_here

PACKAGE = Path(mcstat.__file__).parent
NOT_ROOMS = {"core", "kernels", "datasets"}


def _rooms():
    stubs = PACKAGE.rglob("__init__.pyi")
    rooms = {".".join(stub.parent.relative_to(PACKAGE).parts) for stub in stubs}
    closed = NOT_ROOMS if find_spec("torch") else NOT_ROOMS | {"torch"}
    return sorted(room for room in rooms if room and room.partition(".")[0] not in closed)


def test_every_cards_class_is_public_in_its_room():
    for card in methods_here():
        room = import_module(f"mcstat.{card.room}")
        assert card.class_ in room.__all__, f"{card.name}: {card.class_} is not in mcstat.{card.room}"


def test_every_public_estimator_has_a_card():
    from mcstat.core.base import Estimator

    carded = {(card.room, card.class_) for card in methods()}
    rooms = _rooms()
    assert rooms
    for room in rooms:
        module = import_module(f"mcstat.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, Estimator):
                assert (room, name) in carded, f"mcstat.{room}.{name} has no card"


def test_every_case_holds_an_unfitted_estimator_of_its_class():
    for card in methods_here():
        case = card.load_case()
        assert type(case.estimator) is card.load_class()
        assert not case.estimator.__sklearn_is_fitted__()
        assert case.truth, f"{card.name}: a case must name at least one true value"


def test_every_case_can_be_studied_or_its_card_says_why_not():
    for card in methods_here():
        case = card.load_case()
        random = case.draw is not None or "random_state" in case.estimator.get_params()
        assert random or card.calibration, (
            f"{card.name}: give its Case a draw, or its estimator a random_state, or its card a reason 'calibration'"
        )
