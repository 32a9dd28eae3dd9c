"""One made-up person: everything that differs from seed to seed, drawn once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.samples.shapes import Floats, column
from unimiss.samples.texture import Field

_MOVABLE = ("heart", "liver", "spleen", "stomach", "left kidney", "right kidney")


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one seed for one purpose, independent of those for any other."""
    if seed < 0:
        raise InputError(f"a seed is a whole number from 0, not {seed}")
    return np.random.Generator(np.random.PCG64([seed, *purpose.encode()]))


@dataclass(frozen=True, eq=False)
class Patient:
    """Pose, build, tissues and textures; lengths in millimetres, triples in the order ``z, y, x``.

    Attributes
    ----------
    shift, scale : array, shape (3, 1)
        Where the body lies in the world, and its size relative to the average person.
    turn : float
        Rotation about the long axis, radians.
    chest : array, shape (3, 1)
        Half axes of the rib cage.
    fat : float
        Thickness under the skin.
    dome : float
        Height of the right half of the diaphragm.
    rib_drop : float
        How much lower ribs end in front than they begin.
    curve, bend : float
        Kyphosis and scoliosis of the spine.
    hu : mapping of str to float
        Mean Hounsfield units of tissues that differ between people and contrast phases.
    offset : mapping of str to array, shape (3,)
        Displacement of each organ.
    size : mapping of str to float
        Relative size of each organ.
    fine, medium, coarse : Field
        Textures with lengths of about 4, 14 and 45 mm.
    """

    shift: Floats
    scale: Floats
    turn: float
    chest: Floats
    fat: float
    dome: float
    rib_drop: float
    curve: float
    bend: float
    hu: Mapping[str, float]
    offset: Mapping[str, NDArray[np.float64]]
    size: Mapping[str, float]
    fine: Field
    medium: Field
    coarse: Field

    @classmethod
    def draw(cls, seed: int) -> Patient:
        """Return the person of a seed."""
        random = generator(seed, "patient")
        build = random.uniform(-1, 1)
        return cls(
            shift=column(random.uniform(-6, 6, 3)),
            scale=column(0.98 + 0.03 * build + random.uniform(-0.03, 0.03, 3)),
            turn=float(random.normal(0, 0.025)),
            chest=column((158, 88, 136) * random.uniform(0.95, 1.05, 3)),
            fat=float(random.uniform(6, 22)),
            dome=float(random.uniform(-12, 14)),
            rib_drop=float(random.uniform(80, 105)),
            curve=float(random.uniform(4, 14)),
            bend=float(random.normal(0, 4)),
            hu=_tissues(random),
            offset={name: np.clip(random.normal(0, 4, 3), -8, 8) for name in _MOVABLE},
            size={name: float(random.uniform(0.9, 1.12)) for name in _MOVABLE},
            fine=Field(random, 4),
            medium=Field(random, 14),
            coarse=Field(random, 45),
        )

    def to_body(self, world: Floats) -> Floats:
        """Points of the average body that the world points, shape (3, N), correspond to."""
        z, y, x = world - self.shift
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        turned = np.stack([z, cos * y - sin * x, sin * y + cos * x])
        body = np.asarray(turned / self.scale, dtype=np.float32)
        warp = [self.coarse(body, shift) for shift in (0.0, 311.0, 523.0)]
        return np.asarray(body + np.float32(3.5) * np.stack(warp))


def _tissues(random: np.random.Generator) -> dict[str, float]:
    """Enhancement follows one contrast phase, loosely, so that no organ can be told by its value alone."""
    phase = random.uniform(0, 1)

    def enhanced(plain: float, gain: float, spread: float) -> float:
        return float(plain + gain * phase + random.uniform(-spread, spread))

    return {
        "blood": enhanced(45, 105, 6),
        "myocardium": enhanced(48, 50, 6),
        "liver": enhanced(68, 34, 7),
        "spleen": enhanced(58, 62, 8),
        "kidney": enhanced(40, 130, 8),
        "muscle": float(random.uniform(44, 60)),
        "fat": float(random.uniform(-112, -92)),
        "lung": float(random.uniform(-845, -755)),
        "marrow": float(random.uniform(150, 260)),
        "cortex": float(random.uniform(480, 700)),
    }
