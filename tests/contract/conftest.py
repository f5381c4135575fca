"""Checks that a method's card says do not apply, with the reason it gives."""

import pytest


@pytest.fixture(autouse=True)
def _expected_failures(request):
    values = getattr(getattr(request.node, "callspec", None), "params", {})
    if "card" not in values:
        return
    # "test" is all of it, "test[value]" the one with that parameter.
    name = request.node.originalname
    for key in (name, *(f"{name}[{value}]" for value in values.values() if isinstance(value, (str, float)))):
        if key in values["card"].expected_failures:
            pytest.skip(values["card"].expected_failures[key])
