"""GaussianAvatar as a model: what is decoded when, what each stage learns, and that it learns at all."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.motion import BodyMotion
from human_avatars.models.gaussian_avatar import GaussianAvatarModel, GaussianAvatarModelConfig

SIZE = 48
NUM_FRAMES = 4
MakeModel = Callable[..., GaussianAvatarModel]
Attributes = Callable[..., TrainingCallbackAttributes]


def _camera(frame: int) -> Cameras:
    pose = torch.eye(4)[None, :3]
    pose[0, :, 3] = torch.tensor([0.1, -0.2, 3.0])
    return Cameras(
        pose, fx=54.0, fy=54.0, cx=SIZE / 2, cy=SIZE / 2, width=SIZE, height=SIZE,
        camera_type=CameraType.PERSPECTIVE, times=torch.tensor([[frame / (NUM_FRAMES - 1)]]),
    )  # fmt: skip


def _photograph(model: GaussianAvatarModel, frame: int) -> dict[str, Tensor]:
    """What the model should look like: itself in stripes."""
    with torch.no_grad():
        alpha = model.eval().get_outputs_for_camera(_camera(frame))["accumulation"]
    model.train()
    stripes = torch.stack([torch.arange(SIZE) % 8 < 4, torch.arange(SIZE) % 12 < 6, torch.ones(SIZE)], dim=-1)
    image = torch.cat([stripes.float().expand(SIZE, SIZE, 3), (alpha > 0.5).float()], dim=-1)
    return {"image": image, "mask": torch.ones(SIZE, SIZE, 1, dtype=torch.bool)}


def _loss(model: GaussianAvatarModel, frame: int, batch: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(model.get_loss_dict(model.get_outputs(_camera(frame)), batch).values())).sum()


def _count_decodings(model: GaussianAvatarModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    decode = model.field.decoder.forward
    monkeypatch.setattr(model.field.decoder, "forward", lambda *args: calls.append(1) or decode(*args))
    return calls


@pytest.mark.parametrize("stage", [1, 2])
def test_the_baked_avatar_is_the_unbaked_one(stage: int, make_avatar: MakeModel) -> None:
    model = make_avatar(stage=stage).eval()
    for frame in (0, 2, 0):
        unbaked = model.get_outputs(_camera(frame))
        baked = model.get_outputs_for_camera(_camera(frame))
        assert unbaked["rgb"].requires_grad
        assert_close(baked["rgb"], unbaked["rgb"].detach())
    assert baked["accumulation"].max() > 0.9


def test_stage_1_decodes_once_for_all_poses_and_anew_after_a_change(
    make_avatar: MakeModel, monkeypatch: pytest.MonkeyPatch, arm_motion: BodyMotion
) -> None:
    model = make_avatar().eval()
    calls = _count_decodings(model, monkeypatch)
    for frame in range(NUM_FRAMES):
        model.get_outputs_for_camera(_camera(frame))
    model.set_motion(BodyMotion.evenly_timed(arm_motion.poses[2:3]))
    model.get_outputs_for_camera(_camera(0))
    assert len(calls) == 1
    model.load_state_dict(model.state_dict())
    model.get_outputs_for_camera(_camera(0))
    assert len(calls) == 2


def test_stage_2_decodes_once_per_pose(
    make_avatar: MakeModel, monkeypatch: pytest.MonkeyPatch, arm_motion: BodyMotion
) -> None:
    model = make_avatar(stage=2).eval()
    calls = _count_decodings(model, monkeypatch)
    for frame in (0, 0, 1, 1, 0):
        captured = model.get_outputs_for_camera(_camera(frame))["rgb"]
    assert len(calls) == 3
    model.set_motion(BodyMotion.evenly_timed(arm_motion.poses[2:3]))
    assert (model.get_outputs_for_camera(_camera(0))["rgb"] - captured).abs().max() > 0.1
    assert len(calls) == 4


@pytest.mark.parametrize("stage", [1, 2])
def test_reposing_to_a_captured_pose_reproduces_it(stage: int, make_avatar: MakeModel, arm_motion: BodyMotion) -> None:
    model = make_avatar(stage=stage).eval()
    captured = model.get_outputs_for_camera(_camera(2))["rgb"]
    model.set_motion(BodyMotion.evenly_timed(arm_motion.poses[2:3]))
    assert_close(model.get_outputs_for_camera(_camera(0))["rgb"], captured)


def test_steps_of_an_update_share_a_decoding(
    make_avatar: MakeModel, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_avatar().train()
    callbacks = model.get_training_callbacks(attributes(features=2, decoder=2))
    calls = _count_decodings(model, monkeypatch)
    for step in range(4):
        for callback in callbacks:
            callback.run_callback(step)
        model.get_outputs(_camera(step))["rgb"].sum().backward()
    assert len(calls) == 2
    with pytest.raises(ValueError, match="same number of steps"):
        model.get_training_callbacks(attributes(features=2))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_few_steps_lower_the_loss(stage: int, make_avatar: MakeModel) -> None:
    model = make_avatar(stage=stage)
    batches = [_photograph(model, frame) for frame in range(2)]
    weights = [weight for group in model.get_param_groups().values() for weight in group]
    optimizer = torch.optim.Adam(weights, lr=3e-3)
    losses = []
    for step in range(24):
        model.update_to_step(step)
        optimizer.zero_grad()
        loss = _loss(model, step % 2, batches[step % 2])
        loss.backward()
        assert all(weight.grad is not None for weight in weights)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.6 * sum(losses[:2])


def test_losses_have_the_published_weights(make_avatar: MakeModel) -> None:
    model = make_avatar(initial_radius="ramp").train()
    batch = _photograph(model, 0)
    model.update_to_step(249)  # 250 steps done: an eighth of the ramp; 3 images an epoch make this the 84th.
    outputs = model.get_outputs(_camera(0))
    losses = model.get_loss_dict(outputs, batch)
    texels = model.field()
    assert_close(losses["offset_loss"], 10 * 0.85**4 * texels.offsets.square().mean())
    assert_close(losses["scale_loss"], 0.03 * 0.125 * texels.radii.mean())
    assert_close(losses["feature_loss"], model.field.features.square().mean())
    assert set(losses) == {"image_loss", "silhouette_loss", "offset_loss", "scale_loss", "feature_loss"}
    assert losses["silhouette_loss"] == 0


def test_stage_2_holds_pose_features_back(make_avatar: MakeModel) -> None:
    model = make_avatar(stage=2).train()
    batch = _photograph(model, 0)
    losses = model.get_loss_dict(model.get_outputs(_camera(0)), batch)
    features = model._last_pose_features
    assert features is not None
    assert_close(losses["pose_feature_loss"], 10 * features.square().mean())
    assert not {"scale_loss", "feature_loss"} & set(losses)


def test_the_perceptual_loss_begins_after_its_epochs(make_avatar: MakeModel) -> None:
    model = make_avatar(lpips_weight=0.2, lpips_start_epoch=2).train()
    batch = _photograph(model, 0)
    model._perceptual_loss = lambda rgb, target: torch.tensor(0.5)  # pyright: ignore[reportAttributeAccessIssue]
    found = []
    for step in (0, 5, 6):
        model.update_to_step(step)
        found.append(model.get_loss_dict(model.get_outputs(_camera(0)), batch).get("lpips_loss"))
    assert found == [None, None, torch.tensor(0.1)]


def test_radii_grow_over_the_ramp(make_avatar: MakeModel) -> None:
    model = make_avatar(initial_radius="ramp").eval()

    def radius(step: int) -> Tensor:
        model.update_to_step(step)
        return model.posed_gaussians(0, None).covariances[:, 0, 0].sqrt().mean().detach()

    assert_close(radius(0) / radius(2000), torch.tensor(5e-4), rtol=1e-3, atol=0)
    assert_close(radius(999) / radius(2000), torch.tensor(0.5))
    assert 0.2 < radius(2000) < 0.7


def test_radii_may_begin_at_the_distance_between_texels(make_avatar: MakeModel) -> None:
    model = make_avatar().eval()
    gaussians = model.posed_gaussians(0, None)
    spread = (gaussians.means[:, None] - gaussians.means[None]).norm(dim=-1).topk(2, largest=False).values[:, 1]
    radii = gaussians.covariances[:, 0, 0].sqrt()
    assert 0.3 < radii.median() / spread.median() < 3


def test_gaussians_are_balls_as_opaque_as_can_be(make_avatar: MakeModel) -> None:
    gaussians = make_avatar().eval().posed_gaussians(1, None)
    assert_close(gaussians.opacities, torch.ones_like(gaussians.opacities))
    diagonal = gaussians.covariances.diagonal(dim1=-2, dim2=-1)
    assert_close(gaussians.covariances, torch.diag_embed(diagonal[:, :1].expand(-1, 3)))


def test_checkpoints_hold_weights_and_no_body(make_avatar: MakeModel) -> None:
    model = make_avatar(stage=2)
    names = set(model.state_dict()) - {"device_indicator_param", "built_for", "pixels_per_metre"}
    assert names == {f"field.{name}" for name in model.field.state_dict()}


def test_moving_the_model_moves_the_texels(make_avatar: MakeModel) -> None:
    model = make_avatar(stage=2).to(torch.float64)
    assert model.position_texels is not None
    assert model.position_texels.barycentric.dtype == model.texels.points.dtype == torch.float64


def test_a_capture_without_its_body_model_is_refused(make_avatar: MakeModel, open_body: BodyModel) -> None:
    subject = make_avatar().subject
    vertices = subject.posed_body(torch.arange(NUM_FRAMES)).vertices
    strange = replace(subject, motion=replace(subject.motion, vertices=vertices))
    metadata = {"subject": strange, "train_frame_indices": torch.arange(3), "pixels_per_metre": 18.0}
    box = SceneBox(aabb=torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]]))
    with pytest.raises(ValueError, match="body-model-path"):
        GaussianAvatarModelConfig(uv_size=32).setup(scene_box=box, num_train_data=3, metadata=metadata)
