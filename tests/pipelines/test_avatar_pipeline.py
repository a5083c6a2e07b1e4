"""Results per image and per split, in the form that ns-eval writes and the trainer logs."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.body_models.open_body import load_open_body
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.data.subject_frames import SplitLabel, SubjectFrames
from human_avatars.pipelines.avatar_pipeline import AvatarPipeline, AvatarPipelineConfig, average_records

VALUES = [20.0, 24.0, 30.0, math.nan]
"""What the model below measures on each image; the body is out of the last picture."""
HEIGHT, WIDTH = 4, 6


class _Model(torch.nn.Module):
    """Measures what it is told to."""

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, torch.Tensor]:
        assert not self.training
        return {"rgb": torch.zeros(HEIGHT, WIDTH, 3)}

    def get_image_metrics_and_images(
        self, outputs: dict[str, torch.Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        pictures = {"img": outputs["rgb"], "depth": outputs["rgb"]}
        return {"psnr_box": VALUES[batch["image_idx"]], "ssim": 0.5}, pictures


@pytest.fixture(scope="module")
def subject() -> Subject:
    body = load_open_body()
    poses = BodyPose.zeros((40,), body.num_joints)
    return Subject(body, torch.zeros(body.num_betas), BodyMotion.evenly_timed(poses), (0.0, 0.0, 0.05))


def _subject_dataset(subject: Subject, num_images: int) -> SubjectDataset:
    labels: tuple[SplitLabel, ...] = ("novel_view", "novel_view", "novel_pose", "novel_pose")
    frames = SubjectFrames(
        image_filenames=tuple(Path(f"Camera_B{i}/{30 + i:06d}.jpg") for i in range(num_images)),
        mask_filenames=((),) * num_images,
        split_labels=labels[:num_images],
        camera_names=tuple(f"Camera_B{i}" for i in range(num_images)),
        frame_indices=torch.arange(30, 30 + num_images),
        intrinsics=torch.eye(3).expand(num_images, 3, 3),
        distortions=torch.zeros(num_images, 5),
        world_to_cameras=torch.eye(4).expand(num_images, 4, 4),
        full_sizes=torch.tensor([HEIGHT, WIDTH]).expand(num_images, 2),
        image_scale=1.0,
        mask_border=0,
        subject=subject,
        train_frame_indices=torch.arange(30, 32),
    )
    return SubjectDataset(frames.to_dataparser_outputs())


def _pipeline(dataset: InputDataset) -> AvatarPipeline:
    """A pipeline around the model above; the images come in reversed order."""
    pipeline = AvatarPipeline.__new__(AvatarPipeline)
    torch.nn.Module.__init__(pipeline)
    pipeline._model = _Model()  # type: ignore[assignment]
    loader = [(dataset.cameras[i : i + 1], {"image_idx": i}) for i in reversed(range(len(dataset)))]
    pipeline.datamanager = SimpleNamespace(eval_dataset=dataset, fixed_indices_eval_dataloader=loader)  # type: ignore[assignment]
    return pipeline


@pytest.fixture
def pipeline(subject: Subject) -> AvatarPipeline:
    """A pipeline over all images."""
    return _pipeline(_subject_dataset(subject, len(VALUES)))


@pytest.fixture
def small_pipeline(subject: Subject) -> AvatarPipeline:
    """A pipeline over a single image."""
    return _pipeline(_subject_dataset(subject, 1))


def test_means_over_everything_and_over_each_split(pipeline: AvatarPipeline) -> None:
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    assert results["psnr_box"] == pytest.approx(74 / 3)
    assert results["novel_view/psnr_box"] == pytest.approx(22.0)
    assert results["novel_view/psnr_box_std"] == pytest.approx(8**0.5)
    assert results["novel_pose/psnr_box"] == pytest.approx(30.0)
    assert (results["novel_view/num_images"], results["novel_pose/num_images"]) == (2, 2)


def test_one_image_spreads_by_nothing_and_not_by_nan(small_pipeline: AvatarPipeline) -> None:
    results = small_pipeline.get_average_eval_image_metrics(get_std=True)
    assert results["psnr_box_std"] == results["novel_view/ssim_std"] == 0.0


def test_images_are_listed_with_what_the_dataset_knows(pipeline: AvatarPipeline) -> None:
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    last, first = results["per_image"][0], results["per_image"][-1]
    timings = {key: first.pop(key) for key in ("num_rays_per_sec", "fps")}
    assert timings["num_rays_per_sec"] == pytest.approx(timings["fps"] * HEIGHT * WIDTH)
    assert first == {
        "image": str(Path("Camera_B0/000030.jpg")),
        "camera": "Camera_B0",
        "frame": 30,
        "split": "novel_view",
        "psnr_box": 20.0,
        "ssim": 0.5,
    }
    assert last["split"] == "novel_pose"
    assert last["psnr_box"] is None


def test_the_result_is_json_by_the_letter(pipeline: AvatarPipeline) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    results = pipeline.get_average_eval_image_metrics(get_std=True)
    json.loads(json.dumps(results), parse_constant=refuse)


def test_the_trainer_gets_numbers_only_and_its_mode_back(pipeline: AvatarPipeline) -> None:
    pipeline.train()
    results = pipeline.get_average_eval_image_metrics(step=500)
    assert {type(value) for value in results.values()} == {float}
    assert results["novel_view/psnr_box"] == pytest.approx(22.0)
    assert not any(key.endswith("_std") for key in results)
    assert pipeline.training


def test_evaluation_mode_stays_evaluation_mode(pipeline: AvatarPipeline) -> None:
    pipeline.eval()
    pipeline.get_average_eval_image_metrics()
    assert not pipeline.training


def test_pictures_and_the_list_are_written_where_asked(small_pipeline: AvatarPipeline, tmp_path: Path) -> None:
    results = small_pipeline.get_average_eval_image_metrics(output_path=tmp_path / "renders")
    pictures = {f"eval_{key}_{i:04d}.png" for key in ("img", "depth") for i in range(1)}
    assert {path.name for path in (tmp_path / "renders").iterdir()} == pictures | {"per_image.json"}
    assert json.loads((tmp_path / "renders/per_image.json").read_text()) == results["per_image"]


def test_other_datasets_are_evaluated_without_splits() -> None:
    cameras = Cameras(torch.eye(4)[None, :3], fx=5.0, fy=5.0, cx=3.0, cy=2.0, width=WIDTH, height=HEIGHT)
    dataset = InputDataset(DataparserOutputs([Path("000000.jpg")], cameras))
    results = _pipeline(dataset).get_average_eval_image_metrics(get_std=True)
    assert not any("/" in key for key in results)
    assert set(results["per_image"][0]) == {"image", "psnr_box", "ssim", "num_rays_per_sec", "fps"}


def test_a_metric_that_no_image_has_stays_without_a_value() -> None:
    assert math.isnan(average_records([{"split": "novel_pose", "psnr_body": math.nan}])["novel_pose/psnr_body"])


def test_the_config_builds_this_pipeline() -> None:
    assert AvatarPipelineConfig()._target is AvatarPipeline
