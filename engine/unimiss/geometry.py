"""Where voxels lie: one value, built when an image is read and carried to the end.

World coordinates are millimetres in array order ``(z, y, x)`` towards the patient's head, back and left
(DICOM's LPS, reversed), so that an image in anatomical order has a matrix with a positive diagonal.
A radiograph has two axes ``(y, x)``, down and to the right as stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unimiss.errors import InputError

Units = Literal["mm", "pixel"]
_AXIS_LETTERS = ("IS", "AP", "RL")  # towards lower and higher world coordinates, for z, y, x
_NIFTI_TO_WORLD = np.array([[0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)


@dataclass(frozen=True)
class Reorientation:
    """A change of axis order and direction: ``array.transpose(axes)``, then mirrored where ``flips`` says so.

    Attributes
    ----------
    axes : tuple of int
        For each new axis, the old one.
    flips : tuple of bool
        For each new axis, whether it runs against the old one.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @classmethod
    def identity(cls, ndim: int) -> Reorientation:
        """Change nothing."""
        return cls(tuple(range(ndim)), (False,) * ndim)

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """View of `array` in the new order; leading axes beyond the spatial ones stay in front."""
        lead = array.ndim - len(self.axes)
        order = (*range(lead), *(lead + axis for axis in self.axes))
        mirrored = tuple(lead + axis for axis, flip in enumerate(self.flips) if flip)
        return np.flip(array.transpose(order), mirrored)

    def inverse(self) -> Reorientation:
        """Return the change that leads back."""
        axes = tuple(int(axis) for axis in np.argsort(self.axes))
        return Reorientation(axes, tuple(self.flips[axis] for axis in axes))


@dataclass(frozen=True, eq=False)
class Geometry:
    """Grid of an image: its spatial shape and the matrix from voxel index to world.

    Attributes
    ----------
    shape : tuple of int
        ``(depth, height, width)`` or ``(height, width)``.
    matrix : array of float, shape (n + 1, n + 1)
        Homogeneous, from the index of a voxel's centre, in array order, to world coordinates.
    units : "mm" or "pixel"
        "pixel" where the file does not say how large a pixel is.
    """

    shape: tuple[int, ...]
    matrix: NDArray[np.float64]
    units: Units = "mm"

    def __post_init__(self) -> None:
        n = len(self.shape)
        matrix = np.array(self.matrix, dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise InputError(f"the voxel-to-world matrix holds values that are not finite: {matrix.tolist()}")
        if matrix.shape != (n + 1, n + 1) or not np.allclose(matrix[-1], [0] * n + [1]):
            raise InputError(f"the voxel-to-world matrix of a {n}-D image is not affine: {matrix.tolist()}")
        if abs(np.linalg.det(_unit_columns(matrix))) < 1e-4:
            raise InputError(
                f"the voxel-to-world matrix is singular ({matrix.tolist()}); "
                "two axes of the image would coincide, so positions in the patient are unknown"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing: Sequence[float] | None = None, units: Units = "mm"
    ) -> Geometry:
        """Axis-aligned grid with its first voxel at the origin; spacing 1 where none is given."""
        scale = np.ones(len(shape)) if spacing is None else np.asarray(spacing, dtype=float)
        if scale.shape != (len(shape),) or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise InputError(f"spacing needs {len(shape)} positive numbers, found {spacing}")
        return cls(tuple(shape), np.diag([*scale, 1.0]), units)

    @classmethod
    def from_nifti(cls, shape: Sequence[int], affine: ArrayLike) -> Geometry:
        """Grid of a NIfTI array ``data[i, j, k]`` once it is transposed to ``data.T[k, j, i]``.

        `affine` maps ``(i, j, k)`` to the right, front and head of the patient (RAS+).
        """
        matrix = _NIFTI_TO_WORLD @ np.asarray(affine, dtype=float) @ _reversal(3)
        return cls(tuple(reversed(shape)), matrix)

    def to_nifti(self) -> NDArray[np.float64]:
        """Return the RAS+ affine, 4 x 4, of this grid's array transposed to ``[i, j, k]``."""
        return np.asarray(np.linalg.inv(_NIFTI_TO_WORLD) @ self.matrix @ _reversal(3))

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxel centres along each array axis."""
        return tuple(float(v) for v in np.linalg.norm(self.matrix[:-1, :-1], axis=0))

    @property
    def orientation(self) -> str:
        """Where each array axis points, by the nearest anatomical direction; ``SPL`` is anatomical order."""
        if self.ndim != 3:
            return ""
        change = self.to_anatomical().inverse()
        letters = zip(change.axes, change.flips, strict=True)
        return "".join(_AXIS_LETTERS[axis][0 if flip else 1] for axis, flip in letters)

    def to_anatomical(self) -> Reorientation:
        """Return the reorientation to slices from feet to head, rows front to back, columns right to left.

        Radiographs stay as they are stored.
        """
        if self.ndim != 3:
            return Reorientation.identity(self.ndim)
        from nibabel.orientations import io_orientation

        nearest = io_orientation(self.matrix)  # for each array axis: its world axis, its sign
        axes = tuple(int(axis) for axis in np.argsort(nearest[:, 0]))
        return Reorientation(axes, tuple(bool(nearest[axis, 1] < 0) for axis in axes))

    def reoriented(self, change: Reorientation) -> Geometry:
        """Grid of ``change.apply(array)``: the same voxels at the same places under new indices."""
        n = self.ndim
        index = np.zeros((n + 1, n + 1))  # new index -> old index
        index[n, n] = 1
        for new, (old, flip) in enumerate(zip(change.axes, change.flips, strict=True)):
            index[old, new] = -1 if flip else 1
            index[old, n] = self.shape[old] - 1 if flip else 0
        return Geometry(tuple(self.shape[axis] for axis in change.axes), self.matrix @ index, self.units)

    def cropped(self, start: Sequence[int], shape: Sequence[int]) -> Geometry:
        """Grid of the block that begins at index `start`; a negative start or a larger shape is padding."""
        matrix = self.matrix.copy()
        matrix[:-1, -1] = self.to_world(start)
        return Geometry(tuple(shape), matrix, self.units)

    def resized(self, shape: Sequence[int]) -> Geometry:
        """Grid of another shape over exactly the same extent, outer voxel edges included."""
        scale = np.array(self.shape) / np.array(shape)
        index = np.diag([*scale, 1.0])
        index[:-1, -1] = (scale - 1) / 2
        return Geometry(tuple(shape), self.matrix @ index, self.units)

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """World coordinates of (fractional) voxel indices, shape ``(..., n)``."""
        points = np.asarray(index, dtype=float)
        return np.asarray(points @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1])

    def to_index(self, points: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices of world coordinates, shape ``(..., n)``."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray(np.asarray(points, dtype=float) @ inverse[:-1, :-1].T + inverse[:-1, -1])

    def difference(self, other: Geometry, tolerance: float = 1e-2) -> str | None:
        """Say in words how `other` differs, or None where both grids coincide.

        `tolerance` is the largest distance between corresponding voxels that counts as none, in units of
        this grid's smallest spacing: NIfTI stores positions as float32.
        """
        if self.shape != other.shape:
            return f"its shape is {other.shape}, not {self.shape}"
        corners = np.stack(np.meshgrid(*[(0, size - 1) for size in self.shape], indexing="ij"), -1)
        gap = float(np.abs(self.to_world(corners) - other.to_world(corners)).max())
        if gap > tolerance * min(self.spacing):
            return f"its voxels lie up to {gap:.3g} {self.units} away"
        return None


def _reversal(ndim: int) -> NDArray[np.float64]:
    """Homogeneous matrix that reverses the order of `ndim` coordinates."""
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = matrix[:ndim, :ndim][::-1]
    return matrix


def _unit_columns(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = matrix[:-1, :-1]
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1))
