"""What of a cohort could not be scored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["missing", "unreferenced", "unusable"]


@dataclass(frozen=True)
class Problem:
    """One case that has no scores. It is listed in every output and counts in no mean.

    A missing prediction is not a bad one, and a score of 0 would say that it is; but a mean that leaves out
    the hard cases is not honest either, so whoever shows a mean shows the number of these beside it.

    Attributes
    ----------
    case : str
        File name.
    kind : "missing", "unreferenced" or "unusable"
        There is no prediction; there is no reference; one of them cannot be used.
    reason : str
        One sentence. Like all that is written it names files without their folders, which may be called
        after patients.
    """

    case: str
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return self.reason


def without_folders(text: str, *paths: Path) -> str:
    """Leave out the folders of `paths` wherever `text` names them."""
    for path in paths:
        text = text.replace(f"{path.parent}{os.sep}", "")
    return text
