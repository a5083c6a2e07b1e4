"""The method specifications: `ns-train METHOD` for every method of this package.

Kept apart from the data parsers' module: nerfstudio imports that one while it is itself half imported.
"""

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.pixel_samplers import SubjectPixelSamplerConfig
from human_avatars.data.subject_datamanagers import SubjectDataManagerConfig
from human_avatars.engine.host_fixes import default_machine, prepare_host
from human_avatars.engine.optimizers import ValueClippedAdamConfig
from human_avatars.engine.schedulers import EpochDecaySchedulerConfig, FloatExponentialDecaySchedulerConfig
from human_avatars.models.neural_body import NeuralBodyModelConfig
from human_avatars.pipelines.avatar_pipeline import AvatarPipelineConfig

prepare_host()

NEURAL_BODY_ITERATIONS = 200_000
"""400 epochs of 500 iterations, as published."""
CPU_ITERATIONS = 3000
"""About nine minutes on two cores."""


def _avatar_viewer(rays_per_chunk: int) -> ViewerConfig:
    # The body overlay must not hide behind the rendered body, and one frustum per frame and camera would be thousands.
    return ViewerConfig(num_rays_per_chunk=rays_per_chunk, default_composite_depth=False, max_num_display_images=32)


neural_body = MethodSpecification(
    config=TrainerConfig(
        method_name="neural-body",
        machine=default_machine(),
        max_num_iterations=NEURAL_BODY_ITERATIONS,
        steps_per_save=2500,
        steps_per_eval_batch=500,
        steps_per_eval_image=5000,
        steps_per_eval_all_images=NEURAL_BODY_ITERATIONS,
        pipeline=AvatarPipelineConfig(
            datamanager=SubjectDataManagerConfig(
                dataparser=ZjuMocapDataParserConfig(),
                train_num_rays_per_batch=1024,
                eval_num_rays_per_batch=1024,
            ),
            model=NeuralBodyModelConfig(),
        ),
        optimizers={
            "fields": {"optimizer": ValueClippedAdamConfig(lr=5e-4), "scheduler": EpochDecaySchedulerConfig()},
        },
        viewer=_avatar_viewer(2048),
        vis="viewer",
    ),
    description="Neural Body (Peng et al. 2021) with the published settings: structured latent codes on the body.",
)

neural_body_cpu = MethodSpecification(
    config=TrainerConfig(
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
                "scheduler": FloatExponentialDecaySchedulerConfig(lr_final=2e-4, max_steps=CPU_ITERATIONS),
            },
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
