import json

import numpy as np
import pytest
from npe2 import PluginManager

import unimiss
from napari_unimiss.reader import get_reader
from unimiss import Geometry, Image

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


def test_manifest_offers_everything():
    manifest = PluginManager.instance().get_manifest("napari-unimiss")
    assert manifest.display_name == "UniMiSS"
    assert [w.display_name for w in manifest.contributions.widgets] == ["Pre-train", "Fine-tune", "Predict"]
    assert len(manifest.contributions.sample_data) == 2


@pytest.mark.parametrize("path", ["scan.tif", "notes.txt", [], ["a.nii", "b.tif"]])
def test_other_files_are_left_to_others(path):
    assert get_reader(path) is None


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_volume_opens_in_its_place(make_napari_viewer, tmp_path, oblique, suffix):
    path = tmp_path / f"scan{suffix}"
    unimiss.write(oblique, path)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(path, plugin="napari-unimiss")
    image = unimiss.read(path)
    assert layer.name == "scan"
    np.testing.assert_array_equal(layer.data, image.array[0])
    for corner in [(0, 0, 0), tuple(size - 1 for size in layer.data.shape)]:
        np.testing.assert_allclose(layer.data_to_world(corner), image.geometry.to_world(corner), atol=1e-9)


def test_pictures_are_read_too(tmp_path):
    image = Image(
        np.arange(48, dtype=np.uint8).reshape(1, 6, 8), Geometry.from_spacing((6, 8), units="pixel")
    )
    unimiss.write(image, tmp_path / "film.png")
    ((data, options, kind),) = get_reader(tmp_path / "film.png")(tmp_path / "film.png")
    np.testing.assert_array_equal(data, image.array[0])
    assert (kind, options["units"]) == ("image", "pixel")


def test_predicted_mask_opens_with_its_names(make_napari_viewer, tmp_path, oblique):
    unimiss.write(oblique.with_array((oblique.array > 0).astype(np.uint8)), tmp_path / "scan.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps({"1": "liver"}))
    viewer = make_napari_viewer()
    (layer,) = viewer.open(tmp_path / "scan.nii.gz", plugin="napari-unimiss")
    assert layer.metadata["unimiss"]["labels"] == {1: "liver"}


def test_damaged_file_is_one_sentence(make_napari_viewer, tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"not a scan")
    viewer = make_napari_viewer()
    with pytest.raises(Exception, match=r"scan\.nii\.gz.* damaged"):
        viewer.open(path, plugin="napari-unimiss")
    assert not viewer.layers


@pytest.mark.parametrize(("key", "ndim"), [("ct", 3), ("radiograph", 2)])
def test_samples_open(make_napari_viewer, key, ndim):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-unimiss", key)
    assert layer.ndim == ndim
    assert float(np.ptp(layer.data)) > 50
