"""The live curves of a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyqtgraph
from qtpy.QtWidgets import QVBoxLayout, QWidget

from unimiss.runs import validated

_COLOURS = ("#4fb3e8", "#f5a623", "#35c49b")  # of the lines in a plot, in the order of their first points
_MOST_POINTS = 4000  # of a line; every second one goes when there are more
_HEIGHT = 150
_AXIS_WIDTH = 46  # the same for all, so that their steps stand below each other


class Curves(pyqtgraph.PlotWidget):
    """One quantity over the steps, as one line or as several with a legend.

    Parameters
    ----------
    name : str
        The quantity.
    markers : bool
        Whether single values are marked, for quantities that are measured now and then.
    """

    def __init__(self, name: str, markers: bool = False) -> None:
        super().__init__(background=None)
        self.points: dict[str, tuple[list[float], list[float]]] = {}
        self._lines: dict[str, pyqtgraph.PlotDataItem] = {}
        self._markers = markers
        self.setFixedHeight(_HEIGHT)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.showGrid(x=True, y=True, alpha=0.2)
        self.setTitle(f"{name} by step", size="9pt")
        self.getAxis("left").setWidth(_AXIS_WIDTH)
        self._legend = self.addLegend(offset=(-8, 4), labelTextSize="8pt")
        self._legend.hide()

    def append(self, points: Iterable[tuple[str, float, float]]) -> None:
        """Add points ``(line, step, value)`` and draw once."""
        for line, step, value in points:
            steps, values = self.points.setdefault(line, ([], []))
            steps.append(step)
            values.append(value)
        for line, (steps, values) in self.points.items():
            if len(steps) > _MOST_POINTS:
                steps[:], values[:] = steps[::2], values[::2]
            self._line(line).setData(steps, values)
        self._legend.setVisible(len(self._lines) > 1)

    def clear_points(self) -> None:
        """Start anew."""
        self.points.clear()
        for line in self._lines.values():
            self.removeItem(line)
        self._lines.clear()
        self._legend.hide()

    def _line(self, name: str) -> pyqtgraph.PlotDataItem:
        if name not in self._lines:
            colour = _COLOURS[len(self._lines) % len(_COLOURS)]
            marks = {"symbol": "o", "symbolSize": 6, "symbolBrush": colour} if self._markers else {}
            self._lines[name] = self.plot(pen=pyqtgraph.mkPen(colour, width=2), name=name, **marks)
        return self._lines[name]


class TrainingPlot(QWidget):
    """Loss at every step, and Dice or AUC from the first validation on."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = Curves("Loss")
        self.reached = Curves("Validation", markers=True)
        self.reached.setYRange(0, 1)
        self.reached.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.loss)
        layout.addWidget(self.reached)

    def append(self, metrics: Iterable[Mapping[str, Any]]) -> None:
        """Add ``metrics`` events."""
        events = list(metrics)
        self.loss.append(
            (_source(event), event["step"], event["loss"]) for event in events if "loss" in event
        )
        reached = [(found[0], event["step"], found[1]) for event in events if (found := validated(event))]
        if reached:
            self.reached.setTitle(f"{reached[0][0]} by step", size="9pt")
            self.reached.show()
            self.reached.append(reached)

    def clear(self) -> None:
        """Start anew."""
        self.loss.clear_points()
        self.reached.clear_points()
        self.reached.hide()


def _source(event: Mapping[str, Any]) -> str:
    """Name the images of a step: pre-training alternates, and the two losses have different sizes."""
    if any(name.startswith("loss_image") for name in event):
        return "X-rays"
    if any(name.startswith(("loss_volume", "loss_slices")) for name in event):
        return "volumes"
    return "loss"
