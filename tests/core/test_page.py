"""The page stands alone, shows everything and lets no text through as markup."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mcstat.core._svg import bar_chart, forest, gauge, image_rows, line_chart, ticks
from mcstat.core.estimate import Estimate
from mcstat.core.page import Section, write_page

NASTY = "<script>alert('&')</script>"
FIGURES = {
    "forest": lambda: forest(
        [NASTY, "b"], [1, -2], [0.5, -3], [1.5, -1], caption=NASTY, reference=np.array([1.2, -2.2])
    ),
    "one row": lambda: forest(["a"], [2], [2], [2], caption="no spread"),
    "lines": lambda: line_chart([1, 2, 3], {NASTY: [1, 1e-3, 1e-6], "b": [2, 1, 1]}, caption="c", log_y=True),
    "images": lambda: image_rows({NASTY: np.linspace(-2, 2, 60).reshape(3, 4, 5)}, caption="c"),
    "flat line": lambda: line_chart([1], {"a": [0]}, caption="one point"),
    "bars": lambda: bar_chart(["a", NASTY], np.array([0.25, -0.5]), caption="c", xlabel=NASTY),
    "no bars": lambda: bar_chart(["a"], [0], caption="nothing"),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_valid_svg_inside_their_box(kind):
    figure = FIGURES[kind]()
    root = ElementTree.fromstring(figure.svg)  # noqa: S314  (our own text)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    limits = {"x": width, "x1": width, "x2": width, "cx": width, "y": height, "y1": height, "y2": height, "cy": height}
    for element in root.iter():
        assert not element.tag.endswith("script")
        for key, limit in limits.items():
            assert 0 <= float(element.attrib.get(key, 0)) <= limit
    assert str(figure) == f"[picture] {figure.caption}"


def test_forest_puts_numbers_where_they_belong():
    root = ElementTree.fromstring(forest(["a", "b"], [0, 10], [-1, 9], [1, 11], caption="c").svg)  # noqa: S314
    dots = [float(e.attrib["cx"]) for e in root.iter() if e.tag.endswith("circle")]
    bars = [e.attrib for e in root.iter() if e.attrib.get("stroke-width") == "2"]
    scale = (dots[1] - dots[0]) / 10
    for dot, bar in zip(dots, bars, strict=True):
        assert float(bar["x1"]) == pytest.approx(dot - scale, abs=0.11)
        assert float(bar["x2"]) == pytest.approx(dot + scale, abs=0.11)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-9, 3e-9), (-1e6, 1e6), (0.3, 0.30001)])
def test_ticks_are_few_round_and_inside(low, high):
    marks = ticks(low, high)
    assert 3 <= len(marks) <= 7
    assert all(low <= mark <= high for mark in marks)
    step = marks[1] - marks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-6), 3) in (1, 2, 5)


def test_the_page_escapes_text_and_needs_nothing_else(tmp_path):
    items = [Estimate(value=[1.0, 2.0], std_error=[0.1, 0.2]), FIGURES["forest"](), f"plain {NASTY}"]
    path = write_page(tmp_path / "new" / "page.html", NASTY, [Section(NASTY, f"one {NASTY}\n\ntwo", items)])
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "<p>one &lt;script" in page
    assert "<p>two</p>" in page
    assert "<svg" in page
    assert "<table" in page
    assert not re.search(r"(src|href)=", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


@pytest.mark.parametrize(
    ("value", "error", "low", "high", "inside"),
    [
        (0.5, 0.1, 0.0, 1.0, True),
        (2.0, 0.1, -math.inf, 1.0, False),
        (43540.0, 6000.0, 5000.0, math.inf, True),
        (1e-5, math.nan, -math.inf, 3e-5, True),
        (0.0, 0.0, 0.0, 0.0, True),
        (1.0, math.inf, 0.0, 2.0, True),
    ],
)
def test_gauge_puts_the_dot_in_or_beside_the_band(value, error, low, high, inside):
    root = ElementTree.fromstring(gauge(value, error, low, high))  # noqa: S314  (our own text)
    (band,) = (e.attrib for e in root.iter() if e.tag.endswith("rect"))
    (dot,) = (e.attrib for e in root.iter() if e.tag.endswith("circle"))
    left, right = float(band["x"]), float(band["x"]) + float(band["width"])
    assert 0 <= left < right <= 120
    assert (left <= float(dot["cx"]) <= right) == inside
    assert ("accent" in dot["fill"]) == inside
    for e in root.iter():
        for key in ("x1", "x2"):
            assert 0 <= float(e.attrib.get(key, 0)) <= 120


def test_gauge_of_what_was_not_measured_is_the_band_alone():
    root = ElementTree.fromstring(gauge(math.nan, math.nan, 0.0, 1.0))  # noqa: S314  (our own text)
    assert [e.tag.rpartition("}")[2] for e in root.iter()] == ["svg", "rect"]


def test_images_have_a_square_of_ink_for_each_dark_pixel():
    images = np.array([[[-1.0, 1.0], [0.0, -3.0]]])
    svg = image_rows({"a": images}, caption="c").svg
    assert svg.count("<path") == 2
    assert 'opacity="1.0"' in svg
    assert 'opacity="0.5"' in svg
    assert svg.count("M") == 2
