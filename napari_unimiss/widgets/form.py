"""A column of labelled fields with room for what is wrong beside each."""

from __future__ import annotations

from typing import Any

from magicgui.widgets.bases import Widget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

_COMPLAINT_STYLE = "color: #ff7b72;"


class Problem(Exception):
    """A field that cannot be used as it is; the text says why and what to do."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class Form(QWidget):
    """Fields by name, magicgui's or Qt's; both kinds have a ``value``."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[str, Any] = {}
        self._complaints: dict[str, QLabel] = {}
        self._rows: dict[str, QWidget] = {}
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(6)
        self._layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        self._layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)

    def add(self, name: str, label: str, field: Any, tip: str) -> Any:
        """Append a field; `tip` states what it changes. Returns the field."""
        native: QWidget = field.native if isinstance(field, Widget) else field
        complaint = QLabel()
        complaint.setWordWrap(True)
        complaint.setStyleSheet(_COMPLAINT_STYLE)
        complaint.hide()
        row = QWidget()
        column = QVBoxLayout(row)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(native)
        column.addWidget(complaint)
        native.setSizePolicy(QSizePolicy.Policy.Expanding, native.sizePolicy().verticalPolicy())
        caption = QLabel(label)
        for widget in (caption, native):
            widget.setToolTip(tip)
        self._layout.addRow(caption, row)
        self._fields[name], self._complaints[name], self._rows[name] = field, complaint, row
        return field

    def value(self, name: str) -> Any:
        """Return what a field holds."""
        return self._fields[name].value

    def field(self, name: str) -> Any:
        """Return the field itself."""
        return self._fields[name]

    def show_row(self, name: str, shown: bool) -> None:
        """Show or hide a field with its label."""
        self._rows[name].setVisible(shown)
        self._layout.labelForField(self._rows[name]).setVisible(shown)

    def complain(self, problem: Problem) -> None:
        """Show beside its field what is wrong."""
        complaint = self._complaints[problem.field]
        complaint.setText(str(problem))
        complaint.show()

    def complaint(self, name: str) -> str:
        """Return what is said beside a field, "" for nothing."""
        label = self._complaints[name]
        return "" if label.isHidden() else label.text()

    def clear_complaints(self) -> None:
        """Forget what was wrong."""
        for complaint in self._complaints.values():
            complaint.hide()
