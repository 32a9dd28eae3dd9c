"""What a path is: an image, a data set, a run folder, several of them or a model, in lines for a person."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from unimiss.errors import InputError
from unimiss.io import is_dicom, is_image, read

_LISTED = (".json", ".csv", ".tsv", ".txt", ".lst")  # files that describe a data set

Lines = list[tuple[str, str]]


def describe(path: Path) -> Lines:
    """Name and value of what is worth knowing about a path.

    Raises
    ------
    InputError
        It does not exist, or is nothing that is known here.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_dir() and not is_dicom(path):
        return _run(path) if _is_run(path) else _folder(path)
    if path.suffix.lower() in _LISTED:
        return _dataset(path)
    return _image(path) if path.is_dir() or is_image(path) else _model(path)


def _image(path: Path) -> Lines:
    from unimiss.data.cases import stem

    image = read(path)
    geometry = image.geometry
    lines = [
        ("image", str(path)),
        ("shape", " x ".join(map(str, geometry.shape))),
        ("channels", str(image.channels)),
        ("spacing", " x ".join(f"{v:g}" for v in geometry.spacing) + f" {geometry.units}"),
        ("values", f"{image.array.dtype}, {image.array.min():g} to {image.array.max():g}"),
    ]
    if image.provenance is not None and is_dicom(path):
        lines += [("modality", image.provenance.modality), ("masks are called", stem(path))]
    if image.provenance is not None and geometry.ndim == 3:
        stored = image.in_file_order()[1]
        lines.append(("stored towards", f"{stored.orientation} (slowest axis first)"))
        pairs = zip(geometry.shape, geometry.spacing, strict=True)
        lines.append(("extent", " x ".join(f"{n * s:.0f}" for n, s in pairs) + " mm"))
    return lines


def _is_run(path: Path) -> bool:
    try:
        return (path / "events.jsonl").exists()
    except PermissionError:
        return False


def _folder(path: Path) -> Lines:
    """Of a data set, which may have runs beside its images; else of each run in the folder."""
    try:
        return _dataset(path)
    except InputError:
        runs = sorted(filter(_is_run, path.glob("*")))
        if not runs:
            raise
        return [line for run in runs for line in _run(run)]


def _run(path: Path) -> Lines:
    from unimiss.runs import Run, validated

    run = Run(path)
    lines = [("run", str(path)), ("state", str(run.state))]
    if run.exists():
        config = run.config()
        lines += [
            (name, str(config[name])) for name in ("task", "objective", "network", "seed") if name in config
        ]
    metrics = run.metrics()
    if metrics:
        last = metrics[-1]
        lines.append(("last step", str(last["step"])))
        found = [("loss", last["loss"])] if "loss" in last else []
        lines += [(name, f"{value:.4g}") for name, value in [*found, *filter(None, [validated(last)])]]
    lines += [("checkpoint", str(file)) for file in (run.best, run.last) if file.exists()]
    return lines


def _dataset(path: Path) -> Lines:
    """Say what a data set is, and all that is wrong with it: a training would refuse it."""
    from unimiss.data.datasets import inspect_dataset, read_dataset
    from unimiss.data.datasets.labels import set_apart

    dataset, problems = inspect_dataset(read_dataset(path))
    dataset = set_apart(dataset)
    cases = dataset.cases
    names = ", ".join(f"{value} {name}" for value, name in dataset.labels.items())
    counts = Counter(name for case in cases for name in case.classes)
    splits = Counter(case.split for case in cases if case.split)
    folds = {case.fold for case in cases if case.fold is not None}
    rows = [
        ("data set", str(path)),
        ("made for", dataset.kind),
        ("labelled cases", str(len(cases))),
        ("patients", str(len({case.patient for case in cases}))),
        ("files per case", str(len(cases[0].images))),
        ("channels", ", ".join(dataset.channels)),
        ("labels", names),
        (
            "left open",
            f"where masks hold {' or '.join(map(str, dataset.unknown))}" if dataset.unknown else "",
        ),
        ("classes", "may overlap" if dataset.overlapping else "exclusive"),
        ("cases by class", ", ".join(f"{counts[name]} {name}" for name in dataset.labels.values() if counts)),
        ("splits", ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))),
        ("folds", str(len(folds)) if folds else ""),
    ]
    return [row for row in rows if row[1]] + [("problem", one.text) for one in problems]


def _model(path: Path) -> Lines:
    from unimiss.models.checkpoint import Checkpoint

    saved = Checkpoint.load(path, "network.")
    description = saved.description
    sizes = ", ".join(" x ".join(map(str, size)) for size in description.native.values())
    weights = sum(tensor.numel() for tensor in saved.part("network").values())
    lines = [
        ("model", str(path)),
        ("kind", description.kind),
        ("network", f"MiT {description.network}, {weights / 1e6:.1f} M parameters"),
        ("made for", sizes),
        ("objective", description.objective),
        ("steps", str(description.step)),
    ]
    if description.labels:
        lines.append(("labels", ", ".join(f"{v} {name}" for v, name in description.labels.items())))
        lines.append(("classes", "may overlap" if description.overlapping else "exclusive"))
    if description.preprocessing is not None:
        lines.append(("preprocessing", description.preprocessing.model_dump_json(exclude_none=True)))
    return lines
