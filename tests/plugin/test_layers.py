import itertools

import numpy as np
import pytest
from conftest import oblique_geometry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from napari.layers.utils.stack_utils import stack_to_images

from napari_unimiss.layers import (
    assumption,
    geometry_of,
    image_layers,
    mask_layer_for,
    mask_layers,
    mask_layers_at,
    placement_of,
    to_image,
)
from unimiss import Geometry, Image
from unimiss.colours import class_colour
from unimiss.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


def corners(shape):
    return itertools.product(*[(0, size - 1) for size in shape])


def make(image: Image) -> Layer:
    (data, options, kind) = image_layers(image, "image")[0]
    return Layer.create(data, options, kind)


def assert_same_place(one: Layer, other: Layer) -> None:
    for corner in corners(one.data.shape[: one.ndim]):
        np.testing.assert_allclose(one.data_to_world(corner), other.data_to_world(corner), atol=1e-9)


def test_image_lies_where_its_geometry_says(oblique):
    layer = make(oblique)
    for corner in corners(oblique.geometry.shape):
        np.testing.assert_allclose(layer.data_to_world(corner), oblique.geometry.to_world(corner), atol=1e-9)
    np.testing.assert_allclose(layer.scale, oblique.geometry.spacing)
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    assert layer.axis_labels == ("z", "y", "x")


def test_mask_lies_on_oblique_mirrored_layer_voxel_for_voxel(oblique):
    layer = make(oblique)
    image = to_image(layer)
    assert image.geometry.orientation == "SPL"
    assert layer.data.shape != image.array.shape[1:]  # the layer's own order is another one
    mask = image.with_array((image.array > 500).astype(np.uint8), {1: "liver"})
    labels = mask_layer_for(layer, mask)
    np.testing.assert_array_equal(labels.data, layer.data > 500)
    assert_same_place(labels, layer)
    assert labels.units == layer.units
    assert labels.axis_labels == layer.axis_labels


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_mask_read_from_a_file_lies_on_the_layer(oblique, tmp_path, suffix):
    import unimiss

    layer = make(oblique)
    image = to_image(layer)
    unimiss.write(image, tmp_path / f"image{suffix}")
    again = unimiss.read(tmp_path / f"image{suffix}")
    unimiss.write(again.with_array((again.array > 500).astype(np.uint8)), tmp_path / f"mask{suffix}")
    labels = mask_layer_for(layer, unimiss.read(tmp_path / f"mask{suffix}"))
    np.testing.assert_array_equal(labels.data, layer.data > 500)
    assert_same_place(labels, layer)


def test_mask_of_a_layer_that_has_every_transformation():
    angle = np.deg2rad(30)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    layer = ImageLayer(
        np.random.default_rng(0).random((4, 5, 6)),
        scale=(-3, 0.5, 2),
        translate=(7, -8, 9),
        rotate=turn,
        shear=(0.1, 0.0, -0.2),
        affine=oblique_geometry().matrix,
        units=("um", "um", "um"),
    )
    image = to_image(layer)
    labels = mask_layer_for(layer, image.with_array((image.array > 0.5).astype(np.uint8)))
    np.testing.assert_array_equal(labels.data, layer.data > 0.5)
    assert_same_place(labels, layer)
    middle = np.array([1.0, 2.0, 3.0])
    stored = image.provenance.reorientation.inverse()
    in_layer_order = image.geometry.reoriented(stored)
    np.testing.assert_allclose(in_layer_order.to_world(middle), np.array(layer.data_to_world(middle)) / 1000)


@st.composite
def geometries(draw):
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turn, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = turn @ np.diag(rng.uniform(0.2, 6, ndim) * rng.choice([-1, 1], ndim))
    matrix[:ndim, ndim] = rng.uniform(-400, 400, ndim)
    return Geometry(shape, matrix, draw(st.sampled_from(["mm", "pixel"])))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(geometries())
def test_layer_to_image_to_layer(geometry):
    array = np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape)
    layer = make(Image(array[None], geometry))
    image = to_image(layer)
    np.testing.assert_array_equal(image.in_file_order()[0][0], array)
    assert geometry.difference(image.in_file_order()[1], 1e-6) is None
    assert image.geometry.units == geometry.units
    labels = mask_layer_for(layer, image)
    np.testing.assert_array_equal(labels.data, array)
    assert_same_place(labels, layer)
    again = make(image)
    for corner in corners(image.geometry.shape):
        np.testing.assert_allclose(again.data_to_world(corner), image.geometry.to_world(corner), atol=1e-9)


def test_colour_picture_is_one_layer_and_comes_back_as_three_channels():
    array = np.random.default_rng(0).integers(0, 255, (3, 7, 5)).astype(np.uint8)
    layer = make(Image(array, Geometry.from_spacing((7, 5), units="pixel")))
    assert layer.rgb
    np.testing.assert_array_equal(to_image(layer).array, array)
    mask = to_image(layer).with_array(array[:1] > 100)
    np.testing.assert_array_equal(mask_layer_for(layer, mask).data, array[0] > 100)


def test_transparency_is_dropped():
    layer = ImageLayer(np.zeros((6, 4, 4), np.uint8), rgb=True)
    assert to_image(layer).array.shape == (3, 6, 4)


def test_channels_are_layers_of_their_own():
    image = Image(np.zeros((2, 3, 4, 5)), Geometry.from_spacing((3, 4, 5)))
    assert [options["name"] for _, options, _ in image_layers(image, "mr")] == ["mr [1]", "mr [2]"]


def test_many_channels_are_one_layer_with_a_slider(make_napari_viewer, oblique):
    array = np.stack([oblique.array[0] + number for number in range(5)])
    ((data, options, kind),) = image_layers(Image(array, oblique.geometry), "series")
    layer = make_napari_viewer().add_layer(Layer.create(data, options, kind))
    np.testing.assert_array_equal(layer.data, array)
    assert layer.axis_labels == ("c", "z", "y", "x")
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    for corner in corners(oblique.geometry.shape):
        expected = (3, *oblique.geometry.to_world(corner))
        np.testing.assert_allclose(layer.data_to_world((3, *corner)), expected, atol=1e-9)
    with pytest.raises(InputError, match="Split Stack"):
        geometry_of(layer)
    one = stack_to_images(layer, 0)[2]  # napari keeps the spacing and forgets its unit
    np.testing.assert_allclose(geometry_of(one).spacing, oblique.geometry.spacing)
    assert "does not say how large its voxels are" in assumption(one)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "head, back, left with voxels of 1 x 1 x 1 mm. If that is wrong, open the file with UniMiSS."),
        ({"units": ("mm",) * 3, "scale": (2, 1, 1)}, "head, back, left. If"),
        ({"axis_labels": ("z", "y", "x"), "scale": (2.5, 1, 1)}, "voxels of 2.5 x 1 x 1 mm were assumed"),
        ({"axis_labels": ("z", "y", "x"), "units": ("mm",) * 3}, ""),
    ],
)
def test_what_a_volume_leaves_open_is_said(options, said):
    sentence = assumption(ImageLayer(np.zeros((3, 4, 5)), **options))
    assert said in sentence
    assert bool(sentence) is bool(said)


def test_our_own_layers_and_flat_pictures_leave_nothing_open(oblique):
    assert assumption(make(oblique)) == ""
    assert assumption(ImageLayer(np.zeros((3, 4)))) == ""


def test_time_series_is_refused_in_words():
    with pytest.raises(InputError, match=r"4 axes.*one time point"):
        to_image(ImageLayer(np.zeros((2, 3, 4, 5)), name="beating"))


def test_units_that_are_no_lengths_are_refused():
    with pytest.raises(InputError, match="second"):
        geometry_of(ImageLayer(np.zeros((3, 4, 5)), units=("s", "mm", "mm")))


def test_mask_from_elsewhere_is_refused(oblique):
    layer = make(oblique)
    moved = Geometry.from_spacing(oblique.geometry.shape)
    with pytest.raises(InputError, match="does not lie on"):
        mask_layer_for(layer, Image(np.zeros((1, *moved.shape), np.uint8), moved))


def test_ct_opens_in_a_soft_tissue_window(oblique):
    assert image_layers(oblique, "ct")[0][1]["contrast_limits"] == (-160, 240)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_constant_and_empty_images_have_a_display_window(fill):
    image = Image(np.full((1, 2, 3, 4), fill), Geometry.from_spacing((2, 3, 4)))
    low, high = image_layers(image, "flat")[0][1]["contrast_limits"]
    assert low < high


def test_masks_carry_names_and_colours(make_napari_viewer):
    values = np.array([[[0, 1], [7, 9]]], np.uint8)
    mask = Image(values, Geometry.from_spacing((2, 2), (3.0, 3.0)), labels={1: "liver", 7: "tumour"})
    (data, options, kind) = mask_layers(mask, "mask")[0]
    layer = make_napari_viewer().add_layer(Layer.create(data, options, kind))
    for place, value in enumerate((1, 7), start=1):
        np.testing.assert_allclose(layer.get_color(value)[:3], np.array(class_colour(place)) / 255, atol=0.01)
    assert layer.get_color(9) is not None  # a value without a name is visible too
    assert "class: liver" in layer.get_status((0, 3), world=True)["value"]
    assert "class: tumour" in layer.get_status((3, 0), world=True)["value"]
    assert layer.metadata["unimiss"]["labels"] == {1: "liver", 7: "tumour"}


def overlapping(image: Image, names=("heart", "lungs")) -> Image:
    planes = np.concatenate([image.array > 0, image.array > 500]).astype(np.uint8)
    return image.with_array(planes, {0: "background", **dict(enumerate(names, start=1))})


def test_classes_that_overlap_are_a_layer_each_with_its_own_name_and_colour(oblique):
    layer = make(oblique)
    place = placement_of(layer)
    made = mask_layers_at(place, place, overlapping(to_image(layer)), "scan")
    assert [labels.name for labels in made] == ["scan mask: heart", "scan mask: lungs"]
    for number, (labels, cut) in enumerate(zip(made, (0, 500), strict=True), start=1):
        np.testing.assert_array_equal(labels.data, np.where(layer.data > cut, number, 0))
        assert_same_place(labels, layer)
        np.testing.assert_allclose(
            labels.get_color(number)[:3], np.array(class_colour(number)) / 255, atol=0.01
        )
        assert labels.features.set_index("index")["class"][number] == ("heart", "lungs")[number - 1]


@pytest.mark.parametrize("fault", ["no names", "too few names", "other values"])
def test_channels_that_are_no_classes_are_never_shown_as_a_mask(oblique, fault):
    image = to_image(make(oblique))
    mask = overlapping(
        image, ("heart",)[: fault == "too few names"] if fault != "other values" else ("a", "b")
    )
    if fault == "other values":
        mask = mask.with_array(mask.array * np.uint8(3))
    with pytest.raises(InputError, match="2 channels, which are no classes"):
        mask_layer_for(make(oblique), mask)
    with pytest.raises(InputError, match="2 channels, which are no classes"):
        mask_layers(mask, "mask")
