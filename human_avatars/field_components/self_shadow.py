"""The shadows that a person throws on themselves: shadow maps from all directions, drawn with points."""

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.body_models.surface import tangent_frames
from human_avatars.compiled_loops import run_in_parts

SHADOW_CELLS = 96
"""Cells along each side of a shadow map: two centimetres on a standing person."""
SHADOW_BIAS = 1.5
"""What is less than this many cells nearer to the light casts no shadow: it is the surface itself."""
MARGIN = 1.05
"""Size of a shadow map, in diameters of what casts the shadows."""


@torch.no_grad()
def self_visibility(
    points: Float[Tensor, "points 3"],
    normals: Float[Tensor, "points 3"],
    occluders: Float[Tensor, "occluders 3"],
    directions: Float[Tensor, "directions 3"],
) -> Float[Tensor, "points directions"]:
    """How much of the light from each direction reaches points past a body.

    Along each direction the occluders are sorted into square cells, and each cell keeps the one nearest to the light.
    A point is lit where none of the four cells around it holds anything nearer; between cells it is partly lit.

    Args:
        points: World positions on the body, in metres.
        normals: Their unit normals.
        occluders: Positions that cover the body with less than SHADOW_CELLS leaves between them, in metres.
        directions: Unit vectors towards the lights.

    Returns:
        1 where a light is seen, 0 in full shadow.
    """
    centre = (occluders.amin(0) + occluders.amax(0)) / 2
    cell = 2 * MARGIN * (occluders - centre).norm(dim=-1).max() / SHADOW_CELLS
    # Above the cloth rather than in it.
    lifted = points + normals * cell
    axes = tangent_frames(directions) / cell
    if points.device.type == "cpu" and points.dtype == torch.float32:
        return _compiled(lifted - centre, occluders - centre, axes)
    return visibility_of_cells(lifted - centre, occluders - centre, axes)


def visibility_of_cells(
    points: Float[Tensor, "points 3"], occluders: Float[Tensor, "occluders 3"], axes: Float[Tensor, "directions 3 3"]
) -> Float[Tensor, "points directions"]:
    """The readable form of `self_visibility`, on any device.

    Args:
        points: Positions relative to the middle of the maps, in metres.
        occluders: Likewise.
        axes: As columns the two sides of each map and the direction to the light, per cell.

    Returns:
        Visibility between 0 and 1.
    """
    casting = occluders @ axes + SHADOW_CELLS / 2
    places = casting[..., :2].long().clamp(0, SHADOW_CELLS - 1)
    heights = casting.new_full((len(axes), SHADOW_CELLS**2), -torch.inf)
    heights.scatter_reduce_(1, places[..., 1] * SHADOW_CELLS + places[..., 0], casting[..., 2], "amax")
    seen = points @ axes + SHADOW_CELLS / 2
    low = (seen[..., :2] - 0.5).floor().clamp(0, SHADOW_CELLS - 2)
    share = (seen[..., :2] - 0.5 - low).clamp(0, 1)
    visibility = torch.zeros_like(seen[..., 0])
    for up, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cells = (low[..., 1].long() + up) * SHADOW_CELLS + low[..., 0].long() + right
        is_open = heights.gather(1, cells) < seen[..., 2] + SHADOW_BIAS
        weights = (share[..., 0] if right else 1 - share[..., 0]) * (share[..., 1] if up else 1 - share[..., 1])
        visibility += weights * is_open
    return visibility.T


def _compiled(points: Tensor, occluders: Tensor, axes: Tensor) -> Tensor:
    from human_avatars.field_components.self_shadow_kernels import cast_shadows

    visibility = points.new_empty(len(axes), len(points))
    arrays = (tensor.contiguous().numpy() for tensor in (points, occluders, axes, visibility))
    run_in_parts(cast_shadows, *arrays, SHADOW_CELLS, SHADOW_BIAS)
    return visibility.T
