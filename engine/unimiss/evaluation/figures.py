"""Plots as SVG, to stand inside a page without any script."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

import numpy as np

from unimiss.colours import class_colour
from unimiss.evaluation.statistics import Figures

_HEIGHT, _LEFT, _RIGHT, _TOP = 300, 62, 16, 30
_INK, _FAINT = "#333", "#ddd"
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)

Span = tuple[float, float]


class Plot:
    """Two axes and what is drawn between them. Text is escaped by the XML library, wherever it came from.

    Parameters
    ----------
    title, across, up : str
        Above the plot, below the horizontal axis, beside the vertical one.
    x, y : pair of float
        What the axes span.
    names : sequence of str
        In place of numbers below the horizontal axis, at 0, 1, 2, …
    width : int
        Pixels.
    """

    def __init__(
        self, title: str, across: str, up: str, x: Span, y: Span, names: Sequence[str] = (), width: int = 380
    ) -> None:
        self._x, self._y, self._width = x, y, width
        self._floor = _HEIGHT - (96 if names else 48)
        self._root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width} {_HEIGHT}",
                "width": str(width),
                "height": str(_HEIGHT),
                "font-family": "sans-serif",
                "font-size": "11",
            },
        )
        self._text(title, width / 2, 16, weight="bold")
        self._text(across, (_LEFT + width - _RIGHT) / 2, _HEIGHT - 8)
        middle = (_TOP + self._floor) / 2
        self._text(up, 14, middle, transform=f"rotate(-90 14 {middle})")
        for value in ticks(*y):
            height = self._down(value)
            self._segment((_LEFT, height), (width - _RIGHT, height), _FAINT)
            self._text(f"{value:g}", _LEFT - 6, height + 4, anchor="end")
        for place, name in enumerate(names):
            at, foot = self._right(place), self._floor + 14
            self._text(_short(name), at, foot, anchor="end", transform=f"rotate(-35 {at:.1f} {foot:.1f})")
        for value in () if names else ticks(*x):
            self._segment((self._right(value), _TOP), (self._right(value), self._floor), _FAINT)
            self._text(f"{value:g}", self._right(value), self._floor + 16)
        self._segment((_LEFT, self._floor), (width - _RIGHT, self._floor), _INK)
        self._segment((_LEFT, _TOP), (_LEFT, self._floor), _INK)

    def line(self, x: Iterable[float], y: Iterable[float], colour: str, dashed: bool = False) -> None:
        """Draw a line through points."""
        points = " ".join(f"{self._right(a):.1f},{self._down(b):.1f}" for a, b in zip(x, y, strict=True))
        dash = {"stroke-dasharray": "4 4"} if dashed else {}
        self._add("polyline", points=points, fill="none", stroke=colour, **{"stroke-width": "1.6"}, **dash)

    def dots(self, x: Iterable[float], y: Iterable[float], colour: str, names: Iterable[str]) -> None:
        """Draw points; their names appear when they are pointed at."""
        for a, b, name in zip(x, y, names, strict=True):
            place = {"cx": f"{self._right(a):.1f}", "cy": f"{self._down(b):.1f}"}
            dot = self._add("circle", r="3", fill=colour, **place, **{"fill-opacity": "0.6"})
            ElementTree.SubElement(dot, "title").text = printable(name)

    def box(self, x: float, low: float, middle: float, high: float) -> None:
        """Draw quartiles and median."""
        half, top, bottom = 11, self._down(high), self._down(low)
        left, right = self._right(x) - half, self._right(x) + half
        size = {
            "x": f"{left:.1f}",
            "y": f"{top:.1f}",
            "width": f"{2 * half}",
            "height": f"{bottom - top:.1f}",
        }
        self._add("rect", fill="none", stroke=_INK, **size)
        self._segment((left, self._down(middle)), (right, self._down(middle)), _INK, width="2")

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """List names with their colours in the lower right corner."""
        for place, (name, colour) in enumerate(entries):
            height = self._floor - 10 - 15 * (len(entries) - 1 - place)
            right = self._width - _RIGHT - 8
            self._text(_short(name), right - 16, height + 4, anchor="end")
            self._segment((right - 11, height), (right, height), colour, width="3")

    def svg(self) -> str:
        """Return the picture as text."""
        return ElementTree.tostring(self._root, encoding="unicode")

    def _right(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (self._width - _LEFT - _RIGHT)

    def _down(self, value: float) -> float:
        low, high = self._y
        return self._floor - (value - low) / (high - low) * (self._floor - _TOP)

    def _add(self, tag: str, **attributes: str) -> ElementTree.Element:
        return ElementTree.SubElement(self._root, tag, attributes)

    def _segment(self, start: Span, end: Span, colour: str, width: str = "1") -> None:
        places = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
        ends = {key: f"{value:.1f}" for key, value in places}
        self._add("line", stroke=colour, **{"stroke-width": width}, **ends)

    def _text(
        self,
        text: str,
        x: float,
        y: float,
        anchor: str = "middle",
        weight: str = "normal",
        transform: str = "",
    ) -> None:
        more = {"transform": transform} if transform else {}
        style = {"text-anchor": anchor, "font-weight": weight}
        self._add("text", x=f"{x:.1f}", y=f"{y:.1f}", fill=_INK, **style, **more).text = printable(text)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`."""
    rough = (high - low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def colour(place: int) -> str:
    """Colour of a class by its place in the list of classes, from 0, as the viewer has it."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(place + 1))


def sideways(count: int) -> Figures:
    """Sideways offsets that keep equal points apart, the same each time."""
    return np.asarray((np.arange(count) * 0.618034 % 1 - 0.5) * 0.3, dtype=np.float64)


def printable(text: str) -> str:
    """Put a mark for what a page cannot hold, or would hide: control characters and halves of characters."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
