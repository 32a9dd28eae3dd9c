"""``unimiss drr``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unimiss.errors import InputError
from unimiss.io import read, writable_suffix, write


def drr(
    volume: Annotated[Path, typer.Argument(help="CT: NIfTI, NRRD or MHA, in Hounsfield units.")],
    output: Annotated[
        Path,
        typer.Option(help="Picture: .png (8 bit), or .nii.gz, .nrrd, .mha, which keep the pixel's size."),
    ],
    view: Annotated[
        str, typer.Option(metavar="frontal|lateral|axial", help="From which side, in the patient.")
    ] = "frontal",
    beam: Annotated[str, typer.Option(metavar="cone|parallel", help="How the rays run.")] = "cone",
    step: Annotated[float, typer.Option(metavar="MM", help="Between samples along a ray.")] = 1.0,
    short_side: Annotated[
        int | None, typer.Option(metavar="N", help="Pixels of the shorter side; else the CT's resolution.")
    ] = None,
    keep_border: Annotated[
        bool, typer.Option("--keep-border", help="Keep the air around the patient.")
    ] = False,
) -> None:
    """Take a digitally reconstructed radiograph of a CT.

    Example: unimiss drr scan.nii.gz --output frontal.png --view frontal
    """
    from unimiss.drr import CONE, PARALLEL, View, radiograph

    beams = {"cone": CONE, "parallel": PARALLEL}
    if beam not in beams:
        raise InputError(f"there is no beam {beam!r}; use one of {', '.join(beams)}")
    suffix = writable_suffix(output)
    if output.exists() and volume.exists() and output.samefile(volume):
        raise InputError(f"{output} is the volume itself; name another file for the radiograph")
    chosen = View.of(view)
    image = read(volume)
    try:
        picture = radiograph(
            image, chosen, beams[beam], step=step, short_side=short_side, crop=not keep_border
        )
    except InputError as error:
        raise InputError(f"{volume}: {error}") from error
    if suffix == ".png":
        picture = picture.with_array(np.rint(255 * picture.array).astype(np.uint8))
    write(picture, output)
    rows, columns = picture.geometry.shape
    down, across = picture.geometry.spacing
    typer.echo(f"{rows} x {columns} pixels of {down:.3g} x {across:.3g} mm written to {output}")
