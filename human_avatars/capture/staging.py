"""From a capture's options to its stage: the dressed actor, the motion and the cameras, with their errors."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from human_avatars.body_models.base_body_model import ShapedBody, map_tensors
from human_avatars.body_models.open_body import load_open_body
from human_avatars.body_models.skinning import bone_transforms_from_joints, forward_kinematics
from human_avatars.capture.actor import SkinnedPoints
from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.film import camera_ring
from human_avatars.capture.footage import BodyTrack, Stage
from human_avatars.capture.motions import captured_poses
from human_avatars.capture.noise import miscalibrated, noisy_rotations, root_offsets
from human_avatars.capture.wardrobe import dress
from human_avatars.transforms import axis_angle_to_matrix

WORLD_FROM_MODEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""The model's y is up, ZJU-MoCap's world has z up."""


def stage_capture(config: CaptureConfig) -> Stage:
    """Prepare a capture of the packaged open body.

    Args:
        config: Options of the capture.

    Returns:
        All that filming needs.

    Raises:
        ValueError: An option is out of range.
    """
    body_model = map_tensors(load_open_body(), lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    config.check(body_model.num_betas)
    # Real files hold single precision; what is filmed follows what they will say.
    betas = np.array(config.betas or np.zeros(body_model.num_betas), np.float32)
    shaped = body_model.with_shape(torch.from_numpy(betas).double())
    motion = captured_poses(
        config.motion,
        config.held_out_motion,
        config.num_training_frames,
        config.frames - config.num_training_frames,
        body_model.num_joints,
    )
    rotations = _in_world(motion)
    filmed = _track(shaped, rotations)
    ring = camera_ring(config.size, config.ring_cameras)
    cameras = tuple(ring[place] for place in config.rendered_cameras)
    return Stage(
        config=config,
        actor=dress(shaped, config.outfit, config.wrinkles, config.seed),
        body=_bare_body(shaped),
        betas=betas,
        pelvis=shaped.rest_joints[0].numpy(),
        filmed=filmed,
        written=_track(shaped, noisy_rotations(rotations, config.noise, config.seed)),
        places=_central_places(filmed, shaped),
        place_errors=root_offsets(config.frames, config.noise, config.seed).astype(np.float32),
        cameras=cameras,
        written_cameras=tuple(
            miscalibrated(camera, place, config.noise, config.seed)
            for camera, place in zip(cameras, config.rendered_cameras, strict=True)
        ),
    )


def _bare_body(shaped: ShapedBody) -> SkinnedPoints:
    return SkinnedPoints(shaped.rest_vertices.numpy(), csr_matrix(shaped.body_model.skinning_weights.numpy()))


def _in_world(motion: Float[np.ndarray, "frames joints 3"]) -> Float[np.ndarray, "frames joints 3"]:
    """Joint rotations of a motion with the root's turned into the world, which is Rh."""
    rotations = motion.copy()
    rotations[:, 0] = (Rotation.from_matrix(WORLD_FROM_MODEL) * Rotation.from_rotvec(motion[:, 0])).as_rotvec()
    return rotations


def _track(shaped: ShapedBody, rotations: Float[np.ndarray, "frames joints 3"]) -> BodyTrack:
    """Split rotations into Rh and a pose with the root at rest, and run the skeleton once for all frames."""
    poses = rotations.astype(np.float32)
    orients = poses[:, 0].copy()
    poses[:, 0] = 0
    matrices = axis_angle_to_matrix(torch.from_numpy(poses).double())
    rest_joints = shaped.rest_joints.expand(len(poses), -1, -1)
    joints = forward_kinematics(matrices, rest_joints, shaped.body_model.parents)
    bones = bone_transforms_from_joints(joints, rest_joints)
    return BodyTrack(orients=orients, poses=poses, bone_transforms=bones.numpy())


def _central_places(track: BodyTrack, shaped: ShapedBody) -> np.ndarray:
    """Th (frames, 3) that puts the pelvis above the middle of the stage, in metres; the height is left at zero."""
    pelvis = shaped.rest_joints[0].numpy()
    places = np.stack([-track.rotation(frame) @ pelvis for frame in range(len(track.orients))])
    places[:, 2] = 0
    return places.astype(np.float32)
