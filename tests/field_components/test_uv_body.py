"""Laws of the canonical texels and of position maps."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose, PosedBody, ShapedBody, map_tensors
from human_avatars.body_models.surface_map import SurfaceMap, load_packaged_surface_map
from human_avatars.field_components.uv_body import CanonicalTexels, canonical_pose, position_map
from human_avatars.transforms import axis_angle_to_matrix

LEFT_KNEE, RIGHT_KNEE = 4, 5


@pytest.fixture(scope="module")
def body(open_body: BodyModel) -> ShapedBody:
    """A person of their own shape, in double precision."""
    torch.manual_seed(0)
    return map_tensors(open_body, _double).with_shape(torch.randn(open_body.num_betas, dtype=torch.float64))


@pytest.fixture(scope="module")
def surface_map(body: ShapedBody) -> SurfaceMap:
    """About 600 texels."""
    return load_packaged_surface_map(32, body.body_model.faces)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _pose(body: ShapedBody) -> BodyPose:
    torch.manual_seed(1)
    pose = map_tensors(BodyPose.zeros((), body.body_model.num_joints), _double)
    return map_tensors(pose, lambda tensor: 0.3 * torch.randn_like(tensor))


def _turned(pose: BodyPose) -> BodyPose:
    """The same body pose elsewhere and facing elsewhere."""
    turn = torch.tensor([0.3, -1.1, 0.4], dtype=torch.float64)
    return BodyPose(global_orient=turn, body_pose=pose.body_pose, transl=pose.transl + 2)


def test_legs_stand_apart_by_thirty_degrees_each(body: ShapedBody) -> None:
    joints = body.with_pose(canonical_pose(body)).joint_transforms[:, :3, 3]
    rest = body.rest_joints
    for hip, knee, angle in ((1, LEFT_KNEE, 30), (2, RIGHT_KNEE, -30)):
        turned = axis_angle_to_matrix(torch.tensor([0, 0, math.radians(angle)], dtype=torch.float64))
        assert_close(joints[knee] - joints[hip], turned @ (rest[knee] - rest[hip]))
    arms = range(12, body.body_model.num_joints)
    assert_close(joints[arms], rest[arms])


def test_posing_the_canonical_texels_canonically_leaves_them(body: ShapedBody, surface_map: SurfaceMap) -> None:
    texels = CanonicalTexels(body, surface_map)
    posed = body.with_pose(canonical_pose(body))
    assert_close(texels.points, surface_map.points().interpolate(posed.vertices))
    offsets = torch.randn_like(texels.points)
    assert_close(texels(offsets, posed.bone_transforms), texels.points + offsets)


def test_texels_follow_the_root(body: ShapedBody, surface_map: SurfaceMap) -> None:
    texels, pose = CanonicalTexels(body, surface_map), _pose(body)
    here, there = body.with_pose(pose), body.with_pose(_turned(pose))
    offsets = 0.02 * torch.randn_like(texels.points)
    in_root = [
        (texels(offsets, posed.bone_transforms) - posed.joint_transforms[0, :3, 3]) @ posed.joint_transforms[0, :3, :3]
        for posed in (here, there)
    ]
    assert_close(*in_root, atol=1e-6, rtol=0)


def test_texels_stay_at_the_posed_skin(body: ShapedBody, surface_map: SurfaceMap) -> None:
    # Skinning in two steps and the pose's own blend shapes differ by no more than a few centimetres.
    texels, posed = CanonicalTexels(body, surface_map), body.with_pose(_pose(body))
    skin = surface_map.points().interpolate(posed.vertices)
    distances = (texels(torch.zeros_like(skin), posed.bone_transforms) - skin).norm(dim=-1)
    assert distances.median() < 0.01
    assert distances.max() < 0.1


def _maps(body: ShapedBody, surface_map: SurfaceMap, space: str) -> tuple[Tensor, Tensor]:
    def of(posed: PosedBody) -> Tensor:
        return position_map(posed, surface_map, space)  # pyright: ignore[reportArgumentType]

    pose = _pose(body)
    return of(body.with_pose(pose)), of(body.with_pose(_turned(pose)))


def test_a_position_map_at_the_root_forgets_where_the_person_stands(body: ShapedBody, surface_map: SurfaceMap) -> None:
    here, there = _maps(body, surface_map, "root")
    assert here.shape == (3, 32, 32)
    assert_close(here, there, atol=1e-6, rtol=0)


def test_a_position_map_in_the_world_holds_the_skin(body: ShapedBody, surface_map: SurfaceMap) -> None:
    here, there = _maps(body, surface_map, "world")
    assert (here - there).abs().max() > 1
    skin = surface_map.points().interpolate(body.with_pose(_pose(body)).vertices)
    assert_close(here[:, surface_map.mask].t(), skin)
    assert here[:, ~surface_map.mask].abs().max() == 0


def test_checkpoints_hold_nothing_of_the_body(body: ShapedBody, surface_map: SurfaceMap) -> None:
    assert CanonicalTexels(body, surface_map).state_dict() == {}
