"""What the names of files and folders tell: whose an image is, and whether a file is a mask."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from unimiss.io import suffix_of

_DIGITS = "0123456789"


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


# Names that say who it is, as their data sets define them.
_PATIENTS = (
    re.compile(r"^(\d{8})_\d{3}$"),  # NIH ChestX-ray: patient_follow-up
    re.compile(r"^(\d{6})_\d{2}_\d{2}(?:_\d{3}-\d{3}|$)"),  # DeepLesion: patient_study_series[_slices]
    re.compile(r"^(sub-[A-Za-z0-9]+)(?:_|$)"),  # BIDS
    re.compile(r"^(BraTS-[A-Za-z]+-\d{5})-\d{3}(?:\D|$)"),  # BraTS 2023: patient-time point
    re.compile(r"^(ID[0-9A-Z]+-\d{6})_date\d\d-\d\d-\d{4}_"),  # RICORD as NIfTI: patient_date_series
    re.compile(r"^((?:patient|subject)[-_]?\d+)(?:[-_]|$)", re.IGNORECASE),  # ACDC: patient_frame
)
_PATIENT_FOLDER = re.compile(r"(?:patient|pat|pid|subject|subj|sub|participant)[-_ ]?\d+", re.IGNORECASE)
_CHANNEL = re.compile(r"^(.+)_000\d$")  # nnU-Net: case_channel
_SEQUENCES = _words("t1 t1w t1c t1ce t1gd t1n t2 t2w t2f flair pd adc dwi dti swi mra mprage")
_PART = r"(?:part|dep|crop|patch|chunk|tile|slab|slice|frame)[-_]?\d+"
_ENDING = re.compile(rf"(.+)[-_](?:{_PART}|{'|'.join(_SEQUENCES)})", re.IGNORECASE)

_UNITS = frozenset(  # of one patient there may be several
    _words("study session ses series visit exam timepoint tp day week month baseline followup run")
    + _words("acquisition acq positive negative")
)
_GENERIC = _UNITS.union(
    _SEQUENCES,
    _words("ct cta cbct ctres mr mri pet suv spect us xray xr cxr dx cr image images imagestr imagests img"),
    _words("imgs imaging scan scans volume volumes vol view slice frame part original orig raw data nifti"),
    _words("nii dicom anat func brain frontal lateral pa ap axial sagittal coronal pre post contrast native"),
    _words("arterial venous portal delayed phase"),
)
_DATE = re.compile(r"(?:\d{4}[-_.]\d{2}[-_.]\d{2}|\d{2}-\d{2}-\d{4})(?:\D|$)")
_LEVELS = 4  # folders above a file that are looked at: between patient and file lie study and series

_IMAGE_FOLDERS = frozenset(_words("imagestr imagests images image imgs img imaging"))
_MASK_WORDS = frozenset(
    _words("mask masks label labels seg segs segmentation segmentations annotation annotations gt")
    + _words("groundtruth")
)
_MASK_FOLDERS = _MASK_WORDS | {"labelstr", "labelsts", "ground_truth"}


def named_patient(path: Path) -> str:
    """Patient by the name of a file, or of a folder above it where the file is only called ``ct``.

    The rule looks at nothing but the path, so that a split is the same next year, and with more files:

    1. Names of NIH ChestX-ray, DeepLesion, BIDS, BraTS, RICORD, and ``patient001_frame01``, hold the patient.
    2. A name that says what an image is and not whose (``ct``, ``imaging``, ``T1``) leaves it to the nearest
       folder that says more than ``study1``, ``anat`` or a date. A number in it (``image1``, ``0003``) tells
       patients apart, unless a folder above is named ``patient00011`` or so.
    3. Else it is the file's stem without nnU-Net's channel and without what divides a scan or tells a
       patient's sequences apart (``_part1``, ``_dep0``, ``_slice12``, ``_flair``).
    """
    name = _stem(path)
    return _known(name) or _of_folders(name, path) or _shortened(_without_channel(name))


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix_of(path))]


def _known(name: str) -> str | None:
    return next((match[1] for pattern in _PATIENTS if (match := pattern.match(name))), None)


def _of_folders(name: str, path: Path) -> str | None:
    """Patient by the folders above a file; None where its name tells one, or they do not."""
    kind = _kind(name)
    if kind == "telling":
        return None
    above = [folder.name for folder in path.absolute().parents][:_LEVELS]
    for folder in above:
        if patient := _known(folder) or (folder if _PATIENT_FOLDER.fullmatch(folder) else None):
            return patient
        if _kind(folder) == "telling" and not _DATE.match(folder):
            break
    if kind == "numbered":
        return None
    return next((_shortened(folder) for folder in above if not _is_passed_over(folder)), None)


def _kind(name: str) -> Literal["generic", "numbered", "telling"]:
    """Whether all words of a name are generic, and whether there are numbers among them."""
    others = [word for word in _words(name) if word not in _GENERIC]
    if any(bare and bare not in _GENERIC for bare in (word.rstrip(_DIGITS) for word in others)):
        return "telling"
    return "numbered" if others else "generic"


def _is_passed_over(folder: str) -> bool:
    """Whether a folder is called ``anat``, after a date, or ``study1``, whose number counts no patients."""
    kind = _kind(folder)
    is_unit = kind == "numbered" and any(word.rstrip(_DIGITS) in _UNITS for word in _words(folder))
    return kind == "generic" or is_unit or bool(_DATE.match(folder))


def _without_channel(name: str) -> str:
    channel = _CHANNEL.match(name)
    return channel[1] if channel else name


def _shortened(name: str) -> str:
    """Take off parts and sequences, but no number that alone tells patients apart (``ct_slice_12``)."""
    while (ending := _ENDING.fullmatch(name)) and _kind(ending[1]) != "generic":
        name = ending[1]
    return name


def is_mask(path: Path) -> bool:
    """Whether a file is a mask by its name, or by the folders of its path, which begins where one searched.

    ``segmentation-12``, ``case_seg`` and ``example_seg_mr`` are masks, and what lies in ``labelsTr`` or
    ``segmentations``, but not in ``segmentation/images``: the inner folder decides.
    """
    for folder in (name.lower() for name in reversed(path.parts[:-1])):
        if folder in _IMAGE_FOLDERS:
            break
        if folder in _MASK_FOLDERS or folder.endswith((" masks", "_masks")):
            return True
    words = _words(_stem(path))
    while len(words) > 1 and (words[-1] in _GENERIC or words[-1].isdigit()):
        words.pop()
    return bool(words) and words[-1].rstrip(_DIGITS) in _MASK_WORDS
