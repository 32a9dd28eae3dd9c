import json

import numpy as np
import pytest
from npe2 import PluginManager

import unimiss
from napari_unimiss.reader import get_reader, read_layers
from unimiss import Geometry, Image

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


def test_manifest_offers_everything():
    manager = PluginManager.instance()
    manager.discover()  # as a viewer does, which no test may have made yet
    manifest = manager.get_manifest("napari-unimiss")
    assert manifest.display_name == "UniMiSS"
    assert [w.display_name for w in manifest.contributions.widgets] == ["Pre-train", "Fine-tune", "Predict"]
    assert len(manifest.contributions.sample_data) == 2


@pytest.mark.parametrize("path", ["scan.czi", "notes.txt", [], ["a.nii", "b.czi"]])
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


@pytest.mark.parametrize(
    ("values", "is_mask"),
    [([0, 1], True), ([0.0, 1.0], True), ([0, 2], False), ([-1, 1], False), ([0.5, 1.0], False)],
)
def test_only_masks_open_as_masks(tmp_path, values, is_mask):
    array = np.resize(
        np.array(values, np.float32 if isinstance(values[0], float) else np.int16), (1, 3, 4, 5)
    )
    unimiss.write(Image(array, Geometry.from_spacing((3, 4, 5))), tmp_path / "scan.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps({"1": "liver"}))
    ((_, _, kind),) = read_layers(tmp_path / "scan.nii.gz")
    assert kind == ("labels" if is_mask else "image")


@pytest.mark.parametrize("folder", ["labelsTr", "labelsTs", "labels", "masks"])
@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "liver"}, {"background": 0, "liver": 1}], ids=["Decathlon", "nnU-Net"]
)
def test_masks_of_a_data_set_open_with_its_names(tmp_path, folder, labels):
    mask = Image(np.ones((1, 3, 4, 5), np.uint8), Geometry.from_spacing((3, 4, 5)))
    unimiss.write(mask, tmp_path / folder / "case.nii.gz")
    unimiss.write(mask, tmp_path / "imagesTr" / "case.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    ((_, options, kind),) = read_layers(tmp_path / folder / "case.nii.gz")
    assert kind == "labels"
    assert options["metadata"]["unimiss"]["labels"] == {0: "background", 1: "liver"}
    assert read_layers(tmp_path / "imagesTr" / "case.nii.gz")[0][2] == "image"


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"labels": {"a": Infinity}}', '{"labels": {"organ": [1, 2]}}', '{"name": "x"}']
)
def test_odd_descriptions_of_a_data_set_name_nothing(tmp_path, text):
    mask = Image(np.ones((1, 3, 4, 5), np.uint8), Geometry.from_spacing((3, 4, 5)))
    unimiss.write(mask, tmp_path / "masks" / "case.nii.gz")
    (tmp_path / "dataset.json").write_text(text)
    assert read_layers(tmp_path / "masks" / "case.nii.gz")[0][2] == "image"


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


def test_channels_that_are_named_classes_open_as_masks_and_probabilities_beside_them_as_images(
    tmp_path, oblique
):
    planes = np.concatenate([oblique.array > 0, oblique.array > 500])
    unimiss.write(oblique.with_array(planes.astype(np.uint8)), tmp_path / "a.nii")
    unimiss.write(oblique.with_array(planes * np.float32(0.7)), tmp_path / "a_probabilities.nii")
    (tmp_path / "labels.json").write_text('{"0": "background", "1": "heart", "2": "lungs"}')
    masks = read_layers(tmp_path / "a.nii")
    assert [(options["name"], kind) for _, options, kind in masks] == [
        ("a: heart", "labels"),
        ("a: lungs", "labels"),
    ]
    assert [set(np.unique(data)) for data, _, _ in masks] == [{0, 1}, {0, 2}]
    assert {kind for _, _, kind in read_layers(tmp_path / "a_probabilities.nii")} == {"image"}


def test_a_class_in_a_folder_of_its_name_opens_as_a_mask_and_a_picture_there_as_an_image(tmp_path):
    grid = Geometry.from_spacing((6, 8), units="pixel")
    plane = np.zeros((1, 6, 8), np.uint8)
    plane[..., :4] = 255
    (tmp_path / "labels.json").write_text('{"0": "background", "1": "heart", "2": "lungs"}')
    for name in ("heart/a", "lungs/a", "bones/a"):
        unimiss.write(Image(plane, grid), tmp_path / f"{name}.png")
    unimiss.write(Image(plane // 2, grid), tmp_path / "lungs" / "film.png")
    layers = read_layers([tmp_path / "heart" / "a.png", tmp_path / "lungs" / "a.png"])
    assert [(options["name"], kind) for _, options, kind in layers] == [
        ("a: heart", "labels"),
        ("a: lungs", "labels"),
    ]
    assert [set(np.unique(data)) for data, _, _ in layers] == [{0, 1}, {0, 2}]
    assert layers[1][1]["metadata"]["unimiss"]["labels"] == {2: "lungs"}
    for other in ("bones/a.png", "lungs/film.png"):
        assert read_layers(tmp_path / other)[0][2] == "image"
