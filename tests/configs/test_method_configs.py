"""The methods as nerfstudio finds them, and the published setting in numbers."""

from importlib.metadata import entry_points

import pytest
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from human_avatars.configs import method_configs
from human_avatars.configs.method_configs import neural_body, neural_body_cpu
from human_avatars.data.pixel_samplers import SubjectPixelSamplerConfig
from human_avatars.data.subject_datamanagers import SubjectDataManagerConfig
from human_avatars.engine.optimizers import ValueClippedAdamConfig
from human_avatars.engine.schedulers import EpochDecaySchedulerConfig, FloatExponentialDecaySchedulerConfig
from human_avatars.engine.trainer_config import AvatarTrainerConfig
from human_avatars.models.base_avatar_model import AvatarModelConfig
from human_avatars.models.neural_body import NeuralBodyModelConfig

METHODS = (neural_body, neural_body_cpu)


@pytest.mark.parametrize("name", ["neural-body", "neural-body-cpu"])
def test_a_run_finds_its_method_again_by_name(name: str) -> None:
    # nerfstudio looks a loaded run's method_name up among the registered ones.
    (point,) = entry_points(group="nerfstudio.method_configs", name=name)
    assert point.load().config.method_name == name


@pytest.mark.parametrize("config", [method.config for method in METHODS], ids=lambda config: config.method_name)
def test_hosts_defaults_that_do_not_suit_are_set(config: TrainerConfig) -> None:
    assert config.vis == "viewer"
    assert config.machine.device_type in ("cpu", "cuda")
    assert not config.pipeline.model.enable_collider
    assert not config.viewer.default_composite_depth
    assert config.viewer.max_num_display_images <= 32


EVERY_METHOD = [value.config for value in vars(method_configs).values() if isinstance(value, MethodSpecification)]


@pytest.mark.parametrize("config", EVERY_METHOD, ids=lambda config: config.method_name)
def test_every_method_can_refine_poses(config: TrainerConfig) -> None:
    assert isinstance(config.pipeline.model, AvatarModelConfig)
    # Turned on, there is one more parameter group, and nerfstudio stops at groups without an optimizer.
    assert config.optimizers["body_pose_opt"]["optimizer"].lr > 0


def test_neural_body_is_the_published_setting() -> None:
    config = neural_body.config
    model, datamanager = config.pipeline.model, config.pipeline.datamanager
    assert isinstance(model, NeuralBodyModelConfig)
    assert isinstance(datamanager, SubjectDataManagerConfig)
    assert (model.voxel_size, model.code_dim, model.frame_code_dim, model.num_samples) == (0.005, 16, 128, 64)
    assert (model.density_scale, model.density_activation, model.last_interval) == (1.0, "relu", 1e10)
    assert model.empty_space_level is None
    assert model.bn_eval == "frame"
    assert model.background_color == "black"
    assert datamanager.train_num_rays_per_batch == 1024
    assert isinstance(datamanager.pixel_sampler, SubjectPixelSamplerConfig)
    assert datamanager.pixel_sampler.views_per_batch == 1
    assert datamanager.pixel_sampler.body_fraction == 0.5
    assert not datamanager.pixel_sampler.sample_border
    assert config.max_num_iterations == 400 * 500
    optimizer, scheduler = config.optimizers["fields"]["optimizer"], config.optimizers["fields"]["scheduler"]
    assert isinstance(optimizer, ValueClippedAdamConfig)
    assert (optimizer.lr, optimizer.clip_value, optimizer.weight_decay) == (5e-4, 40, 0)
    assert isinstance(scheduler, EpochDecaySchedulerConfig)


def test_the_cpu_presets_learning_rate_decays_over_the_training_whatever_its_length() -> None:
    config = neural_body_cpu.config
    scheduler = config.optimizers["fields"]["scheduler"]
    assert isinstance(config, AvatarTrainerConfig)
    assert isinstance(scheduler, FloatExponentialDecaySchedulerConfig)
    assert scheduler.max_steps is None
