"""What tests of models share: avatars of few Gaussians, a camera before them, and what a trainer tells them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.models.avatar_splat import AvatarSplatModel, AvatarSplatModelConfig
from human_avatars.models.gaussian_avatar import GaussianAvatarModel, GaussianAvatarModelConfig

NUM_FRAMES = 4


@pytest.fixture(scope="session")
def arm_motion(open_body: BodyModel) -> BodyMotion:
    """Four frames: arms at four heights, the person walking along x."""
    poses = BodyPose.zeros((NUM_FRAMES,), open_body.num_joints)
    poses.body_pose[:, 15, 2] = torch.tensor([0.0, -0.4, -0.8, -1.2])
    poses.transl[:, 0] = torch.tensor([0.0, 0.1, 0.2, 0.3])
    return BodyMotion.evenly_timed(poses)


@pytest.fixture(scope="session")
def make_avatar(open_body: BodyModel, arm_motion: BodyMotion) -> Callable[..., GaussianAvatarModel]:
    """Makes models of few texels for one subject, with options of their configuration."""

    def make(**options: Any) -> GaussianAvatarModel:
        torch.manual_seed(0)
        subject = Subject(open_body, torch.zeros(open_body.num_betas), arm_motion, box_padding=(0.0, 0.0, 0.05))
        metadata = {"subject": subject, "train_frame_indices": torch.arange(3), "pixels_per_metre": 18.0}
        box = SceneBox(aabb=torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]]))
        small = {"uv_size": 32, "feature_size": 32, "initial_radius": "spacing", "lpips_weight": 0.0}
        config = GaussianAvatarModelConfig(**(small | options))
        return config.setup(scene_box=box, num_train_data=3, metadata=metadata)

    return make


@pytest.fixture
def attributes() -> Callable[..., TrainingCallbackAttributes]:
    """What a trainer hands to callbacks, with its steps per update of each group."""

    def make(**steps_per_update: int) -> TrainingCallbackAttributes:
        trainer: Any = SimpleNamespace(gradient_accumulation_steps={"features": 1, "decoder": 1} | steps_per_update)
        return TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=None, trainer=trainer)

    return make


@pytest.fixture(scope="session")
def make_splats(open_body: BodyModel, arm_motion: BodyMotion) -> Callable[..., AvatarSplatModel]:
    """Makes avatars of some hundred Gaussians of their own, in many colours and without light unless options ask."""

    def make(motion: BodyMotion = arm_motion, body: BodyModel = open_body, **options: Any) -> AvatarSplatModel:
        subject = Subject(body, torch.zeros(body.num_betas), motion, box_padding=(0.0, 0.0, 0.05))
        # As the camera below sees the person.
        metadata = {"subject": subject, "train_frame_indices": torch.arange(3), "pixels_per_metre": 24.0}
        box = SceneBox(aabb=torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]]))
        small: dict[str, Any] = {"num_gaussians": 800, "light_directions": 0}
        config = AvatarSplatModelConfig(**(small | options))
        model = config.setup(scene_box=box, num_train_data=3, metadata=metadata)
        with torch.no_grad():
            model.color_logits.normal_(generator=torch.Generator().manual_seed(1))
            model.color_harmonics.normal_(generator=torch.Generator().manual_seed(2))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_camera() -> Callable[..., Cameras]:
    """Makes cameras three metres before the person."""

    def make(
        time: float | None = 0.0, turn: Tensor | None = None, resolution: int = 1, shift: tuple[float, ...] = (0, 0, 0)
    ) -> Cameras:
        pose = torch.eye(4)[None, :3]
        pose[0, :, 3] = torch.tensor([0.1, -0.3, 3.0]) + torch.tensor(shift)
        size, focal = 48 * resolution, 72.0 * resolution
        return Cameras(
            pose if turn is None else turn @ pose, fx=focal, fy=focal, cx=size / 2, cy=size / 2, width=size,
            height=size, camera_type=CameraType.PERSPECTIVE, times=None if time is None else torch.tensor([[time]]),
        )  # fmt: skip

    return make
