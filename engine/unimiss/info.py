"""What a path is: an image, a data set, a run folder or a model, in lines for a person."""

from __future__ import annotations

from pathlib import Path

from unimiss.errors import InputError
from unimiss.io import is_dicom, is_image, read

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
        return _run(path) if (path / "events.jsonl").exists() else _dataset(path)
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


def _run(path: Path) -> Lines:
    from unimiss.runs import Run

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
        lines += [(name, f"{last[name]:.4g}") for name in ("loss", "dice") if name in last]
    lines += [("checkpoint", str(file)) for file in (run.best, run.last) if file.exists()]
    return lines


def _dataset(path: Path) -> Lines:
    from unimiss.data.datasets import read_dataset

    dataset = read_dataset(path)
    labels = dataset.labels or {}
    return [
        ("data set", str(path)),
        ("labelled cases", str(len(dataset.cases))),
        ("patients", str(len({case.patient for case in dataset.cases}))),
        ("labels", ", ".join(f"{value} {name}" for value, name in labels.items()) or "not named"),
    ]


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
    if description.preprocessing is not None:
        lines.append(("preprocessing", description.preprocessing.model_dump_json(exclude_none=True)))
    return lines
