"""What a class of a mask is, in codes: those of SNOMED CT that DICOM names for segments."""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

# DICOM PS3.16: the context groups in which a class is sought, and the category that goes with each.
_GROUPS = (
    ("CID7159", "MorphologicallyAbnormalStructure"),  # lesions
    ("CID7191", "Tissue"),
    ("CID7192", "AnatomicalStructure"),
)
_SYNONYMS = {"tumor": "neoplasm", "tumour": "neoplasm", "cancer": "neoplasm", "urinarybladder": "bladder"}
_SIDES = {"left", "right", "l", "r"}  # the segment's label says the side
GENERIC = Code("91723000", "SCT", "Anatomical Structure"), Code("123037004", "SCT", "Body structure")
"""Category and type of a class for which no code is known; the segment's label names it."""


def concept(name: str) -> tuple[Code, Code]:
    """Category and type of a class by its name, `GENERIC` where DICOM has no code of that name."""
    words = [word for word in re.findall(r"[a-z0-9]+", name.lower()) if word not in _SIDES]
    key = "".join(words)
    return _known().get(_SYNONYMS.get(key, key), GENERIC)


@lru_cache(maxsize=1)
def _known() -> dict[str, tuple[Code, Code]]:
    found: dict[str, tuple[Code, Code]] = {}
    for group, category in _GROUPS:
        members = getattr(codes, group)
        for keyword in members.dir():
            pair = getattr(codes.SCT, category), getattr(members, keyword)
            found.setdefault(keyword.lower(), pair)
    return found
