import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_unimiss import children, jobs, layers
from napari_unimiss.layers import geometry_of, image_layers
from unimiss import Geometry, Image

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

WAIT = 20_000
GREEN, AMBER, RED = "#35c49b", "#f5a623", "#ff7b72"
PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
import unimiss
from unimiss.runs.writer import RunWriter

source, output, run, gate = map(Path, sys.argv[1:])
with RunWriter(run) as writer:
    while not gate.exists():
        time.sleep(0.01)
    image = unimiss.read(source)
    unimiss.write(image.with_array((image.array[:1] > 0.5).astype(np.uint8)), output / source.name)
    writer.event("finished", message="1 mask")
"""


@pytest.fixture
def gate(monkeypatch, tmp_path):
    """A file for which the stand-in of the command waits before it thresholds the image."""
    path = tmp_path / "gate"

    def launch(arguments, log_file):
        _, _, source, _, output, _, run = arguments
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(log_file, "ab") as log:
            command = [sys.executable, "-c", PROGRAM, source, output, run, str(path)]
            return subprocess.Popen(command, stdout=log, stderr=log)

    monkeypatch.setattr(children, "launch", launch)
    return path


@pytest.fixture
def dock(make_napari_viewer, tmp_path):
    dock = make_napari_viewer().window.add_plugin_dock_widget("napari-unimiss", "Predict")[1]
    dock.form.field("model").value = tmp_path
    return dock


@pytest.fixture
def scan(dock):
    """A layer that says all about itself."""
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    geometry = Geometry.from_spacing(array.shape, (3.0, 1.0, 2.0))
    layer = dock.viewer.add_layer(Layer.create(*image_layers(Image(array[None], geometry), "scan")[0]))
    dock.form.field("image").value = layer
    return layer


def until_it_waits(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: "Started." in dock.panel.log.toPlainText(), timeout=WAIT)


def until_the_end(qtbot, dock) -> str:
    qtbot.waitUntil(lambda: not dock.panel.job.running, timeout=WAIT)
    assert dock.panel.status.text() == dock.panel.log.toPlainText().splitlines()[-1]
    return dock.panel.status.text()


def test_a_layer_that_says_how_it_lies_is_a_plain_success(qtbot, dock, scan, gate):
    gate.touch()
    dock.start()
    assert dock.panel.status.text() == ""
    assert until_the_end(qtbot, dock) == "Finished: the mask lies on scan."
    assert GREEN in dock.panel.status.styleSheet()
    np.testing.assert_array_equal(dock.viewer.layers[-1].data, scan.data > 0.5)


@pytest.mark.parametrize("order", ["layer's own order", "anatomical order"])
def test_the_mask_lies_on_an_oblique_mirrored_volume(qtbot, dock, oblique, gate, order):
    if order == "anatomical order":
        change = oblique.geometry.to_anatomical()
        oblique = Image(change.apply(oblique.array), oblique.geometry.reoriented(change))
    layer = dock.viewer.add_layer(Layer.create(*image_layers(oblique, "scan")[0]))
    dock.form.field("image").value = layer
    gate.touch()
    dock.start()
    assert until_the_end(qtbot, dock) == "Finished: the mask lies on scan."
    mask = dock.viewer.layers[-1]
    np.testing.assert_array_equal(mask.data, layer.data > 0.5)
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * (np.array(layer.data.shape) - 1)
        np.testing.assert_allclose(mask.data_to_world(index), layer.data_to_world(index), atol=1e-9)


def test_what_was_assumed_of_a_layer_is_said_from_start_to_end(qtbot, dock, gate):
    layer = dock.viewer.add_image(np.random.default_rng(0).random((4, 5, 6)), name="foreign")
    dock.form.field("image").value = layer
    dock.start()
    assert "head, back, left with voxels of 1 x 1 x 1 mm" in dock.panel.status.text()
    assert AMBER in dock.panel.status.styleSheet()
    gate.touch()
    status = until_the_end(qtbot, dock)
    assert status.startswith("Finished: the mask lies on foreign. The layer does not say how it lies")
    assert AMBER in dock.panel.status.styleSheet()


def test_the_mask_follows_a_layer_that_was_moved(qtbot, dock, scan, gate):
    wanted = scan.data > 0.5
    dock.start()
    until_it_waits(qtbot, dock)
    scan.translate = (10, 20, 30)
    scan.data[:] = 0  # the job has its own copy
    gate.touch()
    assert until_the_end(qtbot, dock).startswith("Finished")
    mask = dock.viewer.layers[-1]
    np.testing.assert_array_equal(mask.data, wanted)
    assert geometry_of(mask).difference(geometry_of(scan)) is None


@pytest.mark.parametrize("change", ["another grid", "removed", "other units"])
def test_the_mask_lies_where_its_image_was(qtbot, dock, scan, gate, change):
    wanted, place = scan.data > 0.5, geometry_of(scan)
    dock.start()
    until_it_waits(qtbot, dock)
    if change == "another grid":
        scan.data = np.zeros((7, 8, 9))
        scan.translate = (10, 20, 30)
    elif change == "removed":
        dock.viewer.layers.remove(scan)
    else:
        scan.units = ("s", "mm", "mm")
    gate.touch()
    assert until_the_end(qtbot, dock).startswith("Finished")
    mask = dock.viewer.layers[-1]
    np.testing.assert_array_equal(mask.data, wanted)
    assert geometry_of(mask).difference(place) is None


def test_a_mask_that_cannot_be_added_is_no_success(qtbot, dock, scan, gate, monkeypatch):
    def add_layer(*_):
        raise ValueError("no room")

    gate.touch()
    dock.start()
    monkeypatch.setattr(ViewerModel, "add_layer", add_layer)
    status = until_the_end(qtbot, dock)
    assert "no room" in status
    assert RED in dock.panel.status.styleSheet()
    assert "Finished" not in dock.panel.log.toPlainText()


def test_the_field_of_the_model_says_that_several_may_decide_together(dock):
    field = dock.form.field("model")
    assert "a folder of runs, which decide together" in getattr(field, "native", field).toolTip()


def test_a_model_that_classifies_says_its_probabilities(qtbot, dock, scan, gate, monkeypatch):
    mask = "unimiss.write(image.with_array((image.array[:1] > 0.5).astype(np.uint8)), output / source.name)"
    table = (
        "output.mkdir(); (output / 'predictions.csv').write_text("
        "'image,label,healthy,ill\\nimage.nii,ill,0.214000,0.786000\\n')"
    )
    assert mask in PROGRAM
    monkeypatch.setitem(globals(), "PROGRAM", PROGRAM.replace(mask, table))
    gate.touch()
    dock.start()
    assert until_the_end(qtbot, dock) == "Finished: ill 79%, healthy 21%."
    assert len(dock.viewer.layers) == 1


def test_classes_that_overlap_are_a_layer_each(qtbot, dock, scan, gate, monkeypatch):
    mask = "unimiss.write(image.with_array((image.array[:1] > 0.5).astype(np.uint8)), output / source.name)"
    planes = (
        "unimiss.write(image.with_array(np.concatenate([image.array > 0.5, image.array > 0.2]).astype(np.uint8)),"
        " output / source.name)\n"
        '    (output / \'labels.json\').write_text(\'{"0": "background", "1": "heart", "2": "lungs"}\')'
    )
    assert mask in PROGRAM
    monkeypatch.setitem(globals(), "PROGRAM", PROGRAM.replace(mask, planes))
    gate.touch()
    dock.start()
    assert until_the_end(qtbot, dock) == "Finished: masks of 2 classes lie on scan."
    heart, lungs = list(dock.viewer.layers)[1:]
    assert (heart.name, lungs.name) == ("scan mask: heart", "scan mask: lungs")
    np.testing.assert_array_equal(heart.data, scan.data > 0.5)
    np.testing.assert_array_equal(lungs.data, 2 * (scan.data > 0.2))


def test_lazy_data_that_cannot_be_read_is_a_sentence(qtbot, dock, gate):
    def block(values, block_info=None):
        if block_info[0]["chunk-location"][0] == 5:
            raise OSError("the disk is gone")
        return values

    data = da.zeros((6, 5, 4), chunks=(1, 5, 4))
    data = data.map_blocks(block, dtype=data.dtype, meta=np.zeros((0, 0, 0)))
    layer = dock.viewer.add_image(data, name="lazy", contrast_limits=(0, 1))
    dock.form.field("image").value = layer
    dock.start()
    assert until_the_end(qtbot, dock) == "The layer lazy cannot be read (OSError: the disk is gone)."


def test_cheap_checks_come_before_the_image(dock, scan, monkeypatch):
    monkeypatch.setattr(layers, "placement_of", None)
    dock.form.field("model").value = None
    dock.start()
    assert "Choose the run folder" in dock.form.complaint("model")
    assert jobs.current() is None
