"""`human-avatars import-checkpoint gaussian-avatar`: GaussianAvatar's published weights as a run of nerfstudio's."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.checkpoints.gaussian_avatar import GaussianAvatarCheckpoint, read_gaussian_avatar_checkpoint
from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.fields.gaussian_avatar_field import Stage
from human_avatars.models.gaussian_avatar import GaussianAvatarModel
from human_avatars.scripts.imported_runs import RunPlace, say_what_next, write_run

EPOCHS = 200
"""Epochs of the published training, where the checkpoint's folder does not tell."""


def main(
    checkpoint: Path,
    uv_obj: Path,
    capture: tyro.conf.SuppressFixed[GaussianAvatarDataParserConfig],
    place: RunPlace,
    stage: Stage | None = None,
    uv_size: int = 512,
) -> None:
    """Turn the weights of the original implementation into a nerfstudio run.

    Args:
        checkpoint: Its net.pth or pose_encoder.pth, the folder of an iteration with one of them, or the output folder
            of a training, whose last iteration is taken.
        uv_obj: The UV layout that the weights are made for: template_mesh_smpl_uv.obj of the original's assets.
        capture: What it was trained on. Poses of the training frames are the checkpoint's own.
        place: Where the run goes.
        stage: Refuse a checkpoint of the other stage.
        uv_size: Texels along each side of the UV map; 512 as published.
    """
    say_what_next(import_gaussian_avatar(checkpoint, uv_obj, capture, place, stage, uv_size))


def import_gaussian_avatar(
    checkpoint: Path,
    uv_obj: Path,
    capture: GaussianAvatarDataParserConfig,
    place: RunPlace,
    stage: Stage | None = None,
    uv_size: int = 512,
) -> Path:
    """Write a run of GaussianAvatar, set as released, that holds published weights and the poses refined with them.

    Args:
        checkpoint: As for `find_checkpoint`.
        uv_obj: The UV layout that the weights are made for, an .obj file of the body's triangles.
        capture: What the checkpoint was trained on.
        place: Where the run goes.
        stage: The stage that it must be of; any where none is given.
        uv_size: Texels along each side of the UV map.

    Returns:
        The run's config.yml.

    Raises:
        ValueError: The file is missing, broken, or of another stage or body, the UV layout or the capture does not
            fit, or a run is in the way.
    """
    from human_avatars.configs.gaussian_avatar_configs import gaussian_avatar_paper

    original = read_gaussian_avatar_checkpoint(checkpoint, stage)
    config: Any = copy.deepcopy(gaussian_avatar_paper.config)
    place.assign_to(config, capture.data)
    body_model_path = None if capture.body_model_path is None else capture.body_model_path.absolute()
    config.pipeline.datamanager.dataparser = replace(
        capture, data=capture.data.absolute(), body_model_path=body_model_path
    )
    config.pipeline.model = replace(
        config.pipeline.model,
        stage=original.stage,
        feature_size=original.feature_size,
        uv_size=uv_size,
        uv_obj=uv_obj.absolute(),
    )
    pipeline: Any = config.pipeline.setup(device="cpu", test_mode="test")
    model: GaussianAvatarModel = pipeline.model
    poses = _refined_poses(checkpoint, original, model)
    model.field.load_state_dict(original.weights)
    model.body_pose_optimizer.set_from_motion(replace(model.subject.motion, poses=poses))
    epochs = EPOCHS if original.epoch is None else original.epoch
    return write_run(config, pipeline, epochs * len(model.train_frame_indices) - 1, place.overwrite)


def _refined_poses(path: Path, original: GaussianAvatarCheckpoint, model: GaussianAvatarModel) -> BodyPose:
    """The capture's poses, those of training frames replaced by the checkpoint's."""
    body, frames, poses = model.subject.body_model, model.train_frame_indices, model.subject.motion.poses
    if original.num_joints != body.num_joints:
        raise ValueError(
            f"{path} was trained on {original.body} with {original.num_joints} joints, but {body.name} has "
            f"{body.num_joints}: give the body model file that it was trained with to --body-model-path."
        )
    num_frames, refined_joints = original.axis_angle.shape[:2]
    if num_frames != len(frames):
        raise ValueError(
            f"{path} has poses of {num_frames} frames, but {len(frames)} frames of the capture train: give the capture "
            "that it was trained on with --data."
        )
    axis_angle, transl = poses.axis_angle.clone(), poses.transl.clone()
    axis_angle[frames, :refined_joints] = original.axis_angle
    transl[frames] = original.transl
    return BodyPose.from_axis_angle(axis_angle, transl)
