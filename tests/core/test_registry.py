"""Cards are read, checked, found and cited."""

import html
from dataclasses import replace

import pytest

from mcstat.core import registry
from mcstat.core.errors import InvalidCard, InvalidParameter
from mcstat.core.registry import Case, MethodTable, cite, find, methods, read_cards

CARD = """
name = "urn_sampler"
class = "UrnSampler"
title = "Draws <balls> from an urn & counts"
estimand = "share of red balls"
input = "an urn"
gives = "share with its standard error"
tags = ["rare event", "hypergeometric"]
case = "mcstat.urns._cases:urn_sampler"

[paper]
authors = ["Bernoulli, Jakob", "Bernoulli, Nikolaus"]
title = "Ars & conjectandi"
year = 1713
arxiv = "1713.00001"

[expected_failures]
check_urn = "an urn has no sign"
"""


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "torch" / "urns"
    folder.mkdir(parents=True)
    (folder / "urn_sampler.toml").write_text(CARD, encoding="utf-8")
    return tmp_path


@pytest.fixture
def urns(package, monkeypatch):
    cards = read_cards(package)
    second = replace(cards[0], name="ball_counter", class_="BallCounter", tags=("exact",), title="Counts")
    table = MethodTable([second, cards[0]])
    monkeypatch.setattr(registry, "_installed", lambda: table)
    return table


def test_a_card_is_read_whole(package):
    (card,) = read_cards(package)
    assert (card.name, card.class_, card.room) == ("urn_sampler", "UrnSampler", "torch.urns")
    assert card.tags == ("rare event", "hypergeometric")
    assert card.expected_failures == {"check_urn": "an urn has no sign"}
    assert card.paper.authors == ("Bernoulli, Jakob", "Bernoulli, Nikolaus")
    assert card.paper.link == "https://arxiv.org/abs/1713.00001"
    assert card.calibration == ""


def test_a_card_may_say_why_it_is_not_calibrated(package):
    path = package / "torch" / "urns" / "urn_sampler.toml"
    path.write_text('calibration = "an urn has no interval"\n' + CARD, encoding="utf-8")
    assert read_cards(package)[0].calibration == "an urn has no interval"


SPOILED = {
    "unknown key": (('input = "an urn"', 'input = "an urn"\nspeed = "high"'), "unknown key.*speed"),
    "room given": (('input = "an urn"', 'input = "an urn"\nroom = "urns"'), "unknown key.*room"),
    "missing key": (('class = "UrnSampler"\n', ""), "missing key.*class"),
    "missing paper key": (("year = 1713\n", ""), r"\[paper\].*missing key.*year"),
    "no address": (('arxiv = "1713.00001"\n', ""), "arxiv or doi"),
    "wrong type": (("year = 1713", 'year = "1713"'), "year must be a non-empty integer"),
    "empty text": (('title = "Ars & conjectandi"', 'title = " "'), "title must be a non-empty string"),
    "tags not a list": (('tags = ["rare event", "hypergeometric"]', 'tags = "rare"'), "tags must be"),
    "other name": (('name = "urn_sampler"', 'name = "urn"'), "name must be the file's name"),
    "no function": (("_cases:urn_sampler", "_cases"), "module:function"),
    "not toml": (("[paper]", "[paper"), "line"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_card_is_refused_with_its_file_named(kind, package):
    (old, new), words = SPOILED[kind]
    assert old in CARD
    path = package / "torch" / "urns" / "urn_sampler.toml"
    path.write_text(CARD.replace(old, new), encoding="utf-8")
    with pytest.raises(InvalidCard, match=f"(?s)urn_sampler.toml.*{words}"):
        read_cards(package)


def test_find_wants_every_word_in_any_case(urns):
    assert [card.name for card in find("RARE red")] == ["urn_sampler"]
    assert [card.name for card in find("red balls")] == ["ball_counter", "urn_sampler"]
    assert find("red green") == ()
    assert find("") == urns


def test_the_table_prints_one_line_a_method(urns):
    lines = repr(urns).splitlines()
    assert len(lines) == 2 + len(urns)
    assert lines[3].startswith("urn_sampler   UrnSampler   torch.urns  Draws")
    page = urns._repr_html_()
    assert html.escape("Draws <balls> from an urn & counts") in page
    assert "<balls>" not in page


@pytest.mark.parametrize("name", ["urn_sampler", "UrnSampler"])
def test_cite_gives_text_and_bibtex(urns, name):
    assert cite(name) == (
        "Bernoulli, Jakob; Bernoulli, Nikolaus (1713). Ars & conjectandi. arXiv:1713.00001.\n\n"
        "@misc{urn_sampler,\n"
        "  author        = {Bernoulli, Jakob and Bernoulli, Nikolaus},\n"
        "  title         = {{Ars \\& conjectandi}},\n"
        "  year          = {1713},\n"
        "  eprint        = {1713.00001},\n"
        "  archiveprefix = {arXiv}\n"
        "}"
    )


def test_cite_offers_a_close_name(urns):
    with pytest.raises(InvalidParameter, match="close: urn_sampler"):
        cite("urn_samplr")


def test_own_cards_are_sorted_and_found_by_name():
    table = methods()
    assert [(card.room, card.name) for card in table] == sorted((card.room, card.name) for card in table)
    assert len({card.name for card in table}) == len(table)
    for card in table:
        assert card in find(card.name)
        assert card.paper.text() in cite(card.name)


def test_a_case_is_frozen():
    case = Case(estimator=None, fit={}, truth={"x": 1.0})
    with pytest.raises(AttributeError):
        case.truth = {}
