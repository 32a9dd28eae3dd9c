from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from unimiss import Geometry, Image, write
from unimiss.cli import main
from unimiss.colours import class_colour
from unimiss.evaluation import evaluate, write_report
from unimiss.evaluation.figures import Plot, ticks
from unimiss.evaluation.pictures import mask_picture, worst_slice
from unimiss.evaluation.planes import Planes

HOSTILE = '<script src="http:evil.example">alert(1)<script>'.replace("/", "")
GRID = Geometry.from_spacing((6, 24, 20), (4, 1, 1))


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def blocks(*values: tuple[int, slice], grid: Geometry = GRID) -> Image:
    array = np.zeros((1, *grid.shape), np.uint8)
    for label, rows in values:
        array[..., rows, 4:12] = label
    return Image(array, grid)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Two volumes; the second is worse, its class has a hostile name, and a third is missing."""
    for name, rows in (("good", slice(2, 12)), (HOSTILE, slice(2, 6)), ("lost", None)):
        write(blocks((1, slice(2, 12)), (2, slice(14, 20))), tmp_path / "labelsTs" / f"{name}.nii.gz")
        if rows is not None:
            write(blocks((1, rows), (2, slice(14, 20))), tmp_path / "masks" / f"{name}.nii.gz")
            noise = np.random.default_rng(0).normal(size=(1, *GRID.shape)).astype(np.float32)
            write(Image(noise, GRID), tmp_path / "imagesTs" / f"{name}_0000.nii.gz")
    (tmp_path / "masks" / "labels.json").write_text(json.dumps({"1": HOSTILE, "2": "b & c"}))
    return tmp_path


def page(folder: Path) -> str:
    found = evaluate(folder / "masks", folder / "labelsTs", resamples=20)
    return write_report(found, folder / "out" / "page.html").read_text(encoding="utf-8")


def pictures(text: str) -> list[NDArray[np.uint8]]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(png)))) for png in found]


def test_names_from_files_are_text_and_never_markup(masks: Path) -> None:
    seen = Seen(page(masks))
    assert "script" not in seen.tags
    assert seen.text.count(HOSTILE) >= 4  # as class and as case, in tables and plots
    assert "b & c" in seen.text


def test_a_page_loads_and_runs_nothing(masks: Path) -> None:
    seen = Seen(page(masks))
    assert not {"script", "link", "iframe", "object", "embed"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    loaded = [value or "" for name, value in seen.attributes if name in ("src", "href", "srcset", "data")]
    assert loaded
    assert all(value.startswith("data:image/png;base64,") for value in loaded)


def test_the_worst_case_is_first_and_what_was_left_out_is_above_all_figures(masks: Path) -> None:
    text = page(masks)
    seen = Seen(text)
    assert seen.text.index("lost.nii.gz has no prediction") < seen.text.index("Means")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert [caption.rsplit(":", 1)[1] for caption in captions] == [
        " Dice 0.786, slice 1 of 6",
        " Dice 1.000, slice 1 of 6",
    ]
    assert str(masks) not in text


def test_pictures_show_both_outlines_on_the_image(masks: Path) -> None:
    for picture in pictures(page(masks)):
        assert max(picture.shape[:2]) == 400
        colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert {class_colour(1), class_colour(2)} <= colours
        assert len([c for c in colours if c[0] == c[1] == c[2]]) > 50  # grey values of the image


def test_masks_without_image_are_drawn_on_black_and_said_to_be(masks: Path) -> None:
    for path in (masks / "imagesTs").iterdir():
        path.write_bytes(b"damaged")
    text = page(masks)
    assert text.count("(without its image)</figcaption>") == 2
    assert all((picture == 0).all(axis=-1).mean() > 0.5 for picture in pictures(text))


def test_the_slice_with_most_wrong_voxels_is_shown_across_the_thickest_axis() -> None:
    reference, prediction = np.zeros((2, 8, 9, 10), np.int32)
    reference[2, :5, :5] = prediction[2, :5, :5] = 1
    prediction[5, :2, :2] = 1
    true, found = Planes(reference[None]), Planes(prediction[None])
    assert worst_slice(found, true, [1], Geometry.from_spacing((8, 9, 10), (3, 1, 1))) == (0, 5)
    assert worst_slice(found, true, [1], Geometry.from_spacing((8, 9, 10), (1, 1, 3))) == (2, 0)
    assert worst_slice(true, true, [1], Geometry.from_spacing((8, 9, 10), (3, 1, 1))) == (0, 2)
    assert worst_slice(found, true, [1], Geometry.from_spacing((9, 10))) == (None, 0)


def test_a_picture_has_the_proportions_of_the_patient_and_dashes_where_masks_differ() -> None:
    reference, prediction = np.zeros((2, 40, 20), np.int32)
    reference[10:20, 5:15], prediction[10:30, 5:15] = 7, 7
    grid = Geometry.from_spacing((40, 20), (0.5, 2))
    masks = Planes(prediction[None]), Planes(reference[None])
    picture = np.asarray(Pillow.open(io.BytesIO(mask_picture(*masks, [7], None, grid, (None, 0)))))
    height, width = picture.shape[:2]
    assert width == 400
    assert height == pytest.approx(400 * 38 * 0.5 / (20 * 2), abs=12)
    solid = (picture == class_colour(1)).all(axis=-1).sum()
    dashed = (picture.astype(int).sum(axis=-1) > sum(class_colour(1))).sum()
    assert solid > dashed > 50


def test_flat_pictures_have_a_page_too(tmp_path: Path) -> None:
    grid = Geometry.from_spacing((30, 40), units="pixel")
    for folder, rows in (("masks", slice(2, 9)), ("labels", slice(3, 9))):
        write(blocks((1, rows), grid=grid), tmp_path / folder / "chest.png")
    colour = np.random.default_rng(0).integers(255, size=(3, 30, 40)).astype(np.uint8)
    write(Image(colour, grid), tmp_path / "images" / "chest.png")
    found = evaluate(tmp_path / "masks", tmp_path / "labels", resamples=20)
    text = write_report(found, tmp_path / "page.html").read_text()
    assert "HD95 pixel" in text
    assert "(without its image)" not in text
    [picture] = pictures(text)
    assert (picture[..., 0] != picture[..., 1]).mean() > 0.5  # in colour
    assert "volume of the prediction" not in text  # a flat picture has none


def test_a_folder_receives_the_page_every_case_and_all_figures(masks: Path) -> None:
    status = call(
        "evaluate", masks / "masks", masks / "labelsTs", "--report", masks / "all", "--resamples", 20
    )
    assert status == 0
    assert sorted(path.name for path in (masks / "all").iterdir()) == [
        "cases.csv",
        "report.html",
        "scores.json",
    ]
    assert json.loads((masks / "all" / "scores.json").read_text())["classes"]["b & c"]["dice"] == 1
    with open(masks / "all" / "cases.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 6


def call(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_scores_classes_and_shows_their_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Geometry.from_spacing((16, 16), units="pixel")
    write(Image(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), grid), tmp_path / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text(
        f"image,label,[/no],{HOSTILE}\na.png,[/no],0.8,0.2\nb.png,[/no],0.9,0.1\n".replace('"', "")
    )
    (tmp_path / "truth.csv").write_text(f"image,label\na.png,[/no]\nb.png,{HOSTILE}\n".replace('"', ""))
    files = ("--json", tmp_path / "s.json", "--csv", tmp_path / "c.csv", "--report", tmp_path / "page.html")
    assert call("evaluate", tmp_path / "out", tmp_path / "truth.csv", *files, "--resamples", 20) == 0
    said = capsys.readouterr().out
    assert "[/no]" in said  # not taken for markup of the terminal
    assert json.loads((tmp_path / "s.json").read_text())["kind"] == "binary"
    text = (tmp_path / "page.html").read_text()
    seen = Seen(text)
    assert "script" not in seen.tags
    assert "b.png: is <script" in seen.text
    [picture] = pictures(text)
    assert picture.shape == (400, 400, 3)
    assert (tmp_path / "c.csv").read_text().count("\n") == 3


def test_images_of_classes_are_sought_where_the_command_says(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,label,no,yes\na.png,no,0.9,0.1\n")
    (tmp_path / "r.csv").write_text("image,label\na.png,yes\n")
    grid = Geometry.from_spacing((8, 8), units="pixel")
    write(Image(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), grid), tmp_path / "images" / "a.png")
    tables = (tmp_path / "p.csv", tmp_path / "r.csv", "--report", tmp_path / "page.html")
    for images, count in (((), 0), (("--images", tmp_path / "images"), 1)):
        assert call("evaluate", *tables, *images) == 0
        assert len(pictures((tmp_path / "page.html").read_text())) == count
    assert call("evaluate", *tables, "--images", tmp_path / "lost") == 2


@pytest.mark.parametrize(
    "arguments",
    [("--tolerance", -1), ("--resamples", 0), ("--images", "missing")],
)
def test_options_that_make_no_sense_are_refused(masks: Path, arguments: tuple[object, ...]) -> None:
    assert call("evaluate", masks / "masks", masks / "labelsTs", *arguments) == 2


def test_text_of_a_plot_is_escaped_and_stays_printable() -> None:
    plot = Plot("a<b\x00\ud800", "x", "y", (0, 1), (0, 1), names=["<i>"])
    plot.dots([0.5], [0.5], "#000", ["</title><script>"])
    svg = plot.svg()
    assert "a&lt;b\ufffd\ufffd" in svg
    assert "<script>" not in svg


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((0, 3.2e-4), [0, 1e-4, 2e-4, 3e-4]),
        ((0, 47), [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round(span: tuple[float, float], expected: list[float]) -> None:
    assert ticks(*span) == pytest.approx(expected)
