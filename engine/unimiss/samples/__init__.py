"""Sample data as code: people who do not exist, their scans, labels and radiographs, from a seed."""

from unimiss.samples.anatomy import ORGANS
from unimiss.samples.film import radiograph
from unimiss.samples.folders import write_dataset, write_radiographs
from unimiss.samples.scan import Torso, torso

__all__ = ["ORGANS", "Torso", "radiograph", "torso", "write_dataset", "write_radiographs"]
