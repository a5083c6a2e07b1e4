"""GaussianAvatar's methods as nerfstudio finds them: the published setting, the released one, and the CPU's."""

from importlib.metadata import entry_points
from typing import Any

import pytest

from human_avatars.configs.gaussian_avatar_configs import gaussian_avatar, gaussian_avatar_cpu, gaussian_avatar_paper
from human_avatars.engine.milestones import MilestoneSchedulerConfig

METHODS = (gaussian_avatar, gaussian_avatar_paper, gaussian_avatar_cpu)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.config.method_name)
def test_a_run_finds_its_method_again_by_name(method: Any) -> None:
    (point,) = entry_points(group="nerfstudio.method_configs", name=method.config.method_name)
    assert point.load().config == method.config


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.config.method_name)
def test_every_group_of_both_stages_has_an_optimizer(method: Any) -> None:
    groups = {"features", "decoder", "decoder_stage2", "pose_encoder"}
    assert set(method.config.optimizers) == groups | {"body_pose_opt"}
    assert set(method.config.gradient_accumulation_steps) == groups


def test_the_published_setting() -> None:
    config: Any = gaussian_avatar.config
    model = config.pipeline.model
    assert (model.uv_size, model.feature_size, model.background_color) == (512, 128, "white")
    assert (model.offset_weight, model.scale_weight, model.feature_weight) == (10, 0.03, 1)
    assert (model.pose_feature_weight, model.lpips_weight, model.ssim_weight) == (10, 0.2, 0.2)
    rates = {name: options["optimizer"].lr for name, options in config.optimizers.items()}
    assert (rates["features"], rates["decoder"]) == (5e-4, 3e-3)
    assert (rates["decoder_stage2"], rates["pose_encoder"]) == (3e-4, 3e-3)
    assert set(config.gradient_accumulation_steps.values()) == {2}
    scheduler = config.optimizers["decoder"]["scheduler"]
    assert isinstance(scheduler, MilestoneSchedulerConfig)
    assert (scheduler.milestones, scheduler.max_steps) == ((1 / 3, 2 / 3), None)


def test_faults_of_the_release_are_mended_unless_asked_for() -> None:
    mended: Any = gaussian_avatar.config
    released: Any = gaussian_avatar_paper.config
    options = [
        (c.pipeline.model.bn_eval, c.pipeline.model.decoded_texels, c.pipeline.model.position_space)
        for c in (mended, released)
    ]
    assert options == [("running", "valid", "root"), ("frame", "all", "world")]
    poses = mended.pipeline.model.body_pose_optimizer
    assert poses.mode == "all"
    assert poses.rotation_penalty > 0
    assert poses.smoothness_penalty > 0
    # Stepped at every update: the rate is a hundred times lower after 133 of them.
    scheduler = released.optimizers["decoder"]["scheduler"]
    updates = [fraction * scheduler.max_steps / 2 for fraction in scheduler.milestones]
    assert updates == pytest.approx([66, 133])


def test_the_cpus_setting_has_fewer_texels_and_shares_decodings() -> None:
    config: Any = gaussian_avatar_cpu.config
    assert config.pipeline.model.uv_size == 128
    assert config.pipeline.model.feature_size % 32 == 0
    assert set(config.gradient_accumulation_steps.values()) == {8}
    assert config.max_num_iterations < gaussian_avatar.config.max_num_iterations / 4
