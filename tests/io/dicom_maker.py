"""DICOM files as scanners write them, patient and all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

PERSONAL = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN4711",
    "PatientBirthDate": "19700102",
    "AccessionNumber": "ACC99",
}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}


def made(pixels: np.ndarray, modality: str = "CR", **elements: Any) -> Dataset:
    """Object with pixels (rows, columns), (frames, rows, columns) or (rows, columns, 3) and any other elements."""
    ds = Dataset()
    colour = pixels.ndim >= 3 and pixels.shape[-1] == 3
    spatial = pixels.shape[:-1] if colour else pixels.shape
    ds.SOPClassUID, ds.SOPInstanceUID = _CLASSES.get(modality, SecondaryCaptureImageStorage), generate_uid()
    ds.StudyInstanceUID = ds.SeriesInstanceUID = "1.2.3"
    ds.Modality = modality
    ds.Rows, ds.Columns = spatial[-2:]
    if len(spatial) == 3:
        ds.NumberOfFrames = spatial[0]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for name, value in {**PERSONAL, **elements}.items():
        setattr(ds, name, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def save(path: Path, ds: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def exact(values: Sequence[float]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters, as many digits as fit."""
    return [next(s for n in range(16, 0, -1) if len(s := f"{v:.{n}g}") <= 16) for v in values]


def slices(
    values: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    step: Sequence[float] = (0.0, 0.0, 2.0),
    spacing: Sequence[float] = (0.75, 0.5),
    modality: str = "CT",
    **elements: Any,
) -> list[Dataset]:
    """Slices of values (slices, rows, columns), each `step` behind the one before."""
    found = []
    for k, plane in enumerate(values):
        position = np.array(origin) + k * np.array(step)
        placed = {
            "ImagePositionPatient": exact(position),
            "ImageOrientationPatient": exact(orientation),
            "PixelSpacing": exact(spacing),
            "SliceThickness": "2",
        }
        found.append(made(plane, modality, **{**placed, **elements}))
    return found


def save_all(folder: Path, series: Sequence[Dataset], names: Sequence[str] | None = None) -> Path:
    names = names or [f"{i:03d}.dcm" for i in range(len(series))]
    for name, ds in zip(names, series, strict=True):
        save(folder / name, ds)
    return folder
