"""Files that a table or a list names, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from unimiss.data.naming import named_patient
from unimiss.io import suffix_of


class Finder:
    """Files that a table or a list names: by their path, or by their name anywhere below a folder.

    A path with folders is not looked for elsewhere where one of the table's is there as it is written: these
    folders tell patients apart (``p7/scan.png``), and what is not in its own is missing. A table none of
    whose folders are there was written in another place.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    named : iterable of (Path, str)
        All that is named: the folder of the table, and the text.
    """

    def __init__(self, root: Path, named: Iterable[tuple[Path, str]]) -> None:
        self._root = root
        self._by_name: dict[str, list[Path]] | None = None
        self._in_place = {
            folder for folder, text in named if len(Path(text).parts) > 1 and self._as_written(folder, text)
        }

    def find(self, folder: Path, text: str) -> list[Path]:
        """Files that a table in a folder may mean; where there is none, the path where it should be."""
        path = self._as_written(folder, text)
        if path is not None:
            return [path]
        found: list[Path] = []
        if len(Path(text).parts) == 1:
            found = self._named(text)
        elif folder not in self._in_place:
            found = self._moved(folder / text)
        return found or [folder / text]

    def _as_written(self, folder: Path, text: str) -> Path | None:
        return next((path for path in (folder / text, self._root / text) if path.exists()), None)

    def _named(self, name: str) -> list[Path]:
        """Files of a name, with or without suffix."""
        if self._by_name is None:
            self._by_name = {}
            for file in sorted(self._root.rglob("*")):
                if suffix := suffix_of(file):
                    for key in (file.name, file.name[: -len(suffix)]):
                        self._by_name.setdefault(key, []).append(file)
        return self._by_name.get(name, [])

    def _moved(self, written: Path) -> list[Path]:
        """Files of the same name and patient, of these the ones with most of the folders above them."""
        patient = named_patient(written)
        shared = {
            file: _shared(file, written)
            for file in self._named(written.name)
            if named_patient(file) == patient
        }
        return [file for file, count in shared.items() if count == max(shared.values())]


def _shared(one: Path, other: Path) -> int:
    """How many folders, counted from their ends, two paths have in common."""
    pairs = zip(one.parts[-2::-1], other.parts[-2::-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
