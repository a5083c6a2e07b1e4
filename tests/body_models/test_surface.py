"""Laws of points on a body's surface, of its normals and of tangent frames."""

import math

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, map_tensors
from human_avatars.body_models.surface import (
    SurfacePoints,
    sample_surface,
    surface_area,
    tangent_frames,
    triangle_areas,
    vertex_normals,
)

# A unit square in the plane z = 0 seen from above, its halves of areas 3/8 and 5/8, and a vertex nobody uses.
VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.75, 1, 0], [0, 1, 0], [9, 9, 9]], dtype=torch.float64)
FACES = torch.tensor([[0, 2, 3], [0, 1, 2]])
OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)]).double()
OCTANTS = torch.tensor([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_points(num_points: int) -> SurfacePoints:
    barycentric = torch.rand(num_points, 3, generator=generator(), dtype=torch.float64)
    triangles = torch.randint(len(OCTANTS), (num_points,), generator=generator())
    return SurfacePoints.in_triangles(OCTANTS, triangles, barycentric / barycentric.sum(-1, keepdim=True))


def test_interpolation_by_hand() -> None:
    barycentric = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [0.2, 0.3, 0.5]], dtype=torch.float64)
    points = SurfacePoints.in_triangles(FACES, torch.tensor([0, 1, 0]), barycentric)
    assert points.num_points == 3
    assert points.corners.tolist() == [[0, 2, 3], [0, 1, 2], [0, 2, 3]]
    expected = [[0, 0, 0], [0.875, 0.5, 0], [0.3 * 0.75, 0.8, 0]]
    assert_close(points.interpolate(VERTICES), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("channels", [1, 5])
def test_interpolation_is_the_weighted_sum_of_corners(batch: tuple[int, ...], channels: int) -> None:
    points = random_points(40)
    values = torch.randn(*batch, 8, channels, generator=generator(), dtype=torch.float64)
    expected = (points.barycentric[..., None] * values[..., points.corners, :]).sum(-2)
    assert_close(points.interpolate(values), expected)
    assert points.interpolate(values.float()).dtype == torch.float32


@pytest.mark.parametrize("num_points", [0, 1, 20])
def test_interpolation_has_the_numerical_gradient(num_points: int) -> None:
    points = random_points(num_points)
    # Two vertices more than the points need.
    values = torch.randn(2, 8, 3, generator=generator(), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(points.interpolate, (values,))
    assert torch.autograd.gradgradcheck(points.interpolate, (values,))


def test_points_follow_an_affine_motion() -> None:
    points = random_points(30)
    turn = torch.randn(3, 3, generator=generator(), dtype=torch.float64)
    assert_close(points.interpolate(OCTAHEDRON @ turn + 5), points.interpolate(OCTAHEDRON) @ turn + 5)


def test_some_of_the_points() -> None:
    points = random_points(10)
    chosen = points[points.triangles > 3]
    assert_close(chosen.interpolate(OCTAHEDRON), points.interpolate(OCTAHEDRON)[points.triangles > 3])
    assert points[2:5].num_points == 3


def test_a_copy_reads_its_own_points() -> None:
    points = random_points(10)
    values = OCTAHEDRON.clone().requires_grad_()
    points.interpolate(values).sum().backward()
    single = map_tensors(points, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    assert "_points_by_vertex" in vars(points)
    assert "_points_by_vertex" not in vars(single)


def test_sampled_points_lie_in_their_triangles(open_body: BodyModel) -> None:
    points = sample_surface(open_body.rest_template, open_body.faces, 5000, generator())
    assert points.num_points == 5000
    assert points.barycentric.dtype == open_body.rest_template.dtype
    assert (points.barycentric >= 0).all()
    assert_close(points.barycentric.sum(-1), torch.ones(5000))
    assert_close(points.corners, open_body.faces[points.triangles])
    assert (points.triangles.diff() >= 0).all()


@pytest.mark.parametrize("num_points", [100, 5000, 50_000])
def test_each_triangle_gets_its_share_of_points(open_body: BodyModel, num_points: int) -> None:
    points = sample_surface(open_body.rest_template, open_body.faces, num_points, generator())
    areas = triangle_areas(open_body.rest_template.double(), open_body.faces)
    counts = points.triangles.bincount(minlength=len(open_body.faces))
    assert ((counts - num_points * areas / areas.sum()).abs() < 2).all()


def test_points_are_uniform_inside_a_triangle() -> None:
    corners = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 3, 1]])
    weights = sample_surface(corners, torch.tensor([[0, 1, 2]]), 40_000, generator()).barycentric.double()
    # Of a uniform point every weight is 1/3 on average, 1/18 its variance, and the middle triangle holds a quarter.
    assert_close(weights.mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), rtol=0, atol=5e-3)
    assert_close(weights.var(0), torch.full((3,), 1 / 18, dtype=torch.float64), rtol=0, atol=1e-3)
    cells = (weights * 4).long().clamp(max=3) @ torch.tensor([16, 4, 1])
    counts = cells.unique(return_counts=True)[1].double()
    # Sixteen congruent triangles; the 99.9 % quantile of chi-square with 15 degrees of freedom is 37.7.
    assert len(counts) == 16
    assert ((counts - 2500).square() / 2500).sum() < 37.7


def test_sampling_is_decided_by_the_generator(open_body: BodyModel) -> None:
    first, again, other = (
        sample_surface(open_body.rest_template, open_body.faces, 100, generator(seed)) for seed in (3, 3, 4)
    )
    assert_close(first.barycentric, again.barycentric, rtol=0, atol=0)
    assert_close(first.triangles, again.triangles)
    assert not torch.equal(first.barycentric, other.barycentric)


def test_triangles_without_area_get_no_points() -> None:
    faces = torch.tensor([[0, 0, 1], [0, 1, 2], [3, 3, 3], [0, 2, 3], [1, 1, 1]])
    points = sample_surface(VERTICES, faces, 500, generator())
    assert set(points.triangles.tolist()) == {1, 3}


def test_areas_by_hand() -> None:
    assert_close(triangle_areas(VERTICES, FACES), torch.tensor([0.375, 0.5], dtype=torch.float64))
    assert_close(surface_area(torch.stack([VERTICES, 2 * VERTICES]), FACES), torch.tensor([0.875, 3.5]).double())
    # Eight equilateral triangles of side sqrt(2).
    assert math.isclose(float(surface_area(OCTAHEDRON, OCTANTS)), 4 * math.sqrt(3))


def test_normals_of_an_octahedron_point_away_from_its_middle() -> None:
    bodies = torch.stack([OCTAHEDRON, 3 * OCTAHEDRON + 1])
    assert_close(vertex_normals(bodies, OCTANTS), OCTAHEDRON.expand(2, -1, -1))


def test_normals_are_weighted_by_area() -> None:
    # Two right triangles about the x axis, of areas 1/2 and 1, facing z and -y.
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2]], dtype=torch.float64)
    normals = vertex_normals(torch.cat([vertices, vertices[:1]]), torch.tensor([[0, 1, 2], [0, 1, 3]]))
    assert_close(normals[0], torch.tensor([0, -2, 1]).double() / math.sqrt(5))
    assert_close(normals[2], torch.tensor([0, 0, 1]).double())
    assert_close(normals[4], torch.zeros(3).double())


def test_normals_have_the_numerical_gradient() -> None:
    vertices = (OCTAHEDRON + 0.1 * torch.randn(6, 3, generator=generator())).requires_grad_()
    assert torch.autograd.gradcheck(lambda vertices: vertex_normals(vertices, OCTANTS), (vertices,))


def test_the_open_bodys_normals_point_outwards(open_body: BodyModel) -> None:
    normals = vertex_normals(open_body.rest_template, open_body.faces)
    assert_close(normals.norm(dim=-1), torch.ones(open_body.num_vertices))
    # Vertices that move outwards by a distance enlarge the volume by that times the area.
    volumes = []
    for distance in (0.0, 1e-4):
        corners = (open_body.rest_template + distance * normals).double()[open_body.faces]
        volumes.append(float(torch.linalg.det(corners).sum()) / 6)
    area = float(surface_area(open_body.rest_template, open_body.faces))
    assert 0.97 < (volumes[1] - volumes[0]) / (1e-4 * area) < 1.0


def unit_vectors() -> torch.Tensor:
    """Directions all over the sphere, the axes, and some very near to the poles."""
    random = torch.randn(500, 3, generator=generator(), dtype=torch.float64)
    sines = torch.tensor([0.0, 1e-30, 1e-15, 3e-10, 1e-7, 1e-4, 1e-2], dtype=torch.float64)
    angle = torch.arange(7, dtype=torch.float64)
    rim = torch.stack([sines * angle.cos(), sines * angle.sin(), (1 - sines.square()).sqrt()], dim=-1)
    below = rim * torch.tensor([1, 1, -1])
    return torch.nn.functional.normalize(torch.cat([random, OCTAHEDRON, rim, below]), dim=-1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_tangent_frames_are_rotations_onto_the_normal(dtype: torch.dtype, tolerance: float) -> None:
    normals = unit_vectors().to(dtype)
    frames = tangent_frames(normals)
    assert_close(frames[..., 2], normals, rtol=0, atol=0)
    assert_close(frames @ frames.mT, torch.eye(3, dtype=dtype).expand_as(frames), rtol=0, atol=tolerance)
    assert_close(torch.linalg.det(frames), torch.ones(len(frames), dtype=dtype), rtol=0, atol=tolerance)


def test_tangent_frames_turn_the_shortest_way() -> None:
    normals = unit_vectors()
    traces = tangent_frames(normals).diagonal(dim1=-2, dim2=-1).sum(-1)
    # The trace of a rotation is 1 + 2 cos(angle), and the angle is the normal's from the z axis.
    assert_close(traces, 1 + 2 * normals[:, 2])


def test_tangent_frames_vary_smoothly_round_the_equator() -> None:
    angle = torch.linspace(0, 2 * math.pi, 1000, dtype=torch.float64)
    for height in (-0.9, -1e-9, 1e-9, 0.9):
        radius = math.sqrt(1 - height**2)
        ring = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)], dim=-1)
        assert tangent_frames(ring).diff(dim=0).abs().max() < 4 * 2 * math.pi / 1000
    above, below = (tangent_frames(torch.tensor([0.6, 0.8, z], dtype=torch.float64)) for z in (1e-9, -1e-9))
    assert_close(above, below, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tangent_frames_have_finite_gradients(dtype: torch.dtype) -> None:
    normals = unit_vectors().to(dtype).requires_grad_()
    tangent_frames(normals).sum().backward()
    assert normals.grad is not None
    assert normals.grad.isfinite().all()
