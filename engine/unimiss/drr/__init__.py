"""Digitally reconstructed radiographs: what a CT would look like on an X-ray detector."""

from unimiss.drr.projector import project
from unimiss.drr.radiograph import WATER_PER_MM, attenuation, paper_radiograph, radiograph
from unimiss.drr.setup import CONE, PARALLEL, VIEWS, Beam, Detector, View

__all__ = [
    "CONE",
    "PARALLEL",
    "VIEWS",
    "WATER_PER_MM",
    "Beam",
    "Detector",
    "View",
    "attenuation",
    "paper_radiograph",
    "project",
    "radiograph",
]
