"""The method specifications of GaussianAvatar: with its release's faults mended, as released, and for a CPU."""

from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import SchedulerConfig
from nerfstudio.plugins.types import MethodSpecification

from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.data.subject_image_datamanagers import SubjectImageDataManagerConfig
from human_avatars.engine.host_fixes import default_machine, prepare_host
from human_avatars.engine.milestones import MilestoneSchedulerConfig
from human_avatars.engine.schedulers import FloatExponentialDecaySchedulerConfig
from human_avatars.engine.trainer_config import AvatarTrainerConfig
from human_avatars.models.gaussian_avatar import GaussianAvatarModelConfig
from human_avatars.pipelines.avatar_pipeline import AvatarPipelineConfig

prepare_host()

ITERATIONS = 20_000
"""Images of a training: 200 epochs of a hundred, as published."""
CPU_ITERATIONS = 4000
"""About three minutes on a free core at 256x256 pixels."""
IMAGES_PER_UPDATE, CPU_IMAGES_PER_UPDATE = 2, 8
"""Images whose gradients make one step of the optimizers: as published, and on a CPU, where stage 1's decoder costs
more than several images, which share a decoding."""
LEARNING_RATES = {"features": 5e-4, "decoder": 3e-3, "decoder_stage2": 3e-4, "pose_encoder": 3e-3}
"""Of both stages, as released."""
CPU_LEARNING_RATES = {"features": 2e-2, "decoder": 2e-3, "decoder_stage2": 3e-4, "pose_encoder": 3e-3}
CPU_FINAL_RATE = 0.03
"""Learning rates fall to this fraction over the short training."""
BODY_POSE_RATE, RELEASED_BODY_POSE_RATE = 5e-4, 5e-3
"""Of pose corrections: A-NeRF's, and the release's, which lets poses get worse."""
POSE_START_STEP = 1000
"""Ten epochs of a hundred images: the release's advice for videos of one's own."""
RELEASED_MILESTONES, RELEASED_EPOCHS = (66 / 200, 133 / 200), 200
"""The release steps its schedule, meant for epochs, after every update."""


def _optimizers(
    rates: dict[str, float], body_pose_rate: float, schedulers: dict[str, SchedulerConfig]
) -> dict[str, Any]:
    optimizers: dict[str, Any] = {
        name: {"optimizer": AdamOptimizerConfig(lr=rate, eps=1e-8), "scheduler": schedulers[name]}
        for name, rate in rates.items()
    }
    poses = {"optimizer": AdamOptimizerConfig(lr=body_pose_rate, eps=1e-8), "scheduler": None}
    return optimizers | {"body_pose_opt": poses}


def _trainer(
    name: str,
    model: GaussianAvatarModelConfig,
    optimizers: dict[str, Any],
    num_iterations: int = ITERATIONS,
    images_per_update: int = IMAGES_PER_UPDATE,
) -> AvatarTrainerConfig:
    return AvatarTrainerConfig(
        method_name=name,
        machine=default_machine(),
        max_num_iterations=num_iterations,
        steps_per_save=num_iterations // 10,
        steps_per_eval_batch=num_iterations,
        steps_per_eval_image=num_iterations,
        steps_per_eval_all_images=num_iterations,
        gradient_accumulation_steps=dict.fromkeys(LEARNING_RATES, images_per_update),
        pipeline=AvatarPipelineConfig(
            datamanager=SubjectImageDataManagerConfig(dataparser=GaussianAvatarDataParserConfig()),
            model=model,
        ),
        optimizers=optimizers,
        # The body overlay must not hide behind the rendered body.
        viewer=ViewerConfig(num_rays_per_chunk=2048, default_composite_depth=False, max_num_display_images=32),
        vis="viewer",
    )


gaussian_avatar = MethodSpecification(
    config=_trainer(
        "gaussian-avatar",
        GaussianAvatarModelConfig(
            body_pose_optimizer=BodyPoseOptimizerConfig(mode="all", smoothness_penalty=0.05, start_step=POSE_START_STEP)
        ),
        _optimizers(LEARNING_RATES, BODY_POSE_RATE, {name: MilestoneSchedulerConfig() for name in LEARNING_RATES}),
    ),
    description=(
        "GaussianAvatar (Hu et al. 2024): Gaussians decoded from a UV feature map, poses refined along with it. With "
        "--pipeline.model.stage 2 and a run of stage 1 the appearance also depends on the pose. Wants a GPU."
    ),
)

gaussian_avatar_paper = MethodSpecification(
    config=_trainer(
        "gaussian-avatar-paper",
        GaussianAvatarModelConfig(
            bn_eval="frame",
            decoded_texels="all",
            position_space="world",
            body_pose_optimizer=BodyPoseOptimizerConfig(mode="all", rotation_penalty=0.0, start_step=POSE_START_STEP),
        ),
        _optimizers(
            LEARNING_RATES,
            RELEASED_BODY_POSE_RATE,
            {
                name: MilestoneSchedulerConfig(
                    milestones=RELEASED_MILESTONES, max_steps=RELEASED_EPOCHS * IMAGES_PER_UPDATE
                )
                for name in LEARNING_RATES
            },
        ),
    ),
    description=(
        "GaussianAvatar as released, for comparison and for the published weights: batch statistics at test time, all "
        "texels decoded, positions in the world, a learning rate that falls within 133 updates."
    ),
)

gaussian_avatar_cpu = MethodSpecification(
    config=_trainer(
        "gaussian-avatar-cpu",
        GaussianAvatarModelConfig(
            uv_size=128,
            feature_size=64,
            initial_radius="spacing",
            lpips_weight=0.0,
            body_pose_optimizer=BodyPoseOptimizerConfig(
                mode="all", smoothness_penalty=0.05, start_step=CPU_ITERATIONS // 3
            ),
        ),
        _optimizers(
            CPU_LEARNING_RATES,
            BODY_POSE_RATE,
            {
                name: FloatExponentialDecaySchedulerConfig(lr_final=CPU_FINAL_RATE * rate, max_steps=None)
                for name, rate in CPU_LEARNING_RATES.items()
            },
        ),
        CPU_ITERATIONS,
        CPU_IMAGES_PER_UPDATE,
    ),
    description="GaussianAvatar within minutes on a CPU: 128 texels a side, no perceptual loss, a short schedule.",
)
