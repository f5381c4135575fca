"""Small pictures drawn without a plotting package, so that a page made by a bare install has them too.

The colours are the page's CSS variables (light and dark); the drawing scales with its box.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Figure", "bar_chart", "forest", "gauge", "image_rows", "line_chart", "ticks"]

Numbers: TypeAlias = Sequence[float] | NDArray[np.float64]

_WIDTH = 480.0
_ROW = 20.0
_CHARACTER = 6.9  # average width of a character at font size 13
_SERIES = ("var(--accent, #2563a8)", "var(--second, #b4531a)", "var(--third, #3d7a3d)")
_INK, _GRID = "var(--ink, #222)", "var(--grid, #ccc)"


@dataclass(frozen=True)
class Figure:
    """An SVG picture with its caption: the picture on a page, the caption on a terminal."""

    svg: str
    caption: str

    def __str__(self) -> str:
        return f"[picture] {self.caption}"

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg}<figcaption>{html.escape(self.caption)}</figcaption></figure>"


@dataclass(frozen=True)
class _Axis:
    """Maps [low, high] linearly to [start, stop] in the drawing."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def forest(
    names: Sequence[str],
    value: Numbers,
    low: Numbers,
    high: Numbers,
    *,
    caption: str,
    xlabel: str = "",
    reference: Numbers | None = None,
    reference_label: str = "reference",
) -> Figure:
    """One row a quantity: a dot for the estimate, a line for its interval, a diamond for a reference value.

    Parameters
    ----------
    names : sequence of str
    value, low, high : sequence or array of float
        Finite, as long as ``names``.
    caption, xlabel : str
    reference : sequence or array of float, optional
    reference_label : str

    Returns
    -------
    Figure
    """
    spread = [*low, *high, *value, *(() if reference is None else reference)]
    top, left = 10.0, 12.0 + _CHARACTER * max(map(len, names))
    bottom = top + _ROW * len(names)
    x = _Axis(*_padded(min(spread), max(spread)), left, _WIDTH - 14)
    parts = [*_grid_x(x, top, bottom), _text((left + x.stop) / 2, bottom + 36, xlabel)]
    if x.low < 0.0 < x.high:
        parts.append(_line(x(0.0), top, x(0.0), bottom, _INK, 'stroke-dasharray="3 3"'))
    for row, name in enumerate(names):
        y = top + _ROW * (row + 0.5)
        parts.append(_text(left - 8, y + 4.5, name, "end"))
        parts.append(_line(x(low[row]), y, x(high[row]), y, _SERIES[0], 'stroke-width="2"'))
        parts.append(f'<circle cx="{x(value[row]):.1f}" cy="{y:.1f}" r="3.5" fill="{_SERIES[0]}"/>')
        if reference is not None:
            parts.append(_diamond(x(reference[row]), y))
    if reference is not None:
        parts.append(_diamond(left + 8, bottom + 56) + _text(left + 20, bottom + 60.5, reference_label, "start"))
    return Figure(_drawing(parts, bottom + (70 if reference is not None else 44), caption), caption)


def line_chart(
    x: Numbers,
    series: Mapping[str, Numbers],
    *,
    caption: str,
    xlabel: str = "",
    ylabel: str = "",
    log_y: bool = False,
) -> Figure:
    """Up to three lines with a dot at each point.

    Parameters
    ----------
    x : sequence or array of float
    series : mapping of str to sequence or array of float
        Label -> finite values, each as long as ``x``; positive when ``log_y``.
    caption, xlabel, ylabel : str
    log_y : bool
        Powers of ten on the vertical axis.

    Returns
    -------
    Figure
    """
    lines = {label: [math.log10(v) if log_y else v for v in values] for label, values in series.items()}
    heights = [v for values in lines.values() for v in values]
    left, top, bottom = 64.0, 28.0, 250.0
    across = _Axis(*_padded(min(x), max(x)), left, _WIDTH - 14)
    up = _Axis(*_padded(min(heights), max(heights)), bottom, top)
    parts = [*_grid_x(across, top, bottom), *_grid_y(up, left, _WIDTH - 14, log_y)]
    parts += [_text((left + across.stop) / 2, bottom + 36, xlabel), _text(4, 14, ylabel, "start")]
    for (label, values), colour, row in zip(lines.items(), _SERIES, range(len(lines)), strict=False):
        points = [(across(a), up(b)) for a, b in zip(x, values, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        place = left + row * (across.stop - left) / len(lines)
        parts.append(_line(place, bottom + 55, place + 18, bottom + 55, colour, 'stroke-width="3"'))
        parts.append(_text(place + 24, bottom + 59.5, label, "start"))
    return Figure(_drawing(parts, bottom + 70, caption), caption)


def bar_chart(names: Sequence[str], value: Numbers, *, caption: str, xlabel: str = "") -> Figure:
    """Horizontal bars from zero.

    Parameters
    ----------
    names : sequence of str
    value : sequence or array of float
        Finite, as long as ``names``.
    caption, xlabel : str

    Returns
    -------
    Figure
    """
    top, left = 10.0, 12.0 + _CHARACTER * max(map(len, names))
    bottom = top + _ROW * len(names)
    low, high = _padded(min(0.0, *value), max(0.0, *value))
    x = _Axis(low if min(value) < 0 else 0.0, 0.0 if max(value) <= 0 > min(value) else high, left, _WIDTH - 14)
    parts = [*_grid_x(x, top, bottom), _text((left + x.stop) / 2, bottom + 36, xlabel)]
    for row, (name, number) in enumerate(zip(names, value, strict=True)):
        y = top + _ROW * (row + 0.5)
        start, stop = sorted((x(0.0), x(number)))
        parts.append(_text(left - 8, y + 4.5, name, "end"))
        box = f'x="{start:.1f}" y="{y - 6:.1f}" width="{stop - start:.1f}" height="12"'
        parts.append(f'<rect {box} fill="{_SERIES[0]}"/>')
    return Figure(_drawing(parts, bottom + 44, caption), caption)


def image_rows(rows: Mapping[str, NDArray[np.float64]], *, caption: str) -> Figure:
    """Rows of small grey images, each row with its label.

    Parameters
    ----------
    rows : mapping of str to ndarray, shape (n, height, width)
        Label -> images with pixels in [-1, 1], from paper to ink; beyond, they are cut.
    caption : str

    Returns
    -------
    Figure
    """
    left = 12.0 + 1.2 * _CHARACTER * max(map(len, rows))
    n, high, wide = next(iter(rows.values())).shape
    pixel = (_WIDTH - left - 4 * n) / (n * wide)
    # One path a shade: a rectangle a pixel would be ten times the text.
    shades: dict[int, list[str]] = {}
    parts, top = [], 4.0
    for label, images in rows.items():
        parts.append(_text(left - 8, top + pixel * high / 2 + 4.5, label, "end"))
        levels = np.clip(np.round((np.asarray(images) + 1.0) * 4.0), 0, 8).astype(int)
        for k, i, j in np.argwhere(levels > 0):
            x, y = left + k * (wide * pixel + 4.0) + j * pixel, top + i * pixel
            shades.setdefault(int(levels[k, i, j]), []).append(f"M{x:.1f} {y:.1f}h{pixel:.1f}v{pixel:.1f}h-{pixel:.1f}")
        top += pixel * high + 6.0
    parts += [f'<path d="{"".join(path)}" opacity="{shade / 8}"/>' for shade, path in sorted(shades.items())]
    return Figure(_drawing(parts, top, caption), caption)


def gauge(value: float, error: float, low: float, high: float) -> str:
    """A number of two errors to each side against a band, as small as a word; SVG without a caption.

    Parameters
    ----------
    value : float
        Outside the band the dot has the colour of a warning. Not drawn unless finite.
    error : float
        Standard error; no line unless finite.
    low, high : float
        Ends of the band; an infinite one lies beyond the picture.

    Returns
    -------
    str
    """
    width, height, half = 120.0, 18.0, 2.0 * error if math.isfinite(error) else 0.0
    shown = [x for x in (value - half, value, value + half, low, high) if math.isfinite(x)] or [0.0]
    # On a scale of ratios where the numbers differ by more than one order.
    logs = min(shown) > 0.0 and max(shown) > 20.0 * min(shown)

    def scale(x: float) -> float:
        return math.log10(x) if logs else x

    start, stop = _padded(scale(min(shown)), scale(max(shown)), 0.2)
    axis = _Axis(start, stop, 1.0, width - 1.0)
    left = axis(scale(low)) if math.isfinite(low) else 0.0
    right = axis(scale(high)) if math.isfinite(high) else width
    box = f'x="{left:.1f}" y="1" width="{max(right - left, 1.0):.1f}" height="{height - 2:.0f}"'
    parts = [f'<rect {box} fill="{_SERIES[2]}" opacity="0.3"/>']
    if math.isfinite(value):
        colour = _SERIES[0] if low <= value <= high else _SERIES[1]
        ends = axis(scale(value - half)), axis(scale(value + half))
        parts.append(_line(ends[0], height / 2, ends[1], height / 2, colour, 'stroke-width="2"'))
        parts.append(f'<circle cx="{axis(scale(value)):.1f}" cy="{height / 2:.1f}" r="3.5" fill="{colour}"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" class="gauge"'
    return f'{head} width="{width:.0f}" aria-hidden="true">{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside [low, high].

    Parameters
    ----------
    low, high : float
        ``low < high``.
    about : int
        Wanted number of them.

    Returns
    -------
    list of float
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def _padded(low: float, high: float, share: float = 0.04) -> tuple[float, float]:
    room = share * (high - low) or 0.5 * abs(low) or 0.5
    return low - room, high + room


def _grid_x(x: _Axis, top: float, bottom: float) -> list[str]:
    marks = ticks(x.low, x.high)
    lines = [_line(x(mark), top, x(mark), bottom, _GRID) for mark in marks]
    return lines + [_text(x(mark), bottom + 17, f"{mark:g}") for mark in marks]


def _grid_y(y: _Axis, left: float, right: float, log_y: bool) -> list[str]:
    marks = ticks(y.low, y.high)
    lines = [_line(left, y(mark), right, y(mark), _GRID) for mark in marks]
    labels = [f"{10**mark:.2g}" if log_y else f"{mark:g}" for mark in marks]
    return lines + [_text(left - 6, y(mark) + 4.5, label, "end") for mark, label in zip(marks, labels, strict=True)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'


def _diamond(x: float, y: float) -> str:
    corners = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon points="{corners}" fill="none" stroke="{_SERIES[1]}" stroke-width="1.5"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>' if words else ""


def _drawing(parts: list[str], height: float, caption: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img"'
    font = f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}"'
    return f"{head}><title>{html.escape(caption)}</title><g {font}>{''.join(parts)}</g></svg>"
