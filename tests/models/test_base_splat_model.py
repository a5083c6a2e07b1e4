"""What all splat avatars share: cameras and times, backgrounds, crops, the image's scale, losses and metrics."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.motion import BodyMotion
from human_avatars.models.avatar_splat import AvatarSplatModel
from human_avatars.models.base_splat_model import DILATION, pinhole_camera
from human_avatars.transforms import transform_points

MakeModel = Callable[..., AvatarSplatModel]
MakeCamera = Callable[..., Cameras]
SIZE = 48


@pytest.fixture
def model(make_splats: MakeModel) -> AvatarSplatModel:
    """An avatar without light, in evaluation mode."""
    return make_splats()


def _box(*scale: float, place: tuple[float, ...] = (0.0, 0.0, 0.0)) -> OrientedBox:
    return OrientedBox(R=torch.eye(3), T=torch.tensor(place), S=torch.tensor(scale))


def _halved(picture: Tensor) -> Tensor:
    return avg_pool2d(picture.permute(2, 0, 1), 2).permute(1, 2, 0)


def _batch(alpha: float = 1.0) -> dict[str, Tensor]:
    """A photograph with stripes, and which pixels count."""
    image = (torch.arange(SIZE) % 8 < 4).float()[None, :, None].repeat(SIZE, 1, 4)
    image[..., 3] = alpha
    valid = torch.ones(SIZE, SIZE, 1, dtype=torch.bool)
    return {"image": image, "mask": valid, "mask_at_box": valid}


@torch.no_grad()
def test_the_tools_find_the_outputs_they_need(model: AvatarSplatModel, make_camera: MakeCamera) -> None:
    outputs = model.get_outputs_for_camera(make_camera())
    assert outputs["rgb"].shape == (SIZE, SIZE, 3)
    assert outputs["depth"].shape == outputs["accumulation"].shape == (SIZE, SIZE, 1)
    assert outputs["background"].shape == (3,)
    assert model.get_rgba_image(outputs).shape == (SIZE, SIZE, 4)
    on_person = outputs["accumulation"] > 0.9
    assert on_person.sum() > 100
    # The camera is three metres away; what is empty counts as behind the person.
    assert_close(outputs["depth"][on_person], torch.full((int(on_person.sum()),), 3.0), atol=0.3, rtol=0)
    empty = outputs["accumulation"] == 0
    assert_close(outputs["depth"][empty], outputs["depth"].max().expand(int(empty.sum())))


def test_cameras_are_nerfstudios(make_camera: MakeCamera) -> None:
    camera = make_camera(shift=(0.3, 0.2, 0.1))
    pinhole = pinhole_camera(camera)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    points = (rays.origins + 2.5 * rays.directions)[::7, ::5].reshape(-1, 3)
    seen = transform_points(pinhole.world_to_camera, points) @ pinhole.intrinsics.T
    rows, columns = torch.meshgrid(torch.arange(0, SIZE, 7) + 0.5, torch.arange(0, SIZE, 5) + 0.5, indexing="ij")
    assert (pinhole.width, pinhole.height) == (SIZE, SIZE)
    assert bool((seen[:, 2] > 0).all())
    assert_close(seen[:, :2] / seen[:, 2:], torch.stack([columns, rows], dim=-1).reshape(-1, 2), atol=1e-3, rtol=0)


@torch.no_grad()
def test_times_outside_the_motion_are_its_ends(model: AvatarSplatModel, make_camera: MakeCamera) -> None:
    first, last = (model.get_outputs_for_camera(make_camera(time))["rgb"] for time in (0.0, 1.0))
    assert (first - last).abs().max() > 0.2
    assert_close(model.get_outputs_for_camera(make_camera(-0.5))["rgb"], first, atol=0, rtol=0)
    assert_close(model.get_outputs_for_camera(make_camera(1.7))["rgb"], last, atol=0, rtol=0)


@torch.no_grad()
def test_no_time_is_the_first_frame_with_a_warning(
    model: AvatarSplatModel, make_camera: MakeCamera, capsys: pytest.CaptureFixture[str]
) -> None:
    first = model.get_outputs_for_camera(make_camera(0.0))["rgb"]
    assert "carry no time" not in capsys.readouterr().out
    for _ in range(2):
        assert_close(model.get_outputs_for_camera(make_camera(None))["rgb"], first, atol=0, rtol=0)
    assert capsys.readouterr().out.count("carry no time") == 1


@torch.no_grad()
def test_a_camera_path_of_whole_numbers_renders_as_one_of_floats(model: AvatarSplatModel) -> None:
    matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1]

    def rendered(numbers: list[int] | list[float]) -> Tensor:
        entry = {"camera_to_world": numbers, "fov": 60, "render_time": numbers[0]}
        path = {"render_height": 20, "render_width": 24, "camera_path": [entry]}
        return model.get_outputs_for_camera(get_path_from_json(path)[0:1])["rgb"]

    assert rendered(matrix).shape == (20, 24, 3)
    assert rendered(matrix).any()
    assert_close(rendered(matrix), rendered([float(number) for number in matrix]), atol=0, rtol=0)


@torch.no_grad()
def test_reposing_to_the_captured_motion_reproduces_it(
    model: AvatarSplatModel, make_camera: MakeCamera, arm_motion: BodyMotion
) -> None:
    captured = [model.get_outputs_for_camera(make_camera(time))["rgb"] for time in (0.0, 1.0)]
    poses = replace(arm_motion.poses, transl=arm_motion.poses.transl.clone())
    model.set_motion(BodyMotion.evenly_timed(poses))
    assert not model.moves_as_captured
    for time, expected in zip((0.0, 1.0), captured, strict=True):
        # The body is worked out anew, on more threads or on fewer, which may round otherwise; so may fewer frames.
        assert_close(model.get_outputs_for_camera(make_camera(time))["rgb"], expected, atol=1e-3, rtol=0)
    model.set_motion(BodyMotion.evenly_timed(arm_motion.poses[3:]))
    assert_close(model.get_outputs_for_camera(make_camera(0.0))["rgb"], captured[1], atol=1e-3, rtol=0)
    model.set_motion(None)
    assert_close(model.get_outputs_for_camera(make_camera(0.0))["rgb"], captured[0], atol=0, rtol=0)


@pytest.mark.parametrize("name", ["black", "white"])
def test_backgrounds_are_random_in_training_alone(name: str, make_splats: MakeModel, make_camera: MakeCamera) -> None:
    configured = torch.full((3,), 1.0 if name == "white" else 0.0)
    model = make_splats(background_color=name)
    outputs = model.get_outputs_for_camera(make_camera())
    assert_close(outputs["background"], configured)
    assert_close(outputs["rgb"][0, 0], configured)
    model.train()
    drawn = [model.get_outputs(make_camera()) for _ in range(2)]
    assert (drawn[0]["background"] - drawn[1]["background"]).abs().max() > 1e-3
    for outputs in drawn:
        assert_close(outputs["rgb"][0, 0], outputs["background"])
    model.config.random_background = False
    # What the viewer shows beside does not reach the training.
    model.set_background(torch.tensor([0.2, 0.4, 0.6]))
    assert_close(model.get_outputs(make_camera())["background"], configured)


@torch.no_grad()
@pytest.mark.parametrize("name", ["black", "white"])
def test_the_viewers_background_is_for_one_picture(name: str, make_splats: MakeModel, make_camera: MakeCamera) -> None:
    model, batch = make_splats(background_color=name), _batch(0.8)
    plain = model.get_outputs_for_camera(make_camera())
    model.set_background(torch.tensor([0.2, 0.4, 0.6]))
    coloured = model.get_outputs_for_camera(make_camera())
    assert_close(coloured["rgb"][0, 0], torch.tensor([0.2, 0.4, 0.6]))
    after = model.get_outputs_for_camera(make_camera())
    assert_close(after["rgb"], plain["rgb"], atol=0, rtol=0)
    _, pictures = model.get_image_metrics_and_images(after, batch)
    assert pictures["img"].shape == (SIZE, 2 * SIZE, 3)


@torch.no_grad()
def test_crops_leave_gaussians_out_of_one_picture(model: AvatarSplatModel, make_camera: MakeCamera) -> None:
    whole = model.get_outputs_for_camera(make_camera())
    upper = model.get_outputs_for_camera(make_camera(), _box(4.0, 1.0, 4.0, place=(0.0, 0.4, 0.0)))
    below = slice(SIZE // 2, None)  # The box ends 0.1 m below the origin, the picture's middle is 0.3 m below it.
    assert upper["accumulation"].max() > 0.9
    assert whole["accumulation"][below].max() > 0.9
    assert upper["accumulation"][below].max() < 0.05
    # What is left looks as before, where nothing else covers it.
    assert_close(upper["rgb"][: SIZE // 4], whole["rgb"][: SIZE // 4], atol=2e-3, rtol=0)
    assert model.crop_box is None
    assert_close(model.get_outputs_for_camera(make_camera())["rgb"], whole["rgb"], atol=0, rtol=0)
    # A box around everything crops nothing.
    everything = model.get_outputs_for_camera(make_camera(), _box(9.0, 9.0, 9.0))
    assert_close(everything["rgb"], whole["rgb"], atol=0, rtol=0)


@torch.no_grad()
def test_a_crop_without_gaussians_is_background(model: AvatarSplatModel, make_camera: MakeCamera) -> None:
    colour = torch.tensor([0.2, 0.4, 0.6])
    model.set_background(colour)
    outputs = model.get_outputs_for_camera(make_camera(), _box(0.1, 0.1, 0.1, place=(9.0, 9.0, 9.0)))
    assert_close(outputs["rgb"], colour.expand(SIZE, SIZE, 3))
    assert not outputs["accumulation"].any()
    assert outputs["depth"].isfinite().all()


def test_a_crop_ends_with_an_error(model: AvatarSplatModel) -> None:
    broken = Cameras(torch.eye(4)[:3].repeat(2, 1, 1), fx=9.0, fy=9.0, cx=4.0, cy=4.0, width=8, height=8)
    with pytest.raises(RuntimeError):
        model.get_outputs_for_camera(broken, _box(1.0, 1.0, 1.0))
    assert model.crop_box is None


@torch.no_grad()
def test_a_finer_picture_shows_the_same_person(
    model: AvatarSplatModel, make_camera: MakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small Gaussians depend on what widens them.
    model.log_scales.sub_(1.0)
    coarse = model.get_outputs_for_camera(make_camera())

    def difference() -> float:
        fine = model.get_outputs_for_camera(make_camera(resolution=2))
        return float((_halved(fine["rgb"]) - coarse["rgb"]).abs().mean())

    followed = difference()
    monkeypatch.setattr(model, "_dilation", lambda *args: DILATION)
    assert followed < 0.06 * float(coarse["rgb"].mean())
    assert followed < difference() / 4


@torch.no_grad()
def test_the_scale_of_training_belongs_to_the_weights(make_splats: MakeModel, make_camera: MakeCamera) -> None:
    trained, other = make_splats(), make_splats()
    trained.pixels_per_metre.fill_(12.0)
    coarse = trained.get_outputs_for_camera(make_camera())["rgb"]
    # Half as many pixels a metre: four times the variance, in pixels of now.
    assert (coarse - other.get_outputs_for_camera(make_camera())["rgb"]).abs().max() > 0.01
    other.load_state_dict(trained.state_dict())
    assert_close(other.get_outputs_for_camera(make_camera())["rgb"], coarse, atol=0, rtol=0)
    widening = trained.still_gaussians().covariances - trained.posed_gaussians(0, None).covariances
    assert_close(widening, (DILATION / 144 * torch.eye(3)).expand_as(widening), atol=1e-6, rtol=0)


def test_losses_by_hand(make_splats: MakeModel) -> None:
    model = make_splats(ssim_weight=0.0, silhouette_weight=0.5).train()
    background = torch.tensor([0.0, 0.5, 1.0])
    outputs = {
        "rgb": torch.full((SIZE, SIZE, 3), 0.5, requires_grad=True),
        "accumulation": torch.full((SIZE, SIZE, 1), 0.75),
        "background": background,
    }
    image = torch.tensor([1.0, 0.0, 0.0, 0.5]).repeat(SIZE, SIZE, 1)
    valid = torch.ones(SIZE, SIZE, 1, dtype=torch.bool)
    # On this background the photograph is (0.5, 0.25, 0.5): errors 0, 0.25 and 0.
    losses = model.get_loss_dict(outputs, {"image": image, "mask": valid})
    assert_close(losses["image_loss"], torch.tensor(0.25 / 3))
    assert_close(losses["silhouette_loss"], torch.tensor(0.5 * 0.25))
    assert set(losses) == {"image_loss", "silhouette_loss"}
    psnr = model.get_metrics_dict(outputs, {"image": image, "mask": valid})["psnr"]
    assert psnr.item() == pytest.approx(-10 * math.log10(0.25**2 / 3))
    # Whatever stands in pixels that do not count changes nothing.
    valid[: SIZE // 2] = False
    image[: SIZE // 2] = torch.tensor([0.0, 1.0, 1.0, 0.1])
    losses = model.get_loss_dict(outputs, {"image": image, "mask": valid})
    assert_close(losses["silhouette_loss"], torch.tensor(0.5 * 0.25))
    assert_close(model.get_metrics_dict(outputs, {"image": image, "mask": valid})["psnr"], psnr)
    losses["image_loss"].backward()
    gradient = outputs["rgb"].grad
    assert gradient is not None
    assert not gradient[: SIZE // 2].any()
    assert gradient[SIZE // 2 :, :, 1].all()


def test_meshes_of_another_body_cannot_carry_gaussians(
    make_splats: MakeModel, arm_motion: BodyMotion, open_body: BodyModel
) -> None:
    captured = replace(arm_motion, vertices=torch.zeros(4, open_body.num_vertices, 3))
    with pytest.raises(ValueError, match=r"AvatarSplatModel moves Gaussians by .*--body-model-path"):
        make_splats(motion=captured)
