"""The method specifications: `ns-train METHOD` for every method of this package.

Kept apart from the data parsers' module: nerfstudio imports that one while it is itself half imported.
"""

from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.pixel_samplers import SubjectPixelSamplerConfig
from human_avatars.data.subject_datamanagers import SubjectDataManagerConfig
from human_avatars.data.subject_image_datamanagers import SubjectImageDataManagerConfig
from human_avatars.engine.host_fixes import default_machine, prepare_host
from human_avatars.engine.optimizers import FusedAdamConfig, ValueClippedAdamConfig
from human_avatars.engine.schedulers import EpochDecaySchedulerConfig, FloatExponentialDecaySchedulerConfig
from human_avatars.engine.trainer_config import AvatarTrainerConfig
from human_avatars.models.avatar_splat import AvatarSplatModelConfig
from human_avatars.models.neural_body import NeuralBodyModelConfig
from human_avatars.pipelines.avatar_pipeline import AvatarPipelineConfig

prepare_host()

NEURAL_BODY_ITERATIONS = 200_000
"""400 epochs of 500 iterations, as published."""
CPU_ITERATIONS = 3000
"""About nine minutes on two cores."""


SPLAT_ITERATIONS = 2000
"""About half a minute on two cores at 256x256 pixels."""
SPLAT_LEARNING_RATES = {
    "means": 2e-4,
    "scales": 1e-2,
    "quats": 5e-3,
    "opacities": 3e-2,
    "features_dc": 2e-2,
    "features_rest": 1e-3,
    "light": 2e-2,
}
SPLAT_FINAL_RATE = 0.1
"""Learning rates fall to this fraction over the training."""


BODY_POSE_RATE = 5e-4
"""Learning rate of pose corrections, as published by A-NeRF; used where the model's body_pose_optimizer is on."""


def _body_pose_optimizer() -> dict[str, Any]:
    return {"optimizer": AdamOptimizerConfig(lr=BODY_POSE_RATE), "scheduler": None}


def _splat_optimizers(learning_rates: dict[str, float]) -> dict[str, Any]:
    optimizers: dict[str, Any] = {
        name: {
            "optimizer": FusedAdamConfig(lr=rate),
            "scheduler": FloatExponentialDecaySchedulerConfig(lr_final=SPLAT_FINAL_RATE * rate, max_steps=None),
        }
        for name, rate in learning_rates.items()
    }
    return optimizers | {"body_pose_opt": _body_pose_optimizer()}


def _avatar_viewer(rays_per_chunk: int) -> ViewerConfig:
    # The body overlay must not hide behind the rendered body, and one frustum per frame and camera would be thousands.
    return ViewerConfig(num_rays_per_chunk=rays_per_chunk, default_composite_depth=False, max_num_display_images=32)


neural_body = MethodSpecification(
    config=AvatarTrainerConfig(
        method_name="neural-body",
        machine=default_machine(),
        max_num_iterations=NEURAL_BODY_ITERATIONS,
        steps_per_save=2500,
        steps_per_eval_batch=500,
        steps_per_eval_image=5000,
        steps_per_eval_all_images=NEURAL_BODY_ITERATIONS,
        pipeline=AvatarPipelineConfig(
            datamanager=SubjectDataManagerConfig(
                dataparser=ZjuMocapDataParserConfig(published_scaling=True),
                train_num_rays_per_batch=1024,
                eval_num_rays_per_batch=1024,
            ),
            model=NeuralBodyModelConfig(),
        ),
        optimizers={
            "fields": {"optimizer": ValueClippedAdamConfig(lr=5e-4), "scheduler": EpochDecaySchedulerConfig()},
            "body_pose_opt": _body_pose_optimizer(),
        },
        viewer=_avatar_viewer(2048),
        vis="viewer",
    ),
    description="Neural Body (Peng et al. 2021) with the published settings: structured latent codes on the body.",
)

neural_body_cpu = MethodSpecification(
    config=AvatarTrainerConfig(
        method_name="neural-body-cpu",
        machine=default_machine(),
        max_num_iterations=CPU_ITERATIONS,
        steps_per_save=500,
        steps_per_eval_batch=CPU_ITERATIONS,
        steps_per_eval_image=CPU_ITERATIONS,
        steps_per_eval_all_images=CPU_ITERATIONS,
        pipeline=AvatarPipelineConfig(
            datamanager=SubjectDataManagerConfig(
                dataparser=ZjuMocapDataParserConfig(),
                train_num_rays_per_batch=512,
                eval_num_rays_per_batch=512,
                pixel_sampler=SubjectPixelSamplerConfig(views_per_batch=None, sample_border=True),
            ),
            model=NeuralBodyModelConfig(
                voxel_size=0.01,
                density_scale=50.0,
                density_activation="softplus",
                last_interval=0.01,
                empty_space_level=1,
            ),
        ),
        optimizers={
            "fields": {
                "optimizer": ValueClippedAdamConfig(lr=2e-3),
                "scheduler": FloatExponentialDecaySchedulerConfig(lr_final=2e-4, max_steps=None),
            },
            "body_pose_opt": _body_pose_optimizer(),
        },
        viewer=_avatar_viewer(2048),
        vis="viewer",
    ),
    description=(
        "Neural Body within minutes on a CPU: 1 cm voxels, 512 rays from all views of a frame, empty space skipped, "
        "densities that harden fast, a high and short learning rate schedule, trusted mask borders. It trades fine "
        "detail (faces, hands, prints) for a thousandth of the published training time."
    ),
)

avatar_splat = MethodSpecification(
    config=AvatarTrainerConfig(
        method_name="avatar-splat",
        machine=default_machine(),
        max_num_iterations=SPLAT_ITERATIONS,
        steps_per_save=500,
        steps_per_eval_batch=SPLAT_ITERATIONS,
        steps_per_eval_image=SPLAT_ITERATIONS,
        steps_per_eval_all_images=SPLAT_ITERATIONS,
        pipeline=AvatarPipelineConfig(
            datamanager=SubjectImageDataManagerConfig(dataparser=ZjuMocapDataParserConfig()),
            model=AvatarSplatModelConfig(),
        ),
        optimizers=_splat_optimizers(SPLAT_LEARNING_RATES),
        viewer=_avatar_viewer(2048),
        vis="viewer",
    ),
    description="Gaussian splats on the body's surface, lit and shadowed: sharp within a minute on a laptop's CPU.",
)
