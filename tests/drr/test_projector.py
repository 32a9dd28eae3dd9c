"""Line integrals against closed forms; the rays of the test are worked out here, apart from the engine's."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from unimiss.drr import PARALLEL, VIEWS, Beam, Detector, View, project
from unimiss.errors import InputError
from unimiss.geometry import Geometry

NAMES = tuple(VIEWS)
BEAMS = {"cone": Beam(), "parallel": PARALLEL}
TURNED = View(
    beam=(0, -math.cos(0.5), math.sin(0.5)), down=(-1, 0, 0), right=(0, math.sin(0.5), math.cos(0.5))
)


def centred(shape, spacing, degrees=0.0):
    """Grid around the world's origin, turned about a skew axis."""
    k = np.array([0.6, 0.48, 0.64])
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.deg2rad(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.asarray(spacing)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, matrix)


def places(geometry):
    """World coordinates of all voxels, (D, H, W, 3)."""
    return geometry.to_world(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1))


def rays(view, beam, detector):
    """A point on each ray and its direction, (rows, columns, 3), about the origin."""
    towards, down, right = (np.array(v, dtype=float) for v in (view.beam, view.down, view.right))
    rows, columns = ((np.arange(n) - (n - 1) / 2) * detector.pixel for n in detector.shape)
    pixels = rows[:, None, None] * down + columns[None, :, None] * right
    if beam.parallel:
        return pixels, np.broadcast_to(towards, pixels.shape)
    source = -beam.source_object * towards
    pixels = pixels + (beam.source_detector - beam.source_object) * towards
    directions = pixels - source
    return pixels, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def distance(point, view, beam, detector):
    """From each ray to a point, mm, (rows, columns)."""
    starts, directions = rays(view, beam, detector)
    return np.linalg.norm(np.cross(np.asarray(point) - starts, directions), axis=-1)


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)[None, None]


def shot(values, geometry, view, beam, detector, **options):
    return project(tensor(values), geometry, view, beam, detector=detector, **options)[0, 0].numpy()


def blob(geometry, centre, sigma):
    return np.exp(-((places(geometry) - centre) ** 2).sum(-1) / (2 * sigma**2))


@pytest.mark.parametrize("name", NAMES)
def test_a_block_is_as_long_as_the_way_through_it(name):
    geometry = Geometry.from_spacing((20, 30, 26), (2.5, 1.5, 2.0))
    view, detector = VIEWS[name], Detector((9, 11), 1.7)  # all rays enter and leave by opposite faces
    thickness = abs(np.dot(view.beam, np.multiply(geometry.shape, geometry.spacing)))
    block = np.full(geometry.shape, 0.5)
    np.testing.assert_allclose(shot(block, geometry, view, PARALLEL, detector), 0.5 * thickness, rtol=1e-6)
    _, directions = rays(view, Beam(), detector)
    expected = 0.5 * thickness / (directions @ np.array(view.beam, dtype=float))
    np.testing.assert_allclose(shot(block, geometry, view, Beam(), detector, step=3.3), expected, rtol=1e-6)


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_rays_at_an_angle_are_clipped_exactly_to_the_block(beam):
    geometry = centred((20, 30, 26), (2.5, 1.5, 2.0), 25)
    detector = Detector.covering(geometry, TURNED, beam)
    starts, directions = rays(TURNED, beam, detector)
    inverse = np.linalg.inv(geometry.matrix[:3, :3] / geometry.spacing)  # into the block's own axes
    half = np.multiply(geometry.shape, geometry.spacing) / 2
    crossings = np.stack([(side * half - starts @ inverse.T) / (directions @ inverse.T) for side in (-1, 1)])
    expected = np.maximum(crossings.max(0).min(-1) - crossings.min(0).max(-1), 0)
    found = shot(np.ones(geometry.shape), geometry, TURNED, beam, detector, step=7)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert (found == 0).any()
    assert not found[[0, -1]].max() > 0.5 * found.max(), "the detector does not reach beyond the shadow"


def test_a_slab_inside_air_keeps_its_thickness():
    geometry = Geometry.from_spacing((40, 30, 30), (1.0, 2.0, 2.0))
    values = np.zeros(geometry.shape)
    values[12:29] = 1
    for step in (1.0, 0.13):
        found = shot(values, geometry, "axial", Beam(1e7, 1e7 + 100), Detector((5, 5), 2.0), step=step)
        np.testing.assert_allclose(found, 17, rtol=1e-4)
    np.testing.assert_allclose(
        shot(values, geometry, "axial", PARALLEL, Detector((5, 5), 2.0)), 17, rtol=1e-6
    )


@pytest.mark.parametrize("view", [*VIEWS.values(), TURNED], ids=[*NAMES, "turned"])
@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_a_sphere_casts_its_chords(view, beam):
    geometry, radius, centre = centred((56, 56, 56), (1.5, 1.5, 1.5)), 30.0, np.array([4.0, -5.0, 3.0])
    offsets = (np.arange(4) - 1.5) / 4 * 1.5  # anti-aliased: 64 points in each voxel
    x = places(geometry) - centre
    shares = [
        ((x + np.array(o)) ** 2).sum(-1) < radius**2
        for o in np.stack(np.meshgrid(*[offsets] * 3), -1).reshape(-1, 3)
    ]
    detector = Detector((31, 31), 2.3)
    found = shot(np.mean(shares, 0), geometry, view, beam, detector)
    d = distance(centre, view, beam, detector)
    expected = 2 * np.sqrt(np.maximum(radius**2 - d**2, 0))
    error = np.abs(found - expected)
    assert error[d < radius - 6].max() < 0.4  # mm, of up to 60
    assert found.sum() == pytest.approx(expected.sum(), rel=2e-3)  # the edge is blurred, not moved
    assert error[d > radius + 3].max() == 0


@pytest.mark.parametrize("degrees", [0, 17, 50])
@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_soft_blob_in_an_anisotropic_oblique_volume(name, beam, degrees):
    """Also says that the rotation of a grid is respected: the answer does not depend on it."""
    geometry, centre, sigma = centred((44, 64, 52), (2.0, 1.3, 1.6), degrees), np.array([5.0, -7.0, 9.0]), 9.0
    detector = Detector((25, 25), 2.4)
    found = shot(blob(geometry, centre, sigma), geometry, name, beam, detector)
    expected = (
        sigma
        * math.sqrt(2 * math.pi)
        * np.exp(-(distance(centre, VIEWS[name], beam, detector) ** 2) / (2 * sigma**2))
    )
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())


@pytest.mark.parametrize("depth", [-25.0, 0.0, 25.0])
def test_shadows_lie_where_the_magnification_puts_them(depth):
    geometry, beam = centred((60, 60, 60), (2.0, 2.0, 2.0)), Beam(900, 1100)
    up, left = 21.0, 27.0
    found = shot(blob(geometry, (up, depth, left), 6), geometry, "frontal", beam, Detector((80, 80), 1.5))
    index = np.arange(80) - 39.5
    row, column = (found.sum(axis) @ index / found.sum() for axis in (1, 0))
    magnification = 1100 / (900 - depth)  # the source is behind the patient, and y grows towards the back
    assert column * 1.5 == pytest.approx(left * magnification, abs=0.15)
    assert row * 1.5 == pytest.approx(-up * magnification, abs=0.15)


def test_parallel_is_the_limit_of_a_far_source():
    geometry, detector = centred((40, 36, 44), (2.0, 1.5, 1.5), 10), Detector((30, 30), 2.0)
    values = blob(geometry, (3, 4, 5), 8)
    parallel = shot(values, geometry, "lateral", PARALLEL, detector, step=0.5)
    gaps = [
        np.abs(shot(values, geometry, "lateral", Beam(far, far + 50), detector, step=0.5) - parallel).max()
        for far in (1e3, 1e4, 1e6)
    ]
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]
    assert gaps[2] < 1e-3 * parallel.max()


def test_sums_along_an_axis_equal_steps_along_it():
    geometry, detector = centred((40, 36, 44), (2.0, 1.5, 1.5)), Detector((30, 30), 2.1)
    values = np.random.default_rng(0).random(geometry.shape)
    tilted = View(
        beam=(0, -math.cos(1e-4), math.sin(1e-4)), down=(-1, 0, 0), right=(0, math.sin(1e-4), math.cos(1e-4))
    )
    summed = shot(values, geometry, "frontal", PARALLEL, detector)
    stepped = shot(values, geometry, tilted, PARALLEL, detector, step=0.05)
    np.testing.assert_allclose(stepped, summed, atol=5e-3 * summed.max())


def test_smaller_steps_come_closer():
    geometry, detector = centred((40, 36, 44), (2.0, 1.5, 1.5)), Detector((30, 30), 2.0)
    values = np.random.default_rng(0).random(geometry.shape)
    values = torch.as_tensor(values)[None, None]
    exact, *found = (
        project(values, geometry, detector=detector, step=step) for step in (0.02, 2.0, 1.0, 0.5, 0.25)
    )
    errors = [float((lines - exact).square().mean().sqrt()) for lines in found]
    assert all(after < before / 2 for before, after in pairwise(errors))
    assert errors[1] < 5e-3 * float(exact.mean())  # of white noise, the worst that a volume can hold


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_gradients_are_those_of_a_linear_map(beam):
    geometry, detector = centred((4, 5, 3), (2.0, 1.5, 1.0), 20), Detector((3, 4), 1.2)
    volume = torch.rand(2, 1, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: project(v, geometry, TURNED, beam, detector=detector, chunk=9), volume
    )


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_the_gradient_of_a_pixel_is_its_way_through_each_voxel(beam):
    geometry, detector = Geometry.from_spacing((12, 14, 10), (2.0, 1.5, 1.0)), Detector((5, 5), 1.0)
    volume = torch.ones(1, 1, 12, 14, 10, requires_grad=True)
    lines = project(volume, geometry, "frontal", beam, detector=detector)
    lines[0, 0, 2, 2].backward()
    assert float(volume.grad.sum()) == pytest.approx(21, rel=1e-5)  # the whole path
    touched = volume.grad[0, 0].sum((0, 2))
    np.testing.assert_allclose(touched, 1.5, rtol=0.4 if not beam.parallel else 1e-6)  # 1.5 mm in every row
    assert int((volume.grad[0, 0].sum(1) > 0).sum()) == 4  # the middle ray runs between four columns


def test_a_batch_equals_its_volumes_and_chunks_change_nothing():
    geometry = centred((12, 14, 10), (2.0, 1.5, 1.0), 10)
    volumes = torch.rand(3, 1, *geometry.shape)
    whole = project(volumes, geometry)
    singles = torch.cat([project(volume[None], geometry) for volume in volumes])
    torch.testing.assert_close(whole, singles, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole, project(volumes, geometry, chunk=100), rtol=1e-5, atol=1e-6)


def test_chunks_change_no_gradient():
    geometry = centred((12, 14, 10), (2.0, 1.5, 1.0), 10)
    gradients = []
    for chunk in (100, 1 << 20):
        volume = torch.ones(1, 1, *geometry.shape, requires_grad=True)
        project(volume, geometry, chunk=chunk).square().sum().backward()
        gradients.append(volume.grad)
    torch.testing.assert_close(*gradients)


def test_the_detector_can_miss_the_volume_and_half_precision_is_raised():
    geometry = centred((6, 6, 6), (1.0, 1.0, 1.0))
    lines = project(
        torch.ones(1, 1, 6, 6, 6, dtype=torch.bfloat16), geometry, detector=Detector((2, 2), 500.0)
    )
    assert lines.dtype == torch.float32
    assert not lines.any()


@pytest.mark.parametrize("side", [50, 224])
def test_a_detector_of_so_many_pixels_covers_the_shadow(side):
    geometry = centred((30, 40, 20), (3.0, 1.0, 2.0), 15)
    detector = Detector.covering(geometry, VIEWS["lateral"], Beam(), side)
    assert min(detector.shape) == side
    wider = Detector((detector.shape[0] + 20, detector.shape[1] + 20), detector.pixel)
    lines = project(torch.ones(1, 1, 30, 40, 20), geometry, "lateral", detector=wider)[0, 0]
    assert float(lines.sum()) == pytest.approx(float(lines[10:-10, 10:-10].sum()), rel=1e-6)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda v, g: project(v[0], g),
        lambda v, g: project(v[..., 1:], g),
        lambda v, g: project(v, g, "from above"),
        lambda v, g: project(v, g, step=0),
        lambda v, g: project(v, g, step=float("nan")),
        lambda v, g: project(v, g, beam=Beam(3, 10)),
        lambda v, g: Beam(10, 3),
        lambda v, g: Beam(10, math.inf),
        lambda v, g: Detector((0, 3)),
        lambda v, g: Detector((1 << 20, 1 << 20)),
        lambda v, g: View((1, 0, 0), (1, 0, 0), (0, 0, 1)),
        lambda v, g: Detector.covering(g, VIEWS["axial"], short_side=0),
    ],
)
def test_mistakes_are_named(mistake):
    with pytest.raises(InputError):
        mistake(torch.ones(1, 1, 6, 6, 6), centred((6, 6, 6), (2.0, 2.0, 2.0)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU with CUDA")
@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
@pytest.mark.parametrize("degrees", [0, 20])
def test_a_gpu_gives_the_same_lines_and_gradients(beam, degrees):
    geometry, found = centred((24, 28, 20), (2.0, 1.5, 1.0), degrees), {}
    values = torch.rand(2, 1, 24, 28, 20)
    for device in ("cpu", "cuda"):
        volume = values.to(device).requires_grad_()
        lines = project(volume, geometry, "lateral", beam)
        lines.square().sum().backward()
        found[device] = lines.detach().cpu(), volume.grad.cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-4, atol=1e-3)
