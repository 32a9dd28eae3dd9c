"""Recipes: the settings with which UniMiSS and UniMiSS+ were published on public data, and its classes.

They are meant for the hardware of the publication, one GPU; every setting may be overridden. What the release
does and this project does not, or does better, stands beside the setting. docs/recipes.md says where the data
comes from, and `read_dataset` reads it as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RecipeName = Literal["auto", "bcv", "chaos", "ricord", "jsrt", "chestxr", "isic"]

_LENGTHS = ("steps", "epochs", "minutes")


@dataclass(frozen=True)
class Recipe:
    """What a fine-tuning on one public data set is.

    Attributes
    ----------
    settings : mapping
        Defaults of `FinetuneConfig`.
    network : str
        Size of MiT where there is no `init`, which brings its own.
    names : mapping of str to str
        Names of classes by those, or the values, that the files have; those that a copy of the data set does
        not have are passed over.
    """

    settings: Mapping[str, Any]
    network: str
    names: Mapping[str, str] = field(default_factory=dict)

    def applied(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Put given settings over those of the recipe; a length that is given replaces its own."""
        defaults = dict(self.settings)
        if any(values.get(name) is not None for name in _LENGTHS):
            defaults = {name: value for name, value in defaults.items() if name not in _LENGTHS}
        if "init" in values and values["init"] is None:
            defaults["network"] = self.network
        return {**defaults, **values}


def applied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill settings up with those of the recipe that they name; what is unknown is left to who validates."""
    recipe = RECIPES.get(str(values.get("recipe", "auto")))
    return dict(values) if recipe is None else recipe.applied(values)


def patch_of(recipe: RecipeName) -> tuple[int, ...] | None:
    """Patch that a recipe asks for."""
    return RECIPES[recipe].settings["patch"] if recipe in RECIPES else None


def class_names(recipe: RecipeName) -> Mapping[str, str]:
    """Names that a recipe gives to the classes of its data set."""
    return RECIPES[recipe].names if recipe in RECIPES else {}


_PUBLISHED = {
    "schedule": "poly",
    "warmup": 0.0,
    "average": 0.0,  # the weights themselves
    "elastic": 0.0,
    "shift": 0.0,
}
_ABDOMEN: dict[str, Any] = {  # as nnU-Net trains, by which the release does
    **_PUBLISHED,
    "task": "segmentation",
    "patch": (48, 192, 192),
    "batch_size": 2,
    "lr": 1e-4,
    "weight_decay": 3e-5,
    "steps": 25_000,  # 100 epochs of 250; the schedule falls in every step, not in every epoch
    "clip": 12.0,
    "foreground": 0.33,
    "rotation": 30.0,
    "scaling": (0.7, 1.4),
    "low_resolution": 0.25,
    "mirror": False,  # the release mirrors all axes, though it tells left kidneys from right ones
    "holdout": 0,  # of 30 patients of BCV 24 train and 6 validate
    "validations": 20,
}
_PICTURES: dict[str, Any] = {
    **_PUBLISHED,
    "task": "classification",
    "patch": (224, 224),
    "batch_size": 32,
    "lr": 1e-4,
    "weight_decay": 0.01,  # not published; PyTorch's default
    "epochs": 30.0,
    "validations": 30,
    "validation_cases": 4000,
    "crop": (0.08, 1.0),
    "scaling": (1.0, 1.0),  # the crop scales
    "rotation": 7.0,
    "low_resolution": 0.0,
    "mirror": True,  # both ways
}

RECIPES: dict[str, Recipe] = {
    "bcv": Recipe(
        _ABDOMEN,
        "small",
        {
            "1": "spleen",
            "2": "right kidney",
            "3": "left kidney",
            "4": "gallbladder",
            "5": "oesophagus",
            "6": "liver",
            "7": "stomach",
            "8": "aorta",
            "9": "inferior vena cava",
            "10": "portal and splenic veins",
            "11": "pancreas",
            "12": "right adrenal gland",
            "13": "left adrenal gland",
        },
    ),
    "chaos": Recipe(
        _ABDOMEN,  # no code in the release: "as BCV"
        "small",
        {
            "63": "liver",
            "126": "right kidney",
            "189": "left kidney",
            "252": "spleen",
            "255": "liver",  # of CT, whose masks hold nothing else
        },
    ),
    "ricord": Recipe(
        {
            **_PUBLISHED,
            "task": "classification",
            "patch": (64, 128, 128),  # the whole volume, in training too: a crop may miss the disease
            "intensity": {"scheme": "fixed", "low": -1024, "high": 325, "mean": 158.58, "std": 324.7},
            "batch_size": 8,
            "lr": 1e-5,
            "schedule": "constant",
            "weight_decay": 5e-3,
            "steps": 12_800,  # 200 epochs of 512 draws
            "validations": 200,  # after each epoch; the area under the ROC curve picks the model
            "patience": 30,
            "balance": False,
        },
        "small",
        {
            "1": "covid",
            "0": "no covid",
            "MIDRC-RICORD-1A": "covid",
            "MIDRC-RICORD-1B": "no covid",
        },
    ),
    "jsrt": Recipe(
        {
            **_PUBLISHED,
            "task": "segmentation",  # soft Dice; the release's is of thresholded output, without a gradient
            "patch": (224, 224),
            "batch_size": 32,
            "lr": 1e-4,
            "eps": 1e-4,
            "weight_decay": 3e-5,
            "steps": 10_000,  # 200 epochs of 1 600 draws
            "rotation": 10.0,
            "scaling": (1.0, 1.0),
            "low_resolution": 0.0,
            "mirror": True,  # both ways; so left and right are not told apart, see the names
            "holdout": 0,
            "folds": 2,  # 124 train, 123 validate: the folds of SCR, where its folders are there
            "fold": 1,
            "validations": 20,
            "validation_cases": 123,
        },
        "plus",
        {
            "left lung": "lungs",
            "right lung": "lungs",
            "lung": "lungs",
            "left clavicle": "clavicles",
            "right clavicle": "clavicles",
            "clavicle": "clavicles",
        },
    ),
    "chestxr": Recipe(
        {
            **_PICTURES,
            # mean 0.5056 and spread 0.252 of values from 0 to 1
            "intensity": {"scheme": "fixed", "low": 0, "high": 255, "mean": 128.928, "std": 64.26},
            "balance": False,
        },
        "plus",
    ),
    "isic": Recipe(  # no code in the release: as ChestXR, but for what a skin lesion is
        {
            **_PICTURES,
            "crop": (0.4, 1.0),  # a tenth of the picture may miss the lesion
            "rotation": 180.0,  # skin has no up
        },
        "plus",
        {
            code: name
            for upper, name in (
                ("MEL", "melanoma"),
                ("NV", "naevus"),
                ("BCC", "basal cell carcinoma"),
                ("AKIEC", "actinic keratosis"),
                ("BKL", "benign keratosis"),
                ("DF", "dermatofibroma"),
                ("VASC", "vascular lesion"),
            )
            for code in (upper, upper.lower())
        },
    ),
}
