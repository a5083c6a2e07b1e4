"""A folder in GaussianAvatar's layout becomes the splits, cameras and poses that the original sees."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.data.dataparsers.gaussian_avatar import (
    GaussianAvatarDataParser,
    GaussianAvatarDataParserConfig,
    held_out_frames,
    labels_of_test_images,
)
from human_avatars.data.subject_datamanagers import SubjectDataManagerConfig
from human_avatars.data.subject_dataset import SubjectDataset

Write = Callable[..., Any]
INTRINSIC = np.array([[62.0, 0, 23.5], [0, 60.0, 20.75], [0, 0, 1]])


def _parser(folder: Path, **options: Any) -> GaussianAvatarDataParser:
    return GaussianAvatarDataParserConfig(data=folder, **options).setup()


def test_train_and_test_images_and_one_motion_over_both(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar()
    parser = _parser(folder.path)
    train, test = parser.read_frames("train"), parser.read_frames("test")
    assert [path.name for path in train.image_filenames] == ["000000.png", "000001.png", "000003.png", "000004.png"]
    assert set(train.split_labels) == {"train"}
    assert train.frame_indices.tolist() == train.train_frame_indices.tolist() == [0, 1, 2, 3]
    assert test.frame_indices.tolist() == [4, 5]
    assert test.split_labels == ("in_between", "novel_pose")
    assert test.train_frame_indices.tolist() == [0, 1, 2, 3]
    assert test.subject is train.subject
    assert parser.read_frames("val").image_filenames == test.image_filenames
    assert [mask.parent.name for (mask,) in test.mask_filenames] == ["masks", "masks"]
    posed = train.subject.posed_body(torch.arange(6)).vertices
    torch.testing.assert_close(posed, torch.from_numpy(folder.vertices), atol=1e-5, rtol=0)
    assert parser.includes_time
    times = parser.get_dataparser_outputs("test").cameras.times
    assert times is not None
    torch.testing.assert_close(times[:, 0], torch.tensor([0.8, 1.0]))


@pytest.mark.parametrize("moving_camera", [False, True])
@pytest.mark.parametrize("options", [{}, {"image_scale": 0.5}, {"downscale_factor": 4.0}])
def test_rays_meet_the_points_that_the_camera_file_projects_there(
    write_gaussian_avatar: Write, moving_camera: bool, options: dict[str, float]
) -> None:
    folder = write_gaussian_avatar(moving_camera=moving_camera)
    frames = _parser(folder.path, **options).read_frames("test")
    scale = options.get("image_scale", 1.0) / options.get("downscale_factor", 1.0)
    assert frames.image_sizes.tolist() == [[40 * scale, 48 * scale]] * 2
    for image, frame in enumerate(frames.frame_indices.tolist()):
        point, extrinsic = folder.vertices[frame, 411].astype(np.float64), folder.extrinsics[frame]
        pixel, _ = cv2.projectPoints(point, extrinsic[:3, :3], extrinsic[:3, 3], INTRINSIC, np.zeros(5))
        x, y = scale * pixel.ravel()
        rays = frames.cameras().generate_rays(image, coords=torch.tensor([y, x]).float())
        target = torch.from_numpy(point).float()
        along = (target - rays.origins) @ rays.directions
        torch.testing.assert_close(rays.origins + along * rays.directions, target, atol=2e-5, rtol=0)


def test_the_body_lies_in_its_mask_and_the_mask_is_trusted(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar()
    dataset = SubjectDataset(_parser(folder.path).get_dataparser_outputs("train"))
    for image in range(len(dataset)):
        data = dataset.get_data(image)
        assert data["mask"].all()
        on_disk = cv2.imread(str(dataset.frames.mask_filenames[image][0]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(data["image"][..., 3].numpy() > 0, on_disk > 0)
        assert (data["mask_at_box"][..., 0].numpy() | (on_disk == 0)).all()


def test_a_datamanager_draws_rays_of_it(write_gaussian_avatar: Write) -> None:
    parser = GaussianAvatarDataParserConfig(data=write_gaussian_avatar().path)
    manager = SubjectDataManagerConfig(dataparser=parser, train_num_rays_per_batch=20).setup(device="cpu")
    rays, batch = manager.next_train(0)
    assert rays.origins.shape == (20, 3)
    assert batch["image"].shape == (20, 4)


def test_refined_poses_are_the_training_frames_alone(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar()
    with pytest.raises(ValueError, match=r"smpl_parms_pred\.pth does not exist.*--poses captured"):
        _parser(folder.path, poses="refined").read_frames("train")
    fit = torch.load(folder.path / "train" / "smpl_parms.pth", weights_only=True)
    fit["trans"] = (fit["trans"] + 1).requires_grad_()
    torch.save(fit, folder.path / "train" / "smpl_parms_pred.pth")
    captured = _parser(folder.path).read_frames("train").subject.motion.poses.transl
    refined = _parser(folder.path, poses="refined").read_frames("train").subject.motion.poses.transl
    torch.testing.assert_close(refined - captured, torch.tensor([1.0, 1, 1, 1, 0, 0])[:, None].expand(6, 3))
    assert not refined.requires_grad


def test_without_a_test_folder_frames_in_between_are_held_out(write_gaussian_avatar: Write) -> None:
    parser = _parser(write_gaussian_avatar(train=[f"{frame:03d}" for frame in range(5)], test=None).path)
    train, test = parser.read_frames("train"), parser.read_frames("test")
    assert train.frame_indices.tolist() == train.train_frame_indices.tolist() == [0, 1, 3, 4]
    assert test.frame_indices.tolist() == [2]
    assert test.split_labels == ("in_between",)
    assert train.subject.motion.num_frames == 5


@pytest.mark.parametrize(
    ("num_frames", "held_out"),
    [(1, {0: "train"}), (2, {1: "novel_pose"}), (3, {1: "in_between"}), (11, {2: "in_between", 7: "in_between"})],
)
def test_small_captures_keep_something_to_test(num_frames: int, held_out: dict[int, str]) -> None:
    train, test = held_out_frames(num_frames)
    assert test == held_out
    assert len(train) == max(1, num_frames - len(held_out))


def test_the_rule_is_the_one_neuman_publishes() -> None:
    train, test = held_out_frames(41)  # the sequence "seattle"
    assert list(test) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert sorted((*train, *test)) == list(range(41))


def test_test_images_are_told_apart_by_their_names() -> None:
    assert labels_of_test_images(("a00", "a04"), ("a01", "a03", "a05")) == ["in_between", "in_between", "novel_pose"]
    # Both folders number their images anew, so the names tell nothing.
    assert labels_of_test_images(("a00", "a04"), ("a00", "a01")) == ["novel_pose", "novel_pose"]


def test_each_kind_of_test_image_is_thinned_out(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar(train=["00", "06"], test=["01", "02", "03", "07", "08"]).path
    test = _parser(folder, eval_frame_interval=2).read_frames("test")
    assert [path.stem for path in test.image_filenames] == ["01", "03", "07"]
    with pytest.raises(ValueError, match="--eval-frame-interval is 0"):
        _parser(folder, eval_frame_interval=0).read_frames("test")


def test_the_open_body_stands_in_with_a_warning(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar(capture_record=None).path
    with pytest.warns(UserWarning, match=r"mean shape.*--body-model-path"):
        assert not _parser(folder).read_frames("train").subject.betas.any()


@pytest.mark.parametrize("num_betas", [4, 10, 16])
def test_the_fitted_shape_is_the_subjects(write_gaussian_avatar: Write, num_betas: int) -> None:
    folder = write_gaussian_avatar(num_betas=num_betas)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subject = _parser(folder.path).read_frames("train").subject
    expected = np.zeros(10, np.float32)
    expected[: min(num_betas, 10)] = folder.betas[:10]
    np.testing.assert_array_equal(subject.betas.numpy(), expected)
    posed = subject.posed_body(torch.arange(6)).vertices
    torch.testing.assert_close(posed, torch.from_numpy(folder.vertices), atol=1e-5, rtol=0)


def test_a_given_body_model_takes_the_shape(write_gaussian_avatar: Write, tmp_path: Path, open_body: BodyModel) -> None:
    folder = write_gaussian_avatar(capture_record=None)
    parents = np.array(open_body.parents)
    np.savez(
        tmp_path / "SMPL_LIKE.npz",
        v_template=open_body.rest_template,
        f=open_body.faces,
        weights=open_body.skinning_weights,
        J_regressor=open_body.joint_regressor,
        shapedirs=open_body.shape_directions,
        posedirs=np.zeros((open_body.num_vertices, 3, 9 * (open_body.num_joints - 1)), np.float32),
        kintree_table=np.stack([parents % 2**32, np.arange(len(parents))]),
    )
    subject = _parser(folder.path, body_model_path=tmp_path / "SMPL_LIKE.npz").read_frames("train").subject
    np.testing.assert_array_equal(subject.betas.numpy(), folder.betas)
    posed = subject.posed_body(torch.arange(6)).vertices
    torch.testing.assert_close(posed, torch.from_numpy(folder.vertices), atol=1e-5, rtol=0)


def test_the_demo_in_this_layout_is_read_back(tmp_path: Path) -> None:
    from human_avatars.capture.capture_config import CaptureConfig
    from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar as film

    folder = tmp_path / "demo"
    film(folder, CaptureConfig(frames=9, size=96, motion="apose_spin", unseen_motion="apose_spin"), workers=1)
    parser = _parser(folder)
    train, test = parser.read_frames("train"), parser.read_frames("test")
    assert [path.stem for path in train.image_filenames] == ["000000", "000001", "000003", "000004", "000005"]
    assert test.split_labels == ("in_between", "novel_pose", "novel_pose", "novel_pose")
    for frames in (train, test):
        for image, frame in enumerate(frames.frame_indices):
            mask = cv2.imread(str(frames.mask_filenames[image][0]), cv2.IMREAD_UNCHANGED)
            extrinsic = frames.world_to_cameras[image].numpy()
            body = frames.subject.posed_body(frame[None]).vertices[0].double().numpy()
            pixels, _ = cv2.projectPoints(
                body, extrinsic[:3, :3], extrinsic[:3, 3], frames.intrinsics[image].numpy(), np.zeros(5)
            )
            columns, rows = np.rint(pixels[:, 0]).astype(int).T
            # The bare body fills its clothes: never outside of the picture's person, nowhere far from the outline.
            assert cv2.dilate(mask, np.ones((3, 3)))[rows, columns].all()
            seen = np.argwhere(mask)
            np.testing.assert_allclose([rows.min(), columns.min()], seen.min(0), atol=2)
            np.testing.assert_allclose([rows.max(), columns.max()], seen.max(0), atol=2)
