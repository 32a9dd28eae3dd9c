"""How a radiograph is taken: from which side, by what beam, onto what detector.

Directions and places are those of `unimiss.geometry`: millimetres ``(z, y, x)`` towards the patient's head,
back and left. The isocentre is the middle of the volume.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.geometry import Geometry

Direction = tuple[float, float, float]
_MOST_PIXELS = 2**26


@dataclass(frozen=True)
class View:
    """Three unit vectors at right angles, in the patient.

    Attributes
    ----------
    beam : tuple of float
        From the source to the detector.
    down, right : tuple of float
        Where the picture's rows and columns run.
    """

    beam: Direction
    down: Direction
    right: Direction

    def __post_init__(self) -> None:
        axes = np.array([self.beam, self.down, self.right], dtype=float)
        if axes.shape != (3, 3) or not np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
            raise InputError(f"a view needs three unit vectors at right angles, found {axes.tolist()}")

    @classmethod
    def of(cls, view: View | str) -> View:
        """Return one of `VIEWS` for its name, and any other view as it is."""
        if isinstance(view, View):
            return view
        if view not in VIEWS:
            raise InputError(f"there is no view {view!r}; use one of {', '.join(VIEWS)}")
        return VIEWS[view]


VIEWS = {
    # A chest film: the source behind the patient, the picture seen from the front, head up.
    "frontal": View(beam=(0, -1, 0), down=(-1, 0, 0), right=(0, 0, 1)),
    # The left side at the detector, the patient looking to the left of the picture, head up.
    "lateral": View(beam=(0, 0, 1), down=(-1, 0, 0), right=(0, 1, 0)),
    # Along the slices, as one slice is shown: front up, the patient's left on the right.
    "axial": View(beam=(1, 0, 0), down=(0, 1, 0), right=(0, 0, 1)),
}


@dataclass(frozen=True)
class Beam:
    """A point source and how far away everything is.

    Attributes
    ----------
    source_object, source_detector : float
        Distances from the source to the isocentre and to the detector's plane, mm. The defaults are those of
        UniMiSS+ (Xie et al., TPAMI 2024). Both infinite: parallel rays.
    """

    source_object: float = 1800.0
    source_detector: float = 2000.0

    def __post_init__(self) -> None:
        near, far = self.source_object, self.source_detector
        if not (0 < near <= far and math.isinf(near) == math.isinf(far)):
            raise InputError(
                "a beam needs 0 < source_object <= source_detector, both finite or neither, "
                f"found {near} and {far}"
            )

    @property
    def parallel(self) -> bool:
        """Whether the source is infinitely far away."""
        return math.isinf(self.source_object)

    @property
    def magnification(self) -> float:
        """Size on the detector of what has size 1 at the isocentre."""
        return 1.0 if self.parallel else self.source_detector / self.source_object


CONE = Beam()
PARALLEL = Beam(math.inf, math.inf)


@dataclass(frozen=True)
class Detector:
    """A flat panel at right angles to the beam, its middle behind the isocentre.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns. The default panel is that of UniMiSS+.
    pixel : float
        Distance between neighbouring pixels on the panel, mm.
    """

    shape: tuple[int, int] = (1280, 1280)
    pixel: float = 0.287

    def __post_init__(self) -> None:
        if not (min(self.shape) > 0 and 0 < self.pixel < math.inf):
            raise InputError(
                f"a detector needs rows, columns and a pixel in mm, found {self.shape}, {self.pixel}"
            )
        if math.prod(self.shape) > _MOST_PIXELS:
            raise InputError(
                f"a detector of {self.shape[0]} x {self.shape[1]} pixels is too large; take larger pixels"
            )

    @classmethod
    def covering(
        cls, geometry: Geometry, view: View, beam: Beam = CONE, short_side: int | None = None
    ) -> Detector:
        """Smallest panel that catches the whole shadow of a volume.

        Its pixel, seen at the isocentre, is the volume's smallest spacing, or such that the shorter side has
        `short_side` pixels.

        Raises
        ------
        InputError
            The volume reaches the source, or would need an absurd number of pixels.
        """
        if short_side is not None and short_side < 1:
            raise InputError(f"the short side of a picture needs at least one pixel, found {short_side}")
        size = 2 * shadow(geometry, view, beam)
        pixel = min(geometry.spacing) * beam.magnification if short_side is None else size.min() / short_side
        rows, columns = (max(1, math.ceil(length / pixel - 1e-3)) for length in size)
        return cls((rows, columns), float(pixel))


def isocentre(geometry: Geometry) -> NDArray[np.float64]:
    """World coordinates of the middle of a volume, shape (3,)."""
    return geometry.to_world((np.array(geometry.shape) - 1) / 2)


def shadow(geometry: Geometry, view: View, beam: Beam) -> NDArray[np.float64]:
    """Half of the extent of a volume's shadow on the detector, down and across, mm, shape (2,).

    Raises
    ------
    InputError
        The volume reaches the source.
    """
    ends = [(-0.5, size - 0.5) for size in geometry.shape]
    corners = geometry.to_world(list(itertools.product(*ends))) - isocentre(geometry)
    flat = corners @ np.array([view.down, view.right], dtype=float).T
    if not beam.parallel:
        depth = beam.source_object + corners @ np.array(view.beam, dtype=float)
        if depth.min() <= 0:
            raise InputError(
                f"the volume reaches the source, {beam.source_object:g} mm from its middle; "
                "move the source away, or check the spacing"
            )
        flat = flat * (beam.source_detector / depth)[:, None]
    return np.asarray(np.abs(flat).max(0))
