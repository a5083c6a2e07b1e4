"""Neural Body as a model: what rays see, which body and which code they use, and what checkpoints hold."""

from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.model_components.renderers import background_color_override_context
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.models.neural_body import NeuralBodyModel, NeuralBodyModelConfig

TRAIN_FRAMES = (0, 1, 2)


def _poses(num_joints: int) -> BodyPose:
    """Four frames: arms at four heights, the person walking along x."""
    poses = BodyPose.zeros((4,), num_joints)
    poses.body_pose[:, 15, 2] = torch.tensor([0.0, -0.4, -0.8, -1.2])
    poses.transl[:, 0] = torch.tensor([0.0, 0.1, 0.2, 0.3])
    return poses


def _model(open_body: BodyModel, **options: object) -> NeuralBodyModel:
    torch.manual_seed(0)
    motion = BodyMotion.evenly_timed(_poses(open_body.num_joints))
    subject = Subject(
        body_model=open_body, betas=torch.zeros(open_body.num_betas), motion=motion, box_padding=(0.0, 0.0, 0.05)
    )
    config = NeuralBodyModelConfig(voxel_size=0.05, num_samples=12, density_scale=20.0, **options)  # pyright: ignore[reportArgumentType]
    metadata = {"subject": subject, "train_frame_indices": torch.tensor(TRAIN_FRAMES)}
    box = SceneBox(aabb=torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]]))
    model = config.setup(scene_box=box, num_train_data=4, metadata=metadata)
    # A fresh network may be empty everywhere: a raised bias makes it a fog with the codes' structure in it.
    with torch.no_grad():
        model.field.heads.density.bias += 0.2
    return model.eval()


@pytest.fixture(scope="module")
def model(open_body: BodyModel) -> NeuralBodyModel:
    """A model in evaluation mode."""
    return _model(open_body)


def _camera(time: float | None, size: int = 16) -> Cameras:
    pose = torch.eye(4)[None, :3]
    pose[0, :, 3] = torch.tensor([0.1, -0.2, 3.0])
    times = None if time is None else torch.tensor([[time]])
    return Cameras(
        pose, fx=24.0, fy=24.0, cx=size / 2, cy=size / 2, width=size, height=size,
        camera_type=CameraType.PERSPECTIVE, times=times,
    )  # fmt: skip


def _rays(time: float | None) -> RayBundle:
    return _camera(time).generate_rays(camera_indices=0, keep_shape=True).flatten()


def test_the_tools_find_the_outputs_they_need(model: NeuralBodyModel) -> None:
    outputs = model.get_outputs_for_camera(_camera(0.0))
    assert outputs["rgb"].shape == (16, 16, 3)
    assert outputs["depth"].shape == outputs["accumulation"].shape == (16, 16, 1)
    assert outputs["accumulation"].max() > 0.5
    # Exports ask for colour with opacity.
    assert model.get_rgba_image(outputs).shape == (16, 16, 4)


@torch.no_grad()
def test_an_image_is_its_rays(model: NeuralBodyModel) -> None:
    image = model.get_outputs_for_camera(_camera(0.3))
    rays = model(_rays(0.3))
    for name in ("rgb", "depth", "accumulation"):
        assert_close(image[name].flatten(0, 1), rays[name])


@torch.no_grad()
def test_each_ray_sees_the_body_of_its_own_time(model: NeuralBodyModel) -> None:
    early, late = model(_rays(0.0)), model(_rays(1.0))
    mixed_rays = _rays(0.0)
    assert mixed_rays.times is not None
    is_late = torch.arange(len(mixed_rays)) % 3 == 0
    mixed_rays.times = is_late[:, None].float()
    mixed = model(mixed_rays)
    assert (early["rgb"] - late["rgb"]).abs().max() > 1e-3
    assert_close(mixed["rgb"], torch.where(is_late[:, None], late["rgb"], early["rgb"]))


@torch.no_grad()
def test_times_outside_the_motion_are_its_ends_and_none_is_the_first_frame(model: NeuralBodyModel) -> None:
    assert_close(model(_rays(1.7))["rgb"], model(_rays(1.0))["rgb"])
    assert_close(model(_rays(None))["rgb"], model(_rays(0.0))["rgb"])


@torch.no_grad()
def test_a_camera_path_of_whole_numbers_renders_as_one_of_floats(model: NeuralBodyModel) -> None:
    matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1]

    def rendered(numbers: list[int] | list[float]) -> torch.Tensor:
        entry = {"camera_to_world": numbers, "fov": 40, "render_time": numbers[0]}
        path = {"render_height": 12, "render_width": 12, "camera_path": [entry]}
        return model.get_outputs_for_camera(get_path_from_json(path)[0:1])["rgb"]

    assert rendered(matrix).any()
    assert_close(rendered(matrix), rendered([float(number) for number in matrix]))


def test_rays_beside_the_person_see_the_background(model: NeuralBodyModel) -> None:
    away = _rays(0.0)
    away.directions = -away.directions
    outputs = model(away)
    assert_close(outputs["rgb"], torch.zeros_like(outputs["rgb"]))
    assert_close(outputs["accumulation"], torch.zeros_like(outputs["accumulation"]))
    colour = torch.tensor([0.2, 0.4, 0.6])
    with background_color_override_context(colour):
        assert_close(model(away)["rgb"], colour.expand(len(away), 3))
        image = model.get_outputs_for_camera(_camera(0.0))
    blended = image["rgb"][image["accumulation"][..., 0] == 0]
    assert len(blended) > 0
    assert_close(blended, colour.expand(len(blended), 3))


@torch.no_grad()
def test_reposing_to_the_last_training_frame_reproduces_it(open_body: BodyModel) -> None:
    model = _model(open_body)
    captured = model.get_outputs_for_camera(_camera(2 / 3))["rgb"]
    elsewhere = model.get_outputs_for_camera(_camera(0.0))["rgb"]
    model.set_motion(BodyMotion.evenly_timed(_poses(open_body.num_joints)[2:3]))
    assert_close(model.get_outputs_for_camera(_camera(0.0))["rgb"], captured)
    model.set_motion(None)
    assert_close(model.get_outputs_for_camera(_camera(0.0))["rgb"], elsewhere)


@torch.no_grad()
def test_frames_have_their_own_code_and_unseen_ones_the_last(open_body: BodyModel) -> None:
    model = _model(open_body)
    before = [model.get_outputs_for_camera(_camera(frame / 3))["rgb"] for frame in range(4)]
    model.field.frame_codes.weight[2] += 1.0
    after = [model.get_outputs_for_camera(_camera(frame / 3))["rgb"] for frame in range(4)]
    changed = [bool((b - a).abs().max() > 1e-4) for b, a in zip(before, after, strict=True)]
    assert changed == [False, False, True, True]


def test_moving_the_model_keeps_the_captured_motion_captured(open_body: BodyModel) -> None:
    model = _model(open_body)
    model.to(torch.float64)
    assert model.moves_as_captured
    assert model.subject.betas.dtype == torch.float64
    assert model.subject.body_model.faces.dtype == torch.int64


def test_checkpoints_hold_weights_and_no_body(open_body: BodyModel) -> None:
    model = _model(open_body)
    names = set(model.state_dict())
    assert names - {"device_indicator_param"} == {f"field.{name}" for name in model.field.state_dict()}


def test_loss_is_the_mean_squared_error_on_the_blended_image(model: NeuralBodyModel) -> None:
    outputs = {"rgb": torch.tensor([[0.5, 0.5, 0.5], [0.1, 0.0, 0.0]]), "accumulation": torch.ones(2, 1)}
    # The second pixel is outside of the silhouette: its colour counts as black.
    batch = {"image": torch.tensor([[1.0, 0.5, 0.5, 1.0], [0.9, 0.9, 0.9, 0.0]])}
    assert_close(model.get_loss_dict(outputs, batch)["rgb_loss"], torch.tensor((0.25 + 0.01) / 6))
    psnr = -10 * torch.log10(torch.tensor((0.25 + 0.01) / 6))
    assert_close(model.get_metrics_dict(outputs, batch)["psnr"], psnr)


def test_every_weight_is_trained(open_body: BodyModel) -> None:
    model = _model(open_body).train()
    outputs = model(_rays(1 / 3))
    model.get_loss_dict(outputs, {"image": torch.rand(256, 4)})["rgb_loss"].backward()
    (group,) = model.get_param_groups().values()
    missing = [name for name, weight in model.field.named_parameters() if weight.grad is None]
    assert missing == []
    assert {id(weight) for weight in group} == {id(weight) for weight in model.field.parameters()}


@torch.no_grad()
def test_skipping_empty_space_changes_only_what_reads_no_code(open_body: BodyModel) -> None:
    # With a density that vanishes where nothing is read, skipping such samples must change nothing at all.
    full, skipping = _model(open_body), _model(open_body, empty_space_level=4)
    for model in (full, skipping):
        frames = model.posed_bodies(torch.zeros(1, 1), 1)
        (volume,) = model._diffuse(frames)
        far = torch.tensor([[50.0, 50.0, 50.0]])
        density, _ = model.field(volume, far, torch.tensor([[0.0, 0.0, 1.0]]), 0)
        model.field.heads.density.bias -= density[0] + 1e-3
    assert_close(full.get_outputs_for_camera(_camera(0.0))["rgb"], skipping.get_outputs_for_camera(_camera(0.0))["rgb"])


def test_a_capture_without_its_body_model_cannot_be_posed_anew(open_body: BodyModel) -> None:
    model = _model(open_body)
    vertices = model.subject.posed_body(torch.arange(4)).vertices
    model._captured_subject = replace(model.subject, motion=replace(model.subject.motion, vertices=vertices))
    with pytest.raises(ValueError, match="body-model-path"):
        model.set_motion(BodyMotion.evenly_timed(_poses(open_body.num_joints)))
