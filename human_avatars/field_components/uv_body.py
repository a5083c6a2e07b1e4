"""A body's surface as texels: the canonical body that Gaussians are made on, and position maps of posed bodies."""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import assert_never

from human_avatars.body_models.base_body_model import BodyPose, PosedBody, ShapedBody, map_tensors
from human_avatars.body_models.surface_map import SurfaceMap
from human_avatars.field_components.gaussian_skinning import blend_transforms
from human_avatars.transforms import invert_rigid

LEG_ANGLE = math.radians(30)
"""Rotation of each leg outwards in the canonical pose, about the z axis. As released."""
LEFT_HIP, RIGHT_HIP = 1, 2
"""Joint numbers, the same in SMPL, SMPL-H and SMPL-X."""

PositionSpace = Literal["root", "world"]
"""Where a position map's positions are measured: in the frame of the body's root, so that where a person stands and
faces does not matter, or, as released, in the world."""


class CanonicalTexels(nn.Module):
    """The texels of a body with its legs apart, and how its skeleton carries them. Checkpoints hold none of it.

    Args:
        body: The person's shape.
        surface_map: Where the texels lie.
    """

    def __init__(self, body: ShapedBody, surface_map: SurfaceMap) -> None:
        super().__init__()
        points, canonical = surface_map.points(), body.with_pose(canonical_pose(body))
        self.points: Tensor
        self.skinning_weights: Tensor
        self.rest_from_canonical: Tensor
        # Pose blend shapes are those of the canonical pose, in every pose.
        self.register_buffer("points", points.interpolate(canonical.vertices), persistent=False)
        weights = points.interpolate(body.body_model.skinning_weights)
        self.register_buffer("skinning_weights", weights, persistent=False)
        self.register_buffer("rest_from_canonical", invert_rigid(canonical.bone_transforms), persistent=False)

    def forward(
        self, offsets: Float[Tensor, "texels 3"], bone_transforms: Float[Tensor, "joints 4 4"]
    ) -> Float[Tensor, "texels 3"]:
        """Carry displaced texels into a pose: sum_j w_j B_j C_j^-1 (x + offset), with the canonical pose's C_j.

        Args:
            offsets: Displacement of each texel in the canonical pose, in metres.
            bone_transforms: World-from-rest transforms of a pose.

        Returns:
            World positions, in metres.
        """
        transforms = blend_transforms(self.skinning_weights, bone_transforms @ self.rest_from_canonical)
        displaced = self.points + offsets
        return (transforms[..., :3] @ displaced[..., None]).squeeze(-1) + transforms[..., 3]


def canonical_pose(body: ShapedBody) -> BodyPose:
    """The pose that Gaussians are made in: as at rest, but for the legs, which stand apart.

    Args:
        body: Of the SMPL family.
    """
    pose = BodyPose.zeros((), body.body_model.num_joints)
    # The root is not among the joints of a body pose.
    pose.body_pose[LEFT_HIP - 1, 2], pose.body_pose[RIGHT_HIP - 1, 2] = LEG_ANGLE, -LEG_ANGLE
    return map_tensors(pose, lambda tensor: tensor.to(body.rest_joints))


def position_map(body: PosedBody, surface_map: SurfaceMap, space: PositionSpace) -> Float[Tensor, "3 size size"]:
    """Positions of a posed body's texels, as the pose encoder sees them.

    Args:
        body: One body, without batch axes.
        surface_map: Where the texels lie.
        space: Where positions are measured.

    Returns:
        Positions in metres, zeros beside the body.
    """
    vertices = body.vertices
    if space == "root":
        root = body.joint_transforms[0]
        # Row vectors: (v - t) R applies the inverse rotation.
        vertices = (vertices - root[:3, 3]) @ root[:3, :3]
    elif space != "world":
        assert_never(space)
    return surface_map.scatter(surface_map.points().interpolate(vertices))
