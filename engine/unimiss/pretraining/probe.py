"""What frozen features are worth: nearest neighbours and a linear classifier on a small labelled folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimiss.data.cases import find_images, is_held_out, patient_of
from unimiss.data.preprocessing import BY_PERCENTILE, Preprocessing
from unimiss.errors import InputError
from unimiss.io import read

_NEIGHBOURS = 20
_BATCH = 32
_FEWEST = 10  # held-out images; an AUC of fewer says nothing


@dataclass(frozen=True)
class Probe:
    """A labelled set, split by patient.

    Attributes
    ----------
    images : Tensor, shape (N, C, *size), float16
        Prepared as for pre-training, resized to a view.
    classes : array, shape (N,)
        Index of each image's class.
    held_out : array of bool, shape (N,)
        Images of patients that pre-training never sees: the test. The others are what the probes learn from.
    """

    images: Tensor
    classes: NDArray[np.int64]
    held_out: NDArray[np.bool_]

    @classmethod
    def read(cls, folder: Path, size: tuple[int, int], holdout: int, warn: Callable[[str], None]) -> Probe:
        """Read a folder with one folder of radiographs for each class.

        Parameters
        ----------
        folder : Path
            Its folders' names are the classes.
        size : tuple of int
            Height and width of a view.
        holdout : int
            One patient in so many is the test; the rule of pre-training itself.
        warn : callable
            Receives a sentence for each image that cannot be read.

        Raises
        ------
        InputError
            There are fewer than two classes, or too few images on either side of the split.
        """
        folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        if len(folders) < 2:
            raise InputError(f"{folder} needs one folder of images for each class, at least two")
        if not holdout:
            raise InputError("a probe is tested on held-out patients; with holdout = 0 there are none")
        recipe = Preprocessing(size=size, intensity=BY_PERCENTILE)
        images, classes, held = [], [], []
        for label, of_class in enumerate(folders):
            for path in find_images([of_class]):
                try:
                    images.append(torch.from_numpy(recipe.prepare(read(path)).astype(np.float16)))
                except InputError as error:
                    warn(f"left out of the probe: {error}")
                    continue
                classes.append(label)
                held.append(is_held_out(patient_of(path), holdout))
        held_out, of_images = np.array(held, dtype=bool), np.array(classes, dtype=np.int64)
        for part in (held_out, ~held_out):
            if part.sum() < _FEWEST or len(set(of_images[part])) < len(folders):
                raise InputError(
                    f"{folder}: of {len(images)} images {held_out.sum()} are of held-out patients; "
                    f"both sides need images of every class, {_FEWEST} at least"
                )
        return cls(torch.stack(images), of_images, held_out)

    def measure(self, represent: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Train both probes on frozen features, and test them on patients that nothing was trained on.

        Parameters
        ----------
        represent : callable
            Features (B, d) of images (B, C, *size).

        Returns
        -------
        dict of str to float
            "probe_linear" and "probe_knn": area under the ROC curve, the mean over classes against the rest.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer, StandardScaler

        with torch.inference_mode():
            parts = [represent(batch.float()).float().cpu() for batch in torch.split(self.images, _BATCH)]
        features = torch.cat(parts).numpy()
        known, test = ~self.held_out, self.held_out
        neighbours = min(_NEIGHBOURS, int(known.sum()))
        probes = {
            "probe_linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
            "probe_knn": make_pipeline(
                StandardScaler(), Normalizer(), KNeighborsClassifier(neighbours, weights="distance")
            ),
        }
        figures = {}
        for name, model in probes.items():
            scores = model.fit(features[known], self.classes[known]).predict_proba(features[test])
            binary = scores.shape[1] == 2
            figures[name] = float(
                roc_auc_score(self.classes[test], scores[:, 1] if binary else scores, multi_class="ovr")
            )
        return figures
