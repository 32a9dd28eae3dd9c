"""What holds for all networks: any grid, any channels, less memory on request, compiled in one piece."""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from unimiss.errors import InputError
from unimiss.models import Backbone, ClassificationNetwork, SegmentationNetwork, create
from unimiss.models.presets import PRESETS
from unimiss.models.recompute import recompute
from unimiss.models.transfer import transfer

NETWORKS = ["tiny", "plus"]  # small is tiny with more blocks, which a test holds to
FLAT, VOLUME = {2: (64, 64)}, {3: (16, 64, 64)}
SMALL = {2: (32, 32), 3: (8, 32, 32)}  # where the grid does not matter
SHAPES = [  # grids and channels that the release cannot do; what is built alike stands together
    (1, (24, 48, 64)),
    (1, (7, 64, 48)),
    (3, (31, 50, 34)),
    (3, (16, 40, 72)),
    (1, (64, 96)),
    (1, (33, 45)),
    (3, (70, 131)),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def native(shape):
    return (FLAT | VOLUME)[len(shape)]


def test_small_is_tiny_with_more_blocks():
    tiny, small = PRESETS["tiny"], PRESETS["small"]
    assert min(small.depths + small.decoder_depths) > max(tiny.depths + tiny.decoder_depths)
    assert replace(small, depths=tiny.depths, decoder_depths=tiny.decoder_depths) == tiny


@pytest.fixture(scope="module")
def build():
    """Build the networks of some channels and axes once, with all outputs that there are."""

    @lru_cache(maxsize=1)  # the cases come in their order, and memory is short
    def make(network, channels, size):
        return (
            Backbone(network, {len(size): size}, {len(size): channels}, reconstruction=True).eval(),
            SegmentationNetwork(network, channels, 4, size).eval(),
            ClassificationNetwork(network, channels, 5, size).eval(),
        )

    return make


@pytest.mark.parametrize(
    ("network", "channels", "shape"),
    [(network, *case) for network in NETWORKS for case in SHAPES]
    + [("small", *SHAPES[2]), ("small", *SHAPES[-1])],
)
def test_every_network_takes_any_grid_and_channel_count(build, network, channels, shape):
    x = torch.randn(2, channels, *shape)
    backbone, segmentation, classification = build(network, channels, native(shape))
    with torch.inference_mode():
        vector, image = backbone.reconstruct(x)
        levels, scores = segmentation.levels(x), classification(x)
        assert torch.equal(segmentation(x), levels[0])
        assert torch.allclose(backbone(x), vector)
    assert vector.shape == (2, backbone.embed_dim)
    assert image.shape == x.shape
    assert levels[0].shape == (2, 4, *shape)
    assert len(levels) == 5
    assert scores.shape == (2, 5)
    assert all(out.isfinite().all() for out in (vector, image, scores, *levels))


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_for_one_dimension_hold_nothing_of_the_other(network):
    for built, other in ((FLAT, ".3d"), (VOLUME, ".2d")):
        names = [name for name, _ in Backbone(network, built, reconstruction=True).named_parameters()]
        assert names
        assert not any(other in name for name in names)


def test_a_backbone_that_only_represents_has_no_decoder_it_does_not_need():
    assert not any("decoder" in name for name, _ in Backbone("plus", FLAT).named_parameters())
    assert any("decoder" in name for name, _ in Backbone("tiny", FLAT).named_parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_grey_image_is_as_one_repeated_to_all_channels(network):
    backbone = Backbone(network, FLAT).eval()
    grey = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(grey), backbone(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_two_channels_for_a_network_of_three_are_refused():
    with pytest.raises(ValueError, match="2 channels"):
        Backbone("tiny", FLAT)(torch.randn(1, 2, 64, 64))


@pytest.mark.parametrize("network", NETWORKS)
def test_forgetting_activations_changes_no_gradient(network):
    model = SegmentationNetwork(network, 1, 3, SMALL[3], drop_path=0.3).train()
    x = torch.randn(2, 1, *SMALL[3])
    gradients = []
    for on in (False, True):
        recompute(model, on)
        torch.manual_seed(1)
        sum(level.square().mean() for level in model(x)).backward()
        gradients.append([p.grad for p in model.parameters()])  # none where both times a block was left out
        model.zero_grad(set_to_none=True)
    assert sum(gradient is not None for gradient in gradients[0]) > len(gradients[0]) / 2
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)


def saved_bytes(model, x):
    """Bytes that the forward pass keeps for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(kept.values()) - sum(p.untyped_storage().nbytes() for p in model.parameters())


def test_forgetting_activations_keeps_less_than_a_third():
    model = Backbone("tiny", VOLUME).train()
    x = torch.randn(2, 1, 16, 64, 64)
    everything = saved_bytes(model, x)
    recompute(model)
    assert saved_bytes(model, x) < everything / 3


@pytest.mark.parametrize("network", ["tiny", "plus"])  # small is tiny with more blocks
@pytest.mark.parametrize(("channels", "size"), [(1, SMALL[3]), (3, SMALL[2])])
def test_networks_compile_without_a_graph_break(network, channels, size):
    torch._dynamo.reset()
    x = torch.randn(2, channels, *size)
    for model in (
        Backbone(network, SMALL, drop_path=0.1),
        SegmentationNetwork(network, channels, 3, size),
        ClassificationNetwork(network, channels, 3, size),
    ):
        compiled = torch.compile(model.train(), fullgraph=True, backend="eager")
        out = compiled(x)
        (out[0] if isinstance(out, list) else out).sum().backward()


@pytest.mark.parametrize("source", NETWORKS)
@pytest.mark.parametrize(("channels", "size"), [(4, (8, 32, 48)), (1, (32, 80))])
def test_any_backbone_goes_into_any_task_at_any_grid(source, channels, size):
    backbone = Backbone(source, FLAT | VOLUME, reconstruction=source == "plus")
    x, target = torch.randn(2, channels, *size), torch.tensor([0, 1])
    for model in (
        SegmentationNetwork(source, channels, 2, size),
        ClassificationNetwork(source, channels, 2, size),
    ):
        report = transfer(model, backbone)
        assert not [name for name in report.new if name.startswith(("encoder", "decoder"))]
        assert not [name for name in report.loaded if name.startswith(("head", "deep"))]
        assert any(".position." in name for name in report.resized)
        assert any(".stem.0." in name for name in report.resized)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        losses = []
        for _ in range(3):
            out = model.train()(x)
            scores = out[0].flatten(2).mean(-1) if isinstance(out, list) else out
            loss = torch.nn.functional.cross_entropy(scores, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]


def test_the_last_layers_of_another_task_stay_there():
    fine_tuned = SegmentationNetwork("tiny", 1, 3, (16, 64, 64))
    model = SegmentationNetwork("tiny", 1, 3, (16, 64, 64))
    report = transfer(model, fine_tuned)
    assert not torch.equal(model.head.weight, fine_tuned.head.weight)
    assert {name.split(".")[0] for name in report.unused} == {"head", "deep_heads"}
    assert torch.equal(
        model.stem_decoder.upsamplings[0]["3d"].weight, fine_tuned.stem_decoder.upsamplings[0]["3d"].weight
    )


def test_weights_of_another_size_stay_out():
    small, tiny = Backbone("plus", FLAT), Backbone("tiny", FLAT)
    report = transfer(tiny, small)
    assert any(".position." in name for name in report.new)
    assert sorted(report.loaded + report.resized + report.new) == sorted(tiny.state_dict())


def test_input_that_the_network_was_not_built_for_is_told():
    with pytest.raises(ValueError, match="built for 2d"):
        Backbone("tiny", FLAT)(torch.randn(1, 1, 8, 32, 32))
    with pytest.raises(InputError, match=r"'huge'.*tiny"):
        create("huge")
