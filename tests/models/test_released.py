"""Networks of the official release: its outputs from its weights, by its names (numbers in tests/release)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unimiss.errors import InputError
from unimiss.models import released
from unimiss.models.release_names import VARIANTS

MANIFEST = json.loads((Path(__file__).parents[1] / "release" / "manifest.json").read_text())
CASES = [(v, c) for v, entry in MANIFEST.items() for c in entry.get("cases", []) if v in VARIANTS]


def test_every_network_of_the_manifest_is_known():
    assert set(VARIANTS) == {name for name, entry in MANIFEST.items() if "state_dict" in entry}
    assert len(VARIANTS) == 12


@pytest.fixture(scope="module", params=list(VARIANTS))
def variant(request):
    """Every test of one variant runs before the next variant: its network is built once, and alone in memory."""
    return request.param


@pytest.fixture(scope="module")
def weights(release, variant):
    return release.weights(variant)


@pytest.fixture(scope="module")
def network(variant, weights):
    return released.network(variant, weights)


def test_outputs_have_the_release_s_names_and_shapes_and_equal_its_stored_ones(release, variant, network):
    for case in MANIFEST[variant]["cases"]:
        with torch.inference_mode():
            outputs = network(release.image(variant, case))
        assert set(outputs) == set(case["outputs"]), case["case"]
        for name, output in outputs.items():
            expected, key = case["outputs"][name], f"{variant}/{case['case']}/{name}"
            assert list(output.shape) == expected["shape"], key
            assert output.isfinite().all(), key
            if key in release.golden:
                found = release.sample(key, output, expected["sampled"])
                assert np.abs(found - release.golden[key].ravel()).max() <= 1e-4, key
                assert float(output.mean()) == pytest.approx(expected["mean"], abs=1e-4), key
                assert float(output.std(correction=0)) == pytest.approx(expected["std"], abs=1e-4), key


@pytest.mark.parametrize("variant", ["segmentation2d_plus"], indirect=True)
def test_the_2d_segmentation_needs_the_release_s_reading_of_its_coarsest_maps(release, variant, network):
    (case,) = MANIFEST[variant]["cases"]
    network.network.rereads_coarsest = False
    with torch.inference_mode():
        output = network(release.image(variant, case))["logits"]
    network.network.rereads_coarsest = True
    key = f"{variant}/2d_224/logits"
    missed = np.abs(release.sample(key, output, 4096) - release.golden[key]).max()
    assert missed == pytest.approx(0.21, abs=0.01)


def test_every_stored_output_belongs_to_a_case(release):
    keys = {f"{v}/{c['case']}/{name}" for v, c in CASES for name in c["outputs"]}
    assert set(release.golden) <= keys
    assert len(release.golden) == 13


def test_names_go_to_ours_and_back_bit_for_bit(weights, network):
    back = network.release_state_dict()
    assert sorted(back) == sorted(weights)
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_no_weight_is_left_over_and_none_is_unused(variant, network):
    network.train()
    gain = 1024 if variant == "projection_head" else 0  # constant
    assert sum(p.numel() for p in network.parameters()) + gain == MANIFEST[variant]["parameters"]
    first = MANIFEST[variant]["cases"][0]
    for shape in {tuple(case["input_shape"][1:]) for case in MANIFEST[variant]["cases"]}:
        small = shape[:1] + tuple(min(size, 64) for size in shape[1:]) if len(shape) > 1 else shape
        sum(out.square().sum() for out in network(torch.randn(2, *small)).values()).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    network.zero_grad(set_to_none=True)
    network.eval()
    assert not unused, first


def test_a_network_is_recognised_by_its_names(variant):
    assert released.identify(
        name for name, _ in MANIFEST[variant]["state_dict"] if "weight_g" not in name
    ) == (variant)


def shapes(variant):
    return {name: torch.zeros(shape) for name, shape in MANIFEST[variant]["state_dict"]}


def test_a_missing_and_an_unknown_tensor_are_named():
    weights = shapes("classification3d_tiny")
    del weights["cls_tokens1"]
    weights["surprise"] = torch.zeros(1)
    with pytest.raises(
        InputError, match=r"classification3d_tiny.*1 missing.*cls_tokens1.*1 unknown.*surprise"
    ):
        released.identify(weights)
    with pytest.raises(InputError, match="cls_tokens1"):
        released.network("classification3d_tiny", weights)


def test_a_tensor_of_another_shape_is_named():
    weights = shapes("classification3d_tiny")
    weights["block1.0.mlp.fc1.weight"] = torch.zeros(5, 48)
    with pytest.raises(InputError, match="do not fit classification3d_tiny"):
        released.network("classification3d_tiny", weights)


def test_an_unknown_variant_is_named():
    with pytest.raises(InputError, match=r"'unimiss_huge'.*unimiss_tiny"):
        released.network("unimiss_huge", {})


def test_other_channels_classes_and_input_sizes_are_read_from_the_shapes():
    weights = shapes("segmentation3d_tiny")
    native, grids = (48, 192, 192), (24 * 48 * 48, 12 * 24 * 24, 6 * 12 * 12, 3 * 6 * 6)
    for stage, places in enumerate(grids, 1):
        name = f"transformer.pos_embed{stage}"
        weights[name] = torch.zeros(1, places, weights[name].shape[-1])
    for stage, places in enumerate(grids[2::-1]):
        name = f"DecPosEmbed{stage}"
        weights[name] = torch.zeros(1, places, weights[name].shape[-1])
    weights["transformer.patch_embed0.conv.weight"] = torch.zeros(32, 4, 7, 7, 7)
    for name in [name for name in weights if "cls_conv" in name]:
        weights[name] = torch.zeros(3, *weights[name].shape[1:])
    sizes = released.network("segmentation3d_tiny", weights).sizes
    assert sizes.native == {3: native}
    assert sizes.channels == {3: 4}
    assert sizes.classes == 3


def test_a_table_of_unknown_size_asks_for_the_input_size():
    weights = shapes("classification2d_plus")
    for stage, places in enumerate((32 * 32, 16 * 16, 8 * 8, 4 * 4), 1):
        name = f"pos_embed2D{stage}"
        weights[name] = torch.zeros(1, 1 + places, weights[name].shape[-1])
    with pytest.raises(InputError, match=r"1024 places.*--native"):
        released.network("classification2d_plus", weights)
    assert released.network("classification2d_plus", weights, {2: (128, 128)}).sizes.native == {2: (128, 128)}


def test_a_gain_other_than_one_is_refused(release):
    weights = release.weights("projection_head") | {"last_layer.weight_g": torch.full((1024, 1), 2.0)}
    with pytest.raises(InputError, match="weight_g"):
        released.network("projection_head", weights)
