"""Sliding windows and the way back to the image's grid: by slabs as if all were held at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from unimiss.inference import resizing
from unimiss.inference.resizing import resized
from unimiss.inference.windows import starts_of, window_scores, window_slabs, windows_at_once


class Local(nn.Module):
    """Three scores of each voxel, which depend on where it lies in the window."""

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, x.shape[-1])
        return torch.cat([x[:, :1], x[:, :1] * ramp, x.mean(dim=1, keepdim=True).cos()], dim=1)


@pytest.mark.parametrize(
    ("grid", "patch"),
    [
        ((37, 30, 25), (16, 16, 8)),
        ((16, 30, 8), (16, 16, 8)),
        ((15, 7, 25), (16, 16, 8)),  # smaller than a window by one, and by an odd number
        ((50, 41), (16, 32)),
        ((9, 41), (16, 32)),
    ],
)
def test_slabs_together_are_what_monai_makes_of_the_whole(grid, patch):
    image = torch.randn(2, *grid, generator=torch.Generator().manual_seed(0))
    options = {"overlap": 0.5, "mode": "gaussian", "padding_mode": "constant", "cval": float(image.min())}
    whole = sliding_window_inference(image[None], patch, 2, Local(), **options)[0]
    slabs = list(window_slabs(Local(), image, patch, "32-true"))
    assert len(slabs) == len({start[0] for start in starts_of(grid, patch)})
    assert all(slab.shape[1] <= patch[0] for slab in slabs)
    torch.testing.assert_close(torch.cat(slabs, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [8, 25, 24])
def test_the_mirror_image_gives_mirrored_scores_in_sums_of_one_image(width):
    """Windows at the right edge lie closer together than at the left, so both orders of them count."""
    image = torch.randn(2, 18, width, generator=torch.Generator().manual_seed(0))
    plain, other = (
        torch.cat(list(window_slabs(Local(), one, (8, 8), "32-true", mirror=True)), dim=1)
        for one in (image, image.flip(-1))
    )
    torch.testing.assert_close(other.flip(-1), plain, atol=1e-5, rtol=1e-5)
    alone = torch.cat(list(window_slabs(Local(), image, (8, 8), "32-true")), dim=1)
    assert not torch.allclose(alone, plain, atol=1e-2)


def test_progress_ends_at_one_and_never_goes_back():
    shares: list[float] = []
    window_scores(Local(), torch.randn(1, 40, 40, 40), (16, 16, 16), "32-true", shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("shape", [(41, 20, 31), (9, 20, 31), (23, 11, 14), (1, 30, 14)])
def test_scores_are_resized_to_the_bit_alike_however_they_are_cut(shape, monkeypatch):
    scores = torch.randn(3, 23, 11, 14, generator=torch.Generator().manual_seed(1))
    (whole,) = resized([scores], 23, shape)
    monkeypatch.setattr(resizing, "_MOST_VALUES", 3 * 2 * shape[1] * shape[2])  # two rows at a time
    for sizes in ([23], [1] * 23, [10, 1, 12]):
        pieces = list(resized(iter(scores.split(sizes, dim=1)), 23, shape))
        assert all(piece.shape[1] <= 2 for piece in pieces)
        assert torch.equal(torch.cat(pieces, dim=1), whole)
    mode = {"mode": "trilinear", "align_corners": False}
    torch.testing.assert_close(
        whole, F.interpolate(scores[None], size=shape, **mode)[0], atol=1e-5, rtol=1e-5
    )
    if shape == scores.shape[1:]:
        assert torch.equal(whole, scores)


def test_flat_scores_are_resized_too():
    scores = torch.randn(3, 23, 11)
    found = torch.cat(list(resized(scores.split(5, dim=1), 23, (40, 9))), dim=1)
    expected = F.interpolate(scores[None], size=(40, 9), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_windows_go_together_as_far_as_memory_allows(monkeypatch):
    cpu = torch.device("cpu")
    assert windows_at_once((16, 32, 32), cpu) > 1
    assert windows_at_once((96, 192, 192), cpu) == 1
    memory = type("Memory", (), {"available": 40 * 2**20})
    monkeypatch.setattr("unimiss.inference.windows.psutil.virtual_memory", lambda: memory)
    assert windows_at_once((16, 32, 32), cpu) == 2
