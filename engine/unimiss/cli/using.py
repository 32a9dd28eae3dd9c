"""``unimiss predict``, ``evaluate``, ``import``, ``info``, ``demo`` and ``doctor``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unimiss.errors import InputError, Stopped

_SHOWN_PROBLEMS = 5
_SUFFIXES = {"dicom-seg": ".dcm"}


def predict(
    model: Annotated[
        Path, typer.Argument(help="Run folder or checkpoint; or a folder of runs, which decide together.")
    ],
    inputs: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Annotated[Path, typer.Option(help="Folder for the masks, or for predictions.csv.")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Segmentation: also write class probabilities.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="Of masks: nii.gz, nii, nrrd, mha, png or dicom-seg; else the input's.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Look at each image mirrored left to right too: twice the time.")
    ] = False,
    ten_crop: Annotated[
        bool,
        typer.Option("--ten-crop", help="Classes of flat images: mean over five crops and their mirrors."),
    ] = False,
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep only the largest component of each class.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option(help="Record progress in this run folder, to be followed.")
    ] = None,
) -> None:
    """Segment images with a fine-tuned model, each on its own grid; or classify them into one table.

    Example: unimiss predict runs/hippocampus scans/ --output masks/
    """
    from unimiss.display import Display
    from unimiss.inference import Predictor
    from unimiss.inference.folder import predict_files
    from unimiss.inference.table import classify_files
    from unimiss.runs.writer import RunWriter

    suffix = None
    if format is not None:
        suffix = _SUFFIXES.get(format.lower(), f".{format.lower().lstrip('.')}")
    ended = f"stopped; what was finished is in {output}"
    stopped = False
    with Display() as display, nullcontext() if run is None else RunWriter(run, listener=display) as writer:

        def tell(kind: str, **fields: Any) -> None:
            if writer is None:
                display({"kind": kind, **fields})
            else:
                writer.event(kind, **fields)

        def progress(share: float, name: str) -> None:
            if writer is not None and writer.should_stop():
                raise Stopped(ended)
            tell("progress", done=round(share, 4), stage=f"predicting {name}")

        def warn(message: str) -> None:
            tell("warning", message=message)

        try:
            predictor = Predictor(
                model, mirror=mirror, ten_crop=ten_crop, largest_component=largest_component
            )
            if predictor.task == "classification":
                if suffix not in (None, ".csv") or probabilities:
                    raise InputError(f"{model} classifies: its table holds all probabilities and is a csv")
                written = classify_files(
                    predictor, inputs, output, hide=writer is not None, progress=progress, warn=warn
                )
                message = f"the classes of the images are in {written}"
            else:
                masks = predict_files(
                    predictor,
                    inputs,
                    output,
                    suffix=suffix,
                    probabilities=probabilities,
                    hide=writer is not None,  # a run folder is passed on
                    progress=progress,
                    warn=warn,
                )
                message = f"{len(masks)} mask{'s' * (len(masks) != 1)} written to {output}"
        except (Stopped, KeyboardInterrupt):
            stopped = True
            tell("stopped", message=ended)
        else:
            tell("finished", message=message)
    if stopped:  # once the run is recorded as stopped, and not as failed
        raise typer.Exit(1)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Mask, folder of masks, or CSV of predicted classes.")],
    references: Annotated[Path, typer.Argument(help="The same of the truth; or CSV image,label[,patient].")],
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line for each case to this file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page with plots and the worst cases: a file .html, or a folder for all."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, for the page; else sought beside the references."),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Of the surface Dice, in mm.")] = 1.0,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients for the 95 % intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Compare predictions with references.

    Masks: Dice, IoU, HD95, average surface distance, surface Dice, volumes. Classes: AUC, AP, accuracy,
    sensitivity, specificity, calibration. Intervals draw patients where the CSV of references names them.

    Example: unimiss evaluate masks/ dataset/labelsTs --report evaluation/
    """
    from unimiss import evaluation
    from unimiss.display import Display
    from unimiss.runs import atomic

    with Display() as display:

        def progress(share: float, name: str) -> None:
            display({"kind": "progress", "done": share, "stage": f"scoring, {name}"})

        found = evaluation.evaluate(
            predictions,
            references,
            progress,
            images=images,
            tolerance=tolerance,
            resamples=resamples,
            seed=seed,
        )
    print_report(found)
    if json is not None:
        atomic.write_json(json, found.to_json())
    if csv is not None:
        evaluation.write_csv(found, csv)
    if report is not None:
        _print_lines([("report", str(evaluation.write_report(found, report)))])


def import_(
    file: Annotated[Path, typer.Argument(help="Checkpoint of the UniMiSS or UniMiSS+ release.")],
    output: Annotated[Path, typer.Option(help="The model to write.")],
    part: Annotated[Literal["student", "teacher"], typer.Option(help="Whose weights to take.")] = "student",
    head: Annotated[bool, typer.Option("--head", help="Also keep the projection head.")] = False,
    native: Annotated[
        list[str],
        typer.Option(
            metavar="SIZE", help="Input size, such as 48x192x192, that the network was built for; repeatable."
        ),
    ] = [],  # noqa: B006
    json: Annotated[Path | None, typer.Option(help="Write the name of every tensor and its fate.")] = None,
) -> None:
    """Turn a released checkpoint into a model to fine-tune; nothing in the file is run.

    Example: unimiss import UniMiss_small.pth --output models/unimiss_small
    """
    from unimiss.models.importing import import_release, parse_sizes
    from unimiss.runs import atomic

    for file_to_write in (output, json):
        if file_to_write is not None and file_to_write.exists():
            raise InputError(f"{file_to_write} exists already; name another file")
    if json is not None and json.resolve() == output.resolve():
        raise InputError(f"--json and --output both name {output}; the model would be lost")
    found = import_release(file, part=part, head=head, native=parse_sizes(native))
    found.checkpoint.save(output)
    lines = [("network", found.variant), *([("part", found.part)] if found.part else [])]
    converted = len(found.converted)
    as_stored = f", {converted} of them converted to float32" if converted else ", as they are"
    lines.append(("loaded", f"{len(found.loaded)} tensors{as_stored}"))
    for dimension, size in found.checkpoint.description.native.items():
        guessed = dimension in found.guessed
        told = " (told from the length of its tables; --native corrects it)" if guessed else ""
        lines.append((f"made for {dimension}D", " x ".join(map(str, size)) + told))
    for group, count in found.unused_groups().items():
        keep = " (--head keeps it)" if group == f"{found.part}'s head" and not head else ""
        lines.append(("unused", f"{group}, {count} tensor{'s' * (count != 1)}{keep}"))
    _print_lines([*lines, ("model", str(output))])
    if json is not None:
        account = {"loaded": found.loaded, "converted": found.converted, "unused": found.unused}
        atomic.write_json(json, account)


def info(path: Annotated[Path, typer.Argument(help="Image, data set, run folder or model.")]) -> None:
    """Say what an image, data set, run folder or model is.

    Example: unimiss info runs/hippocampus
    """
    from unimiss.info import describe

    _print_lines(describe(path))


def demo(
    output: Annotated[Path, typer.Option(help="Folder for all that the demo writes.")] = Path("demo"),
    no_viewer: Annotated[bool, typer.Option("--no-viewer", help="Do not open napari.")] = False,
) -> None:
    """Run the main job on generated people: pre-train, fine-tune, predict, evaluate, look.

    Example: unimiss demo --output demo
    """
    from unimiss.demo import demo as work
    from unimiss.demo import show
    from unimiss.display import Display

    with Display() as display:

        def say(line: str) -> None:
            display.console.print(line, markup=False)

        report = work(output, say=say, listener=display)
    print_report(report)
    if not no_viewer:
        show(output, say)


def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it.

    Example: unimiss doctor
    """
    from unimiss.doctor import diagnose

    found = diagnose()
    _print_lines([(finding.name, finding.value) for finding in found])
    console = _console()
    for finding in found:
        if finding.advice:
            console.print(f"{finding.name}: {finding.advice}", markup=False)


def print_report(report: Any) -> None:
    """Print the scores of each class and their mean, and what was left out."""
    header, rows = report.table()
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(header[0], overflow="fold", min_width=12)
    for title in header[1:]:  # names may take several lines, figures not
        table.add_column(title.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # names of classes come from files, and may look like markup
    console = _console()
    console.print(table)
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        console.print(f"left out: {problem}", markup=False)
    more = len(report.problems) - _SHOWN_PROBLEMS
    if more > 0:
        console.print(f"and {more} more; --json, --csv and --report list them all", markup=False)


def _print_lines(lines: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in lines)
    console = _console()
    for name, value in lines:
        console.print(f"{name:<{width}}  {value}", markup=False)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
