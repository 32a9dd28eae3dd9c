"""The networks' convolutions, held to torch's in fp32."""

import pytest
import torch

from unimiss.models.convolution import convolution, up_convolution

STRIDED = [  # input channels, kernel, stride, padding, width of the input: all give one column
    (128, 3, 2, 1, 1),
    (128, 3, 2, 1, 2),
    (1, 3, 2, 1, 2),
    (128, 2, 2, 0, 3),
    (128, 4, 4, 0, 6),
]


def _leave_nan_in_freed_memory():
    sizes = (1 << power for power in range(8, 21, 2))
    kept = [torch.full((size,), torch.nan, dtype=torch.bfloat16) for size in sizes for _ in range(4)]
    del kept


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "width"), STRIDED)
def test_in_bf16_a_map_of_one_column_is_that_of_fp32(dimension, channels, kernel, stride, padding, width):
    torch.manual_seed(0)
    conv = convolution(dimension)(channels, 64, kernel, stride=stride, padding=padding, bias=False)
    x = torch.randn(2, channels, *(13,) * (dimension - 1), width, requires_grad=True)
    expected = conv(x)
    gradient = torch.randn_like(expected)
    expected_x, expected_weight = torch.autograd.grad(expected, (x, conv.weight), gradient)
    for _ in range(3):
        _leave_nan_in_freed_memory()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = conv(x)
        _leave_nan_in_freed_memory()
        found_x, weight = torch.autograd.grad(y, (x, conv.weight), gradient.to(y.dtype))
        assert y.dtype == torch.bfloat16
        assert y.shape[-1] == 1
        torch.testing.assert_close(y.float(), expected, atol=0.02, rtol=0.02)
        torch.testing.assert_close(weight, expected_weight, atol=0.1, rtol=0.02)
        torch.testing.assert_close(found_x, expected_x, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(96, 48), (48, 20), (256, 128)])
def test_in_bf16_a_column_that_is_enlarged_has_the_gradients_of_fp32(dimension, inputs, outputs):
    torch.manual_seed(0)
    layer = up_convolution(dimension, inputs, outputs, (2,) * dimension)
    x = torch.randn(2, inputs, *(4,) * (dimension - 1), 1, requires_grad=True)
    expected = layer(x)
    gradient = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, (x, layer.weight), gradient)
    for _ in range(3):
        _leave_nan_in_freed_memory()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(x)
        _leave_nan_in_freed_memory()
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), expected, atol=0.02, rtol=0.02)
        found = torch.autograd.grad(y, (x, layer.weight), gradient.to(y.dtype))
        torch.testing.assert_close(found, expected_gradients, atol=0.1, rtol=0.02)


@pytest.mark.parametrize("depth", [1, 4, 5, 6, 7, 8])
def test_thin_volumes_give_the_gradient_of_float64(depth):
    torch.manual_seed(0)
    conv = convolution(3)(1, 32, 7, stride=2, padding=3, bias=False)
    x = torch.randn(2, 1, depth, 16, 16)
    exact = conv.weight.detach().double().requires_grad_()
    expected = torch.nn.functional.conv3d(x.double(), exact, stride=2, padding=3)
    torch.testing.assert_close(conv(x).double(), expected, atol=1e-5, rtol=1e-4)
    (expected_weight,) = torch.autograd.grad(expected.sum(), exact)
    for _ in range(3):
        (weight,) = torch.autograd.grad(conv(x).sum(), conv.weight)
        torch.testing.assert_close(weight.double(), expected_weight, atol=1e-3, rtol=1e-4)


def test_a_grey_image_stands_for_one_repeated_to_every_channel():
    conv = convolution(2)(3, 8, 3, stride=2, padding=1)
    grey = torch.randn(2, 1, 9, 7)
    torch.testing.assert_close(conv(grey), conv(grey.repeat(1, 3, 1, 1)))


def test_an_image_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="2 channels meets a network for 3"):
        convolution(2)(3, 8, 3)(torch.randn(1, 2, 8, 8))
