"""Self-shadows: what planes and spheres throw, and the compiled loop against its readable form in float64."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.surface import tangent_frames, vertex_normals
from human_avatars.field_components.body_light import even_directions
from human_avatars.field_components.self_shadow import SHADOW_CELLS, self_visibility, visibility_of_cells

UP = torch.tensor([0.0, 0.0, 1.0])


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads that a test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _plane(half_size: float, height: float, count: int) -> Tensor:
    """Evenly spaced points of a square that lies flat."""
    line = torch.linspace(-half_size, half_size, count)
    across, along = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([across, along, torch.full_like(across, height)], dim=-1).reshape(-1, 3)


def _body(model: BodyModel) -> tuple[Tensor, Tensor, Tensor]:
    vertices = model.rest_template
    occluders = torch.cat([vertices, vertices[model.faces].mean(1)])
    return vertices, vertex_normals(vertices, model.faces), occluders


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plane_shadows_what_lies_beneath_it(dtype: torch.dtype) -> None:
    ground, roof = _plane(1.0, 0.0, 101), _plane(0.5, 0.6, 61)
    points = torch.cat([ground, roof]).to(dtype)
    normals = UP.to(dtype).expand(len(points), 3)
    slanted = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, 1.0]), dim=0)
    visibility = self_visibility(points, normals, points, torch.stack([UP, -UP, slanted]).to(dtype))
    from_above, from_below, from_the_side = (column.to(torch.float32) for column in visibility.T)

    # A map's cell is 3 cm here: nearer than that to a border of the shadow points may be partly lit.
    def beneath(middle: float, grown_by: float) -> Tensor:
        half = 0.5 + grown_by
        return ((ground[:, 0] - middle).abs() < half) & (ground[:, 1].abs() < half)

    on_ground, on_roof = slice(0, len(ground)), slice(len(ground), None)
    assert_close(from_above[on_roof], torch.ones(len(roof)))
    assert_close(from_above[on_ground][beneath(0.0, -0.06)], torch.zeros(int(beneath(0.0, -0.06).sum())))
    assert_close(from_above[on_ground][~beneath(0.0, 0.06)], torch.ones(int((~beneath(0.0, 0.06)).sum())))
    # Seen from below the ground hides the roof, and itself as well, since points are seen from above it.
    assert from_below[on_roof].max() == 0
    # A sun at 45 degrees throws the shadow as far as the roof is high.
    assert_close(from_the_side[on_ground][beneath(-0.6, -0.08)], torch.zeros(int(beneath(-0.6, -0.08).sum())))
    assert_close(from_the_side[on_ground][~beneath(-0.6, 0.08)], torch.ones(int((~beneath(-0.6, 0.08)).sum())))


def test_a_sphere_is_lit_where_it_faces_the_light() -> None:
    occluders, points, directions = even_directions(60_000), even_directions(2000), even_directions(20)
    visibility = self_visibility(points, points, occluders, directions)
    facing = points @ directions.T
    assert_close(visibility[facing > 0.45], torch.ones(int((facing > 0.45).sum())))
    assert visibility[facing < -0.3].max() == 0
    # Near the rim the surface is steep in the map, and neighbours shadow each other a little.
    assert visibility[facing > 0.1].mean() > 0.99
    assert visibility[facing > 0.1].min() > 0.6
    assert bool(((visibility >= 0) & (visibility <= 1)).all())


def test_place_and_size_do_not_matter() -> None:
    points, directions = even_directions(500).double(), even_directions(12).double()
    occluders = even_directions(5000).double() * torch.tensor([1.0, 0.4, 0.7], dtype=torch.float64)
    visibility = self_visibility(points, points, occluders, directions)
    assert 0 < visibility.mean() < 1
    # By powers of two and by whole cells no digit is lost, so that not even a border of a cell moves.
    moved = self_visibility(points * 4 + 8, points, occluders * 4 + 8, directions)
    assert (moved - visibility).abs().gt(1e-6).float().mean() < 1e-3


def test_the_compiled_loop_is_the_readable_form(open_body: BodyModel) -> None:
    points, normals, occluders = _body(open_body)
    directions = even_directions(32)
    compiled = self_visibility(points, normals, occluders, directions)
    exact = self_visibility(points.double(), normals.double(), occluders.double(), directions.double())
    assert compiled.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert 0.1 < exact.mean() < 0.9
    # A rounding error moves an occluder on the border of two cells into the other one.
    differs = (compiled - exact).abs() > 1e-3
    assert differs.float().mean() < 1e-3


def test_light_between_cells_by_hand() -> None:
    # Seen along z, one metre a cell: the occluder fills the cell whose centre is at half a metre in x and in y.
    axes = tangent_frames(UP)[None]
    occluders = torch.tensor([[0.5, 0.5, 10.0]])
    points = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.5, 0.0], [1.0, 1.25, 0.0], [2.5, 0.5, 0.0], [0.5, 0.5, 9.0]])
    # In its centre, half a cell beside it, beside it and above, far beside it, and a cell below what is the same
    # surface.
    expected = torch.tensor([0.0, 0.5, 1 - 0.5 * 0.25, 1.0, 1.0])
    assert_close(visibility_of_cells(points, occluders, axes)[:, 0], expected)


def test_what_lies_outside_of_the_maps_is_seen_at_their_border() -> None:
    # A garment may stand off the body further than the maps reach.
    outside = torch.tensor([[SHADOW_CELLS * 2.0, 0.5, 0.0], [-SHADOW_CELLS * 2.0, 0.5, 0.0]])
    for dtype in (torch.float32, torch.float64):
        occluders, axes = torch.zeros(1, 3, dtype=dtype), tangent_frames(UP)[None].to(dtype)
        visibility = visibility_of_cells(outside.to(dtype), occluders, axes)
        assert_close(visibility, torch.ones(2, 1, dtype=dtype))


def test_the_number_of_threads_does_not_matter(open_body: BodyModel, threads: None) -> None:
    points, normals, occluders = _body(open_body)
    results = []
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        results.append(self_visibility(points, normals, occluders, even_directions(7)))
    assert_close(results[0], results[1], rtol=0, atol=0)
