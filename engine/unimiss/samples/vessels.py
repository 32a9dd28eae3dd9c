"""Branching vessels: a tree grown from a root through random places, then asked for distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from unimiss.samples.shapes import Floats, Triple

_STEP = 2.5  # mm between the balls that a vessel is made of
_REACH = 9.0  # mm; farther than this from every centre line, the distance does not matter


class Tree:
    """Vessels as balls along branches that thin towards their ends.

    Parameters
    ----------
    roots : sequence of triples
        Where trees begin.
    targets : array, shape (N, 3)
        Places that are supplied, each from the root on its side of the body.
    """

    def __init__(self, roots: tuple[Triple, ...], targets: NDArray[np.float64]) -> None:
        balls, radii = [], []
        for root in roots:
            own = targets[targets[:, 2] * root[2] > 0]
            centres, sizes = _grow(np.asarray(root, dtype=float), own)
            balls.append(centres)
            radii.append(sizes)
        self._radii = np.concatenate(radii).astype(np.float32)
        self._balls = cKDTree(np.concatenate(balls))

    def distance(self, points: Floats) -> Floats:
        """Distance to the nearest vessel's wall, shape (N,); infinite far from all."""
        gap, nearest = self._balls.query(points.T, distance_upper_bound=_REACH)
        radii = np.append(self._radii, np.float32(0))  # far points get one index past the last ball
        return np.asarray(gap.astype(np.float32) - radii[nearest])


def _grow(
    root: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join every target, nearest first, to the node that gives a short way to it and back to the root."""
    nodes = np.concatenate([root[None], targets[np.argsort(np.linalg.norm(targets - root, axis=1))]])
    parents = np.zeros(len(nodes), dtype=int)
    travelled = np.zeros(len(nodes))
    for node in range(1, len(nodes)):
        step = np.linalg.norm(nodes[:node] - nodes[node], axis=1)
        parents[node] = np.argmin(step + 0.55 * travelled[:node])
        travelled[node] = travelled[parents[node]] + step[parents[node]]
    supplied = np.ones(len(nodes))
    for node in range(len(nodes) - 1, 0, -1):
        supplied[parents[node]] += supplied[node]
    widths = np.minimum(0.95 * supplied ** (1 / 2.6), 7.0)  # Murray's law: a parent holds its children's flow
    balls, radii = [], []
    for node in range(1, len(nodes)):
        start, end = nodes[parents[node]], nodes[node]
        count = max(2, int(np.linalg.norm(end - start) / _STEP))
        along = np.linspace(0, 1, count, endpoint=False)[:, None]
        balls.append(start + (end - start) * along)
        radii.append(np.full(count, widths[node]))
    return np.concatenate(balls), np.concatenate(radii)
