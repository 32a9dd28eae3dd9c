"""Where the pixels of DICOM slices lie: planes from headers, and a grid from planes.

Everything here is in DICOM's own world, LPS in the order x, y, z, until `grid_of` turns it into ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.dicom.headers import numbers

_SAME_DIRECTION = 1e-3  # of direction cosines, which some scanners write with few digits
_SAME_PLACE = 1e-3  # mm
_STRAIGHT = 0.05  # slice distances that a slice may lie away from a regular grid
_GAP = 1.5  # slice distances from which on something is missing
_REVERSE = np.eye(4)[[2, 1, 0, 3]]  # (x, y, z) <-> (z, y, x)


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice with its place.

    Attributes
    ----------
    file : Path
        Where its pixels are.
    frame : int
        Which frame of the file.
    name : str
        For sentences.
    shape : tuple of int
        Rows, columns.
    position : array, shape (3,)
        Centre of the first pixel, mm.
    steps : array, shape (2, 3)
        To the next row and to the next column, mm.
    thickness : float
        Distance to a next slice where there is no other to measure it by, mm.
    """

    file: Path
    frame: int
    name: str
    shape: tuple[int, int]
    position: NDArray[np.float64]
    steps: NDArray[np.float64]
    thickness: float

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane."""
        across = np.cross(self.steps[1], self.steps[0])
        return np.asarray(across / np.linalg.norm(across))


def place(
    file: Path,
    frame: int,
    name: str,
    shape: tuple[int, int],
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
) -> Plane:
    """Plane of a slice from the parts of a header that say where it lies.

    Raises
    ------
    InputError
        Position, directions or the size of a pixel are missing or make no sense.
    """
    corner = numbers(position, "ImagePositionPatient", 3, name)
    cosines = numbers(orientation, "ImageOrientationPatient", 6, name)
    spacing = numbers(measures, "PixelSpacing", 2, name)
    if corner is None or cosines is None or spacing is None:
        missing = "ImagePositionPatient" if corner is None else "ImageOrientationPatient"
        tag = missing if corner is None or cosines is None else "PixelSpacing"
        raise InputError(f"{name} has no {tag}, so its place is unknown; export the series again")
    if (spacing <= 0).any():
        raise InputError(f"{name} has a PixelSpacing that is not positive; export the series again")
    along = cosines.reshape(2, 3)
    if np.abs(along @ along.T - np.eye(2)).max() > 10 * _SAME_DIRECTION:
        raise InputError(
            f"the ImageOrientationPatient of {name} is not two directions at a right angle; "
            "export the series again"
        )
    # DICOM names the direction of a row first, in which columns count, but the distance of rows first.
    steps = along[::-1] * spacing[:, None]
    thickness = next(
        (
            float(found[0])
            for tag in ("SpacingBetweenSlices", "SliceThickness")
            if (found := numbers(measures, tag, 1, name)) is not None and found[0] > 0
        ),
        1.0,
    )
    return Plane(file, frame, name, shape, corner, steps, thickness)


def stacked(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Sort planes along their normal; those at one position come together, in the order given.

    Raises
    ------
    InputError
        They differ in size or direction, a slice is missing, or they are not evenly spaced.
    """
    first = planes[0]
    for plane in planes[1:]:
        _refuse_other(first, plane)
    order = np.argsort([plane.position @ first.normal for plane in planes], kind="stable")
    groups: list[list[Plane]] = []
    for plane in (planes[i] for i in order):
        if groups and np.abs(groups[-1][0].position - plane.position).max() < _SAME_PLACE:
            groups[-1].append(plane)
        else:
            groups.append([plane])
    if len(groups) > 1:
        _refuse_uneven([group[0] for group in groups])
    return groups


def _refuse_other(first: Plane, plane: Plane) -> None:
    if plane.shape != first.shape:
        sizes = [" x ".join(map(str, one.shape)) for one in (first, plane)]
        raise InputError(
            f"its slices differ in size: {first.name} has {sizes[0]} pixels and {plane.name} {sizes[1]}; "
            "put them into two folders"
        )
    lengths, others = (np.linalg.norm(one.steps, axis=1) for one in (first, plane))
    if not np.allclose(lengths, others, rtol=_SAME_DIRECTION):
        raise InputError(
            f"its slices differ in PixelSpacing ({first.name} and {plane.name}); put them into two folders"
        )
    if np.abs(first.steps / lengths[:, None] - plane.steps / others[:, None]).max() > _SAME_DIRECTION:
        raise InputError(
            f"its slices lie in different directions ({first.name} and {plane.name}); "
            "put them into two folders"
        )


def _refuse_uneven(planes: Sequence[Plane]) -> None:
    positions = np.array([plane.position for plane in planes])
    distances = np.diff(positions @ planes[0].normal)
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    if usual < _SAME_PLACE:
        at = int(np.argmin(distances))
        raise InputError(
            f"{planes[at].name} and {planes[at + 1].name} lie side by side in one plane; "
            "slices of a volume lie one behind the other"
        )
    widest = int(np.argmax(distances))
    if distances[widest] > _GAP * usual:
        missing = max(1, round(float(distances[widest]) / usual) - 1)
        raise InputError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing between {planes[widest].name} and "
            f"{planes[widest + 1].name}: they are {distances[widest]:.4g} mm apart, others {usual:.4g} mm; "
            "copy the whole series again"
        )
    regular = np.linspace(positions[0], positions[-1], len(planes))
    away = np.linalg.norm(positions - regular, axis=1)
    worst = int(np.argmax(away))
    if away[worst] > _STRAIGHT * usual:
        raise InputError(
            f"its slices are not evenly spaced: {planes[worst].name} lies {away[worst]:.3g} mm away from "
            f"where slices of {usual:.4g} mm would put it; resample the series to even slices first"
        )


def grid_of(planes: Sequence[Plane]) -> Geometry:
    """Grid of sorted planes; sheared where slices are not shifted along their normal, as a tilted gantry's.

    Parameters
    ----------
    planes : sequence of Plane
        One for each position, as `stacked` sorts them.

    Returns
    -------
    Geometry
        In the order slices, rows, columns.
    """
    first, last = planes[0], planes[-1]
    step = first.thickness * first.normal
    if len(planes) > 1:
        step = (last.position - first.position) / (len(planes) - 1)
    matrix = np.eye(4)  # from (column, row, slice) to (x, y, z)
    matrix[:3, 0], matrix[:3, 1] = first.steps[1], first.steps[0]
    matrix[:3, 2], matrix[:3, 3] = step, first.position
    return Geometry((len(planes), *first.shape), _REVERSE @ matrix @ _REVERSE)
