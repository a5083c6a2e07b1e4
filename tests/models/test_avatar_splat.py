"""avatar-splat: how Gaussians follow the body, what colours them, what learns, and whose weights load."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.body_models.motion import BodyMotion
from human_avatars.engine.optimizers import FusedAdamConfig
from human_avatars.models.avatar_splat import AvatarSplatModel, fingerprint
from human_avatars.transforms import axis_angle_to_matrix, matrix_to_axis_angle

MakeModel = Callable[..., AvatarSplatModel]
MakeCamera = Callable[..., Cameras]

TURN = axis_angle_to_matrix(torch.tensor([0.4, 1.9, -0.7]))


def _turned(motion: BodyMotion, body: BodyModel) -> BodyMotion:
    """The motion of a person whose whole world is turned round its origin."""
    root = body.with_shape(torch.zeros(body.num_betas)).rest_joints[0]
    orientations = axis_angle_to_matrix(motion.poses.global_orient)
    poses = replace(
        motion.poses,
        global_orient=matrix_to_axis_angle(TURN @ orientations),
        transl=(motion.poses.transl + root) @ TURN.mT - root,
    )
    return BodyMotion.evenly_timed(poses)


def _with_pose_blend_shapes(body: BodyModel) -> BodyModel:
    """The body with displacements of about a centimetre for a bent joint."""
    generator = torch.Generator().manual_seed(3)
    directions = 0.01 * torch.randn(body.num_vertices, 3, 9 * (body.num_joints - 1), generator=generator)
    return replace(body, pose_directions=directions)


@torch.no_grad()
def _light_from_one_side(model: AvatarSplatModel) -> None:
    assert model.light is not None
    model.light.log_radiance.fill_(-4.0)
    model.light.log_radiance[5] = 0.5


@torch.no_grad()
def _perturb(model: AvatarSplatModel, group: str) -> None:
    """Change one group of parameters by as much as training may."""
    sizes = {"means": 0.01, "scales": 0.4, "body_pose_opt": 0.03}
    for parameter in model.get_param_groups()[group]:
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
        parameter += sizes.get(group, 1.0) * noise


@torch.no_grad()
def _photograph(model: AvatarSplatModel, camera: Cameras) -> dict[str, Tensor]:
    outputs = model.eval().get_outputs(camera)
    alpha = outputs["accumulation"]
    colours = torch.where(alpha > 0, outputs["rgb"] / alpha.clamp(min=1e-6), 0.0)
    return {"image": torch.cat([colours, alpha], dim=-1), "mask": torch.ones_like(alpha, dtype=torch.bool)}


@torch.no_grad()
@pytest.mark.parametrize("sh_degree", [0, 1])
def test_turning_the_world_and_the_camera_together_changes_nothing(
    sh_degree: int, make_splats: MakeModel, make_camera: MakeCamera, arm_motion: BodyMotion, open_body: BodyModel
) -> None:
    model = make_splats(sh_degree=sh_degree)
    still = model.get_outputs_for_camera(make_camera(1 / 3))
    model.set_motion(_turned(arm_motion, open_body))
    turned = model.get_outputs_for_camera(make_camera(1 / 3, turn=TURN))
    assert still["accumulation"].max() > 0.9
    for name in ("rgb", "depth", "accumulation"):
        assert_close(turned[name], still[name], atol=1e-3, rtol=0)
    # The world alone looks otherwise.
    assert (model.get_outputs_for_camera(make_camera(1 / 3))["rgb"] - still["rgb"]).abs().max() > 0.2


@torch.no_grad()
def test_a_person_who_turns_under_the_light_is_shaded_anew(
    make_splats: MakeModel, make_camera: MakeCamera, arm_motion: BodyMotion, open_body: BodyModel
) -> None:
    model = make_splats(light_directions=16)
    _light_from_one_side(model)
    still = model.get_outputs_for_camera(make_camera())
    model.set_motion(_turned(arm_motion, open_body))
    turned = model.get_outputs_for_camera(make_camera(turn=TURN))
    assert_close(turned["accumulation"], still["accumulation"], atol=1e-3, rtol=0)
    assert_close(turned["depth"], still["depth"], atol=1e-3, rtol=0)
    assert (turned["rgb"] - still["rgb"]).abs().mean() > 0.02
    # Under a light that turns as well they look as before, but for how shadows fall into the cells of their maps.
    assert model.light is not None
    model.light.directions.copy_(model.light.directions @ TURN.mT)
    model.set_motion(_turned(arm_motion, open_body))
    turned = model.get_outputs_for_camera(make_camera(turn=TURN))
    assert (turned["rgb"] - still["rgb"]).abs().mean() < 0.002


@torch.no_grad()
def test_a_fresh_light_shades_by_shadows_alone(make_splats: MakeModel) -> None:
    model = make_splats(light_directions=32)
    plain = torch.sigmoid(model.color_logits)
    gaussians = model.posed_gaussians(0, None)
    factors = gaussians.colors / plain
    assert factors.max() < 1.02
    assert factors.min() < 0.7
    # The top of the head is shadowed by nothing.
    top = gaussians.means[:, 1].argmax()
    assert_close(factors[top], torch.ones(3), atol=0.1, rtol=0)


@torch.no_grad()
def test_shadows_follow_the_pose(
    make_splats: MakeModel, make_camera: MakeCamera, arm_motion: BodyMotion, open_body: BodyModel
) -> None:
    model = make_splats(light_directions=16)
    captured = [model.posed_gaussians(frame, None).colors for frame in (0, 3)]
    assert (captured[0] - captured[1]).abs().max() > 0.02
    # The frame of the same number in another motion has shadows of its own.
    model.set_motion(BodyMotion.evenly_timed(arm_motion.poses[3:]))
    assert_close(model.posed_gaussians(0, None).colors, captured[1])
    model.set_motion(None)
    assert_close(model.posed_gaussians(0, None).colors, captured[0])


@torch.no_grad()
def test_harmonics_depend_on_the_side_seen(make_splats: MakeModel) -> None:
    model, plain = make_splats(sh_degree=1), make_splats()
    front, back = (model.posed_gaussians(0, torch.tensor([0.0, 0.0, z])).colors for z in (5.0, -5.0))
    assert (front - back).abs().mean() > 0.05
    # Without a side, and without harmonics, the colour is the constant part.
    constant = torch.sigmoid(model.color_logits)
    assert_close(model.posed_gaussians(0, None).colors, constant)
    assert_close(plain.posed_gaussians(0, torch.tensor([0.0, 0.0, 5.0])).colors, constant)
    # From opposite sides at a distance the first degree's parts are opposite.
    far, opposite = (model.posed_gaussians(0, torch.tensor([0.0, 0.0, z])).colors for z in (1e4, -1e4))
    assert_close((far.logit() + opposite.logit()) / 2, model.color_logits, atol=1e-2, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("has_pose_blend_shapes", [False, True])
def test_gaussians_without_offset_stay_on_the_posed_surface(
    has_pose_blend_shapes: bool, make_splats: MakeModel, open_body: BodyModel
) -> None:
    body = _with_pose_blend_shapes(open_body) if has_pose_blend_shapes else open_body
    model = make_splats(body=body)
    model.offsets.zero_()
    vertices = model.subject.posed_body(torch.tensor([3])).vertices[0]
    # Inside a triangle blended transforms of corners are not transforms of a blend: a little aside at the joints.
    apart = (model.posed_gaussians(3, None).means - model.surface.interpolate(vertices)).norm(dim=-1)
    assert apart.mean() < 1e-4
    assert apart.max() < 5e-3
    if has_pose_blend_shapes:
        unbent = make_splats().subject.posed_body(torch.tensor([3])).vertices[0]
        assert (unbent - vertices).norm(dim=-1).mean() > 5e-3
    # In a corner they are the vertex.
    weights = model.state_dict()
    weights["barycentric"] = torch.eye(3)[torch.arange(800) % 3]
    model.load_state_dict(weights)
    on_vertices = vertices[model.surface.corners[torch.arange(800), torch.arange(800) % 3]]
    assert_close(model.posed_gaussians(3, None).means, on_vertices, atol=1e-5, rtol=0)


GROUPS = ("means", "scales", "quats", "opacities", "features_dc", "features_rest", "light", "body_pose_opt")
OPTIONS = {"sh_degree": 1, "light_directions": 16, "random_background": False}


@pytest.mark.parametrize("group", GROUPS)
def test_a_few_steps_of_any_group_lower_the_loss(group: str, make_splats: MakeModel, make_camera: MakeCamera) -> None:
    rates = {"means": 1e-3, "body_pose_opt": 2e-3}
    model, truth = (make_splats(body_pose_optimizer=BodyPoseOptimizerConfig(mode="all"), **OPTIONS) for _ in range(2))
    camera = make_camera(1 / 3)
    _perturb(truth, group)
    batch = _photograph(truth, camera)
    assert set(model.train().get_param_groups()) == set(GROUPS)
    parameters = model.get_param_groups()[group]
    optimizer = FusedAdamConfig(lr=rates.get(group, 5e-2)).setup(parameters)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.stack(list(model.get_loss_dict(model.get_outputs(camera), batch).values())).sum()
        loss.backward()
        for parameter in parameters:
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_groups_are_all_that_learns(make_splats: MakeModel) -> None:
    model = make_splats(**OPTIONS)
    grouped = [id(parameter) for group in model.get_param_groups().values() for parameter in group]
    learned = {id(parameter) for name, parameter in model.named_parameters() if name != "device_indicator_param"}
    assert len(grouped) == len(learned)
    assert set(grouped) == learned
    assert set(make_splats().get_param_groups()) == {"means", "scales", "quats", "opacities", "features_dc"}


@torch.no_grad()
def test_weights_make_another_model_the_same(make_splats: MakeModel, make_camera: MakeCamera) -> None:
    model, fresh = make_splats(**OPTIONS), make_splats(**OPTIONS)
    for group in model.get_param_groups():
        _perturb(model, group)
    # Where Gaussians sit belongs to the weights, too.
    sitting = model.state_dict()
    sitting["triangles"] = sitting["triangles"].flip(0)
    model.load_state_dict(sitting)
    model.pixels_per_metre.fill_(17.0)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    before = fresh.get_outputs_for_camera(make_camera(1 / 3))["rgb"]
    fresh.load_state_dict(weights)
    after = fresh.get_outputs_for_camera(make_camera(1 / 3))
    expected = model.get_outputs_for_camera(make_camera(1 / 3))
    assert (after["rgb"] - before).abs().max() > 0.1
    for name in ("rgb", "depth", "accumulation"):
        assert_close(after[name], expected[name], rtol=0, atol=0)


def test_checkpoints_hold_no_body(make_splats: MakeModel) -> None:
    model = make_splats(**OPTIONS)
    names = set(model.state_dict()) - {"device_indicator_param"}
    assert names == {
        "offsets", "log_scales", "rest_quats", "opacity_logits", "color_logits", "color_harmonics",
        "light.log_radiance", "triangles", "barycentric", "body_fingerprint", "pixels_per_metre",
    }  # fmt: skip


def test_weights_that_do_not_fit_are_refused(make_splats: MakeModel, open_body: BodyModel) -> None:
    model, weights = make_splats(), make_splats().state_dict()
    other_body = replace(open_body, name="another body", rest_template=open_body.rest_template * 1.1)
    with pytest.raises(ValueError, match=r"another body than another body.*--body-model-path"):
        make_splats(body=other_body).load_state_dict(weights)
    with pytest.raises(ValueError, match=r"of 800 Gaussians, the model has 500: .*num-gaussians 800"):
        make_splats(num_gaussians=500).load_state_dict(weights)
    with pytest.raises(ValueError, match="no weights of avatar-splat"):
        model.load_state_dict({"field.features": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="log_radiance"):
        model.load_state_dict(make_splats(light_directions=16).state_dict())


def test_fingerprints_tell_bodies_apart(open_body: BodyModel) -> None:
    same = replace(open_body, name="a copy", rest_template=open_body.rest_template.clone())
    flipped = replace(open_body, faces=open_body.faces.flip(1))
    grown = replace(open_body, rest_template=open_body.rest_template * 1.01)
    assert fingerprint(same) == fingerprint(open_body)
    assert len({int(fingerprint(body)) for body in (open_body, flipped, grown)}) == 3


def test_an_avatar_of_nothing_is_refused(make_splats: MakeModel) -> None:
    with pytest.raises(ValueError, match="num_gaussians is 0"):
        make_splats(num_gaussians=0)


@torch.no_grad()
def test_fresh_gaussians_cover_the_body(make_splats: MakeModel, make_camera: MakeCamera) -> None:
    model = make_splats(num_gaussians=2000)
    # As if they had been trained on far finer pictures, so that nothing widens them here.
    model.pixels_per_metre.fill_(1000.0)
    alpha = model.get_outputs_for_camera(make_camera())["accumulation"]
    vertices = model.subject.posed_body(torch.tensor([0])).vertices[0]
    camera = make_camera()
    from_camera = vertices - camera.camera_to_worlds[0, :, 3]
    places = from_camera[:, :2] / -from_camera[:, 2:] * torch.tensor([72.0, -72.0]) + 24
    columns, rows = places.long().unbind(-1)
    inside = (columns >= 0) & (columns < 48) & (rows >= 0) & (rows < 48)
    assert inside.all()
    assert alpha[rows, columns].mean() > 0.95
    covered = torch.zeros(48, 48, dtype=torch.bool)
    covered[rows, columns] = True
    assert alpha[..., 0][~covered].mean() < 0.01


def test_a_steps_small_products_run_on_one_thread(make_splats: MakeModel) -> None:
    callbacks = make_splats().get_training_callbacks(TrainingCallbackAttributes(None, None, None, None))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for place, num_threads in (("BEFORE", 1), ("AFTER", 2)):
            for callback in callbacks:
                callback.run_callback_at_location(0, TrainingCallbackLocation[f"{place}_TRAIN_ITERATION"])
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)


def test_a_moved_model_moves_where_its_gaussians_sit(make_splats: MakeModel) -> None:
    model = make_splats(light_directions=4).to(torch.float64)
    gaussians = model.posed_gaussians(1, None)
    for tensor in (gaussians.means, gaussians.covariances, gaussians.colors, gaussians.opacities):
        assert tensor.dtype == torch.float64
    assert model.surface.triangles.dtype == torch.int64
