"""Fields that magicgui has no widget for: several files or folders, and one path of either kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

_LIST_HEIGHT = 62  # three lines


class PathsField(QWidget):
    """A short list of files and folders; they can also be dropped on it.

    Parameters
    ----------
    patterns : str
        File filter of the dialog, such as ``"Images (*.png *.jpg)"``.
    """

    changed = Signal()

    def __init__(self, patterns: str) -> None:
        super().__init__()
        self._patterns = patterns
        self.list = QListWidget()
        self.list.setFixedHeight(_LIST_HEIGHT)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAcceptDrops(True)
        buttons = QHBoxLayout()
        for text, action, tip in (
            ("Folder…", self._add_folder, "Use all images in a folder and the folders in it."),
            ("Files…", self._add_files, "Use single image files."),
            ("Remove", self._remove, "Take the selected lines off the list; no file is touched."),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(action)
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.list)
        layout.addLayout(buttons)

    @property
    def value(self) -> list[Path]:
        """The paths on the list."""
        return [Path(self.list.item(row).text()) for row in range(self.list.count())]

    @value.setter
    def value(self, paths: Iterable[Path | str]) -> None:
        self.list.clear()
        self.add(paths)

    def add(self, paths: Iterable[Path | str]) -> None:
        """Append paths that are not on the list yet."""
        known = set(self.value)
        for path in map(Path, paths):
            if path not in known:
                known.add(path)
                self.list.addItem(str(path))
                self.list.item(self.list.count() - 1).setToolTip(str(path))
        self.changed.emit()

    def _add_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder of images")
        if folder:
            self.add([folder])

    def _add_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Choose image files", "", self._patterns)
        self.add(files)

    def _remove(self) -> None:
        for item in self.list.selectedItems():
            self.list.takeItem(self.list.row(item))
        self.changed.emit()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: D102
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: D102
        self.add(url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile())
        event.acceptProposedAction()


class PathField(QWidget):
    """One path, typed or chosen.

    Parameters
    ----------
    folders, files : bool
        Which kinds its dialogs offer.
    value : path
        What it holds at first; empty for nothing.
    """

    changed = Signal()

    def __init__(self, *, folders: bool = True, files: bool = False, value: Path | str = "") -> None:
        super().__init__()
        self.line = QLineEdit(str(value))
        self.line.setClearButtonEnabled(True)
        self.line.textChanged.connect(lambda _: self.changed.emit())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.line, 1)
        for wanted, text, action in (
            (folders, "Folder…", self._choose_folder),
            (files, "File…", self._choose_file),
        ):
            if wanted:
                button = QPushButton(text)
                button.clicked.connect(action)
                layout.addWidget(button)

    @property
    def value(self) -> Path | None:
        """The path as it was written, or None where the field is empty."""
        text = self.line.text().strip()
        return Path(text) if text else None

    @value.setter
    def value(self, path: Path | str | None) -> None:
        self.line.setText("" if path is None else str(path))

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder", self.line.text())
        if folder:
            self.value = folder

    def _choose_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Choose a file", self.line.text())
        if file:
            self.value = file
