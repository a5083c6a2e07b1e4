"""Cameras on their way from OpenCV to nerfstudio, and the pixels that see the body's box."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from human_avatars.body_models.bounds import intersect_box
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_frames import SubjectFrames

WriteZju = Callable[..., Any]


@pytest.fixture
def frames(write_zju: WriteZju) -> SubjectFrames:
    return ZjuMocapDataParserConfig(data=write_zju().path).setup().read_frames("train")


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("published", [False, True])
def test_a_points_pixel_shoots_the_ray_that_hits_it(frames: SubjectFrames, scale: float, published: bool) -> None:
    frames = replace(frames, image_scale=scale, published_scaling=published)
    point = np.array([0.13, -0.21, 1.27])
    for image in (0, 5, 10):
        extrinsics = frames.world_to_cameras[image].numpy()
        pixel, _ = cv2.projectPoints(
            point, extrinsics[:3, :3], extrinsics[:3, 3], frames.intrinsics[image].numpy(), np.zeros(5)
        )
        # On disk an integer coordinate is a centre, here +0.5 is. The original scales the camera matrix as it is.
        x, y = scale * pixel.ravel() + 0.5 if published else scale * (pixel.ravel() + 0.5)
        rays = frames.cameras().generate_rays(image, coords=torch.tensor([y, x]).float())
        along = (torch.from_numpy(point).float() - rays.origins) @ rays.directions
        torch.testing.assert_close(
            rays.origins + along * rays.directions, torch.from_numpy(point).float(), atol=2e-5, rtol=0
        )
        assert along > 0


def test_rays_start_at_the_camera(frames: SubjectFrames) -> None:
    rotation, translation = frames.world_to_cameras[:, :3, :3], frames.world_to_cameras[:, :3, 3:]
    centres = -(rotation.transpose(1, 2) @ translation)[..., 0]
    torch.testing.assert_close(frames.cameras().camera_to_worlds[..., 3], centres.float())


def test_cameras_are_what_nerfstudios_tools_take(frames: SubjectFrames) -> None:
    cameras = replace(frames, image_scale=0.3).cameras()
    for tensor in (cameras.camera_to_worlds, cameras.fx, cameras.fy, cameras.cx, cameras.cy, cameras.times):
        assert tensor is not None
        assert tensor.dtype == torch.float32
    assert cameras.distortion_params is None
    # 48 pixels by 0.3 is 14.4: the fraction is cut off, and the size does not come from the principal point.
    assert cameras.width.flatten().tolist() == cameras.height.flatten().tolist() == [14] * len(frames)
    assert cameras.cx[0].item() == pytest.approx(0.3 * (24 - 1.5 + 0.5))
    metadata = cameras[3:5].metadata
    assert metadata is not None
    assert metadata["frame_index"].tolist() == frames.frame_indices[3:5, None].tolist()


def test_rays_carry_their_frame_and_time(frames: SubjectFrames) -> None:
    rays = frames.cameras().generate_rays(torch.tensor([[7], [0]]), coords=torch.tensor([[1.5, 2.5], [3.5, 4.5]]))
    assert rays.metadata["frame_index"].tolist() == [[frames.frame_indices[7].item()], [0]]
    assert rays.times is not None
    assert frames.subject.motion.frame_indices(rays.times).tolist() == rays.metadata["frame_index"].tolist()


def test_mask_at_box_is_the_set_of_nerfstudios_rays_that_hit_the_box(frames: SubjectFrames) -> None:
    for image in range(4):
        rays = frames.cameras().generate_rays(image)
        nears, fars = intersect_box(rays.origins, rays.directions, frames.world_boxes[image])
        torch.testing.assert_close(frames.mask_at_box(image), nears < fars)
        assert 0.05 < frames.mask_at_box(image).float().mean() < 0.95


def test_mask_at_box_is_found_from_inside_the_box_and_from_beside_it(frames: SubjectFrames) -> None:
    inside = frames.world_to_cameras.clone()
    low, high = frames.world_boxes.double().unbind(1)
    for along in (0.1, 0.5, 0.9):
        centres = low + (high - low) * along
        inside[:, :3, 3:] = -inside[:, :3, :3] @ centres[..., None]
        surrounded = replace(frames, world_to_cameras=inside)
        assert all(surrounded.mask_at_box(image).all() for image in range(len(frames)))
    beside = frames.world_to_cameras.clone()
    beside[0, 0, 3] += 50.0
    assert not replace(frames, world_to_cameras=beside).mask_at_box(0).any()


def test_boxes_are_padded_by_the_protocol_in_world_axes(frames: SubjectFrames) -> None:
    vertices = frames.subject.posed_body(frames.frame_indices).vertices
    margin = torch.tensor([0.0, 0.0, 0.05])
    torch.testing.assert_close(frames.world_boxes[:, 0], vertices.amin(1) - margin)
    torch.testing.assert_close(frames.world_boxes[:, 1], vertices.amax(1) + margin)


def test_the_model_gets_the_subject_and_the_union_of_the_boxes(frames: SubjectFrames) -> None:
    outputs = frames.to_dataparser_outputs()
    assert outputs.metadata["subject"] is frames.subject
    assert outputs.metadata["train_frame_indices"].tolist() == [0, 1, 2, 3]
    assert (outputs.scene_box.aabb[0] <= frames.world_boxes[:, 0]).all()
    assert (outputs.scene_box.aabb[1] >= frames.world_boxes[:, 1]).all()
    assert outputs.dataparser_scale == 1.0
    torch.testing.assert_close(outputs.dataparser_transform, torch.eye(4)[:3])
