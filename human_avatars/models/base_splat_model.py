"""What every splat avatar is: Gaussians that the body carries, rendered as whole images."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.utils.colors import get_color
from torch import Tensor

from human_avatars.body_models.motion import Subject
from human_avatars.model_components.photometric_loss import photometric_loss
from human_avatars.models.base_avatar_model import AvatarModel, AvatarModelConfig
from human_avatars.models.splatfacto_doors import SplatfactoDoors
from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD
from human_avatars.rasterization.gaussians import Gaussians, PinholeCamera, Rendering, rasterize
from human_avatars.transforms import invert_rigid, rigid_from_rotation_translation

DILATION = 0.3
"""Variance in square pixels that widens every Gaussian at the resolution of the training images (EWA splatting)."""
NEAREST = 0.1
"""Distances to the person, in metres, count as at least this where the image scale is worked out."""


@dataclass
class SplatModelConfig(AvatarModelConfig):
    """What every splat method is configured by."""

    background_color: Literal["black", "white"] = "black"
    """What lies behind the person in evaluation and rendering. Published numbers of monocular captures are on white."""
    random_background: bool = True
    """Whether training draws a background for every image, so that the person's edge does not learn one."""
    ssim_weight: float = 0.2
    """Share of 1 - SSIM in the image loss; the rest is the mean absolute colour error."""
    silhouette_weight: float = 0.1
    """Weight on the mean absolute difference of opacity and silhouette."""
    sh_degree: tyro.conf.Suppress[int] = 0
    """Degree of the view-dependent colour; nerfstudio's exporter asks for it."""


class SplatModel(AvatarModel, SplatfactoDoors):
    """Base of the splat avatars. A method says which Gaussians stand where in a frame; the rest is shared."""

    config: SplatModelConfig

    def populate_modules(self) -> None:
        """Take the subject from the data and set up what the splat methods share."""
        super().populate_modules()
        if not self.subject.vertices_match_model:
            raise ValueError(
                f"{self.config._target.__name__} moves Gaussians by the body's skeleton, but this capture's meshes do "
                "not come from the packaged body: give the body model file they were fitted with, such as "
                "SMPL_NEUTRAL.pkl, to the data parser's --body-model-path."
            )
        self.collider = None
        self.crop_box: OrientedBox | None = None
        self.background_color = get_color(self.config.background_color)
        # What DILATION holds for. It belongs to the weights: evaluation may use images of another size.
        self.pixels_per_metre: Tensor
        self.register_buffer("pixels_per_metre", torch.tensor(float(self.kwargs["metadata"]["pixels_per_metre"])))
        self._bone_table: tuple[Subject, Tensor] | None = None

    @abstractmethod
    def posed_gaussians(self, frame: int, camera_position: Float[Tensor, "3"] | None) -> Gaussians:
        """The person's Gaussians in a frame of the motion.

        Args:
            frame: Frame of the present motion.
            camera_position: From where they are seen, in metres; None for no direction in particular.

        Returns:
            Gaussians in world space, with RGB colours.
        """

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render a camera's image.

        Args:
            camera: One camera, whose time chooses the frame.

        Returns:
            `rgb` (height width 3), `accumulation` and `depth` (height width 1), the depth in metres along the viewing
            direction, and `background` (3).
        """
        pinhole = pinhole_camera(camera)
        position = invert_rigid(pinhole.world_to_camera)[:3, 3]
        frame = self.frame_of(camera)
        gaussians = self.posed_gaussians(frame, position)
        background = self._background()
        # Of the whole person: what is cut away changes nothing about the rest.
        dilation = self._dilation(pinhole, gaussians)
        rendering = rasterize(self._cropped(gaussians), pinhole, background, dilation)
        return self._outputs(rendering, background)

    def bone_transforms(self, frame: int) -> Float[Tensor, "joints 4 4"]:
        """The skeleton in a frame of the present motion, refined where poses are.

        Args:
            frame: Frame of the present motion.

        Returns:
            World-from-rest transforms.
        """
        if self.refines_poses:
            poses = self.poses_in(torch.tensor([frame], device=self.device))
            return self.subject.shaped_body.joint_and_bone_transforms(poses)[1][0]
        if self._bone_table is None or self._bone_table[0] is not self.subject:
            _, bones = self.subject.shaped_body.joint_and_bone_transforms(self.subject.motion.poses)
            self._bone_table = self.subject, bones
        return self._bone_table[1][frame]

    @torch.no_grad()
    def still_gaussians(self) -> Gaussians:
        """The person in the first frame, with what DILATION adds to the training images.

        Returns:
            Gaussians in world space.
        """
        still = self.posed_gaussians(0, None)
        widening = torch.eye(3).to(still.covariances) * (DILATION / self.pixels_per_metre**2)
        return replace(still, covariances=still.covariances + widening)

    def frame_of(self, camera: Cameras) -> int:
        """The frame of the present motion that a camera looks at; the first one where it carries no time."""
        if camera.times is None:
            self._warn_of_missing_times()
            return 0
        return int(self.subject.motion.frame_indices(camera.times.reshape(-1)[:1].float())[0])

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Render a camera's image for the viewer and the tools.

        Args:
            camera: One camera.
            obb_box: Gaussians outside of it are left out.

        Returns:
            As `get_outputs`.
        """
        self.set_crop(obb_box)
        try:
            with SMALL_PRODUCTS_ON_ONE_THREAD:
                return self.get_outputs(camera.to(self.device))
        finally:
            # The viewer sets both before each of its pictures; neither is for the pictures of others.
            self.set_crop(None)
            self.set_background(get_color(self.config.background_color))

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """PSNR over the valid pixels of the training image, which is cropped to the person; what all methods report.

        Args:
            outputs: The rendered image.
            batch: `image` and `mask`.

        Returns:
            The metrics by name.
        """
        target, _, valid = self._target(outputs, batch)
        error = ((outputs["rgb"].detach() - target) ** 2).mean(-1)
        return {"psnr": -10 * torch.log10(error[valid].mean()), **super().get_metrics_dict(outputs, batch)}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Image and silhouette losses, and what the method adds.

        Args:
            outputs: The rendered image.
            batch: `image` (height width 4) RGBA, `mask` (height width 1) valid pixels.
            metrics_dict: Unused.

        Returns:
            The losses by name.
        """
        target, silhouette, valid = self._target(outputs, batch)
        alpha_error = (outputs["accumulation"][..., 0] - silhouette).abs()
        return super().get_loss_dict(outputs, batch, metrics_dict) | {
            "image_loss": photometric_loss(outputs["rgb"], target, valid, self.config.ssim_weight),
            "silhouette_loss": self.config.silhouette_weight * alpha_error[valid].mean(),
        }

    def _background(self) -> Float[Tensor, "3"]:
        if self.training and self.config.random_background:
            return torch.rand(3, device=self.device)
        background = get_color(self.config.background_color) if self.training else self.background_color
        return background.to(self.device, torch.float32)

    def _dilation(self, camera: PinholeCamera, gaussians: Gaussians) -> float:
        """DILATION at the training images' scale, and as much of the person at every other.

        A Gaussian learns to be as large as it looks after it was widened. Rendered twice as large it must be widened
        twice as far, or gaps open between Gaussians.
        """
        centre = gaussians.means.detach().mean(0)
        depth = camera.world_to_camera[2, :3] @ centre + camera.world_to_camera[2, 3]
        scale = camera.intrinsics[0, 0] / depth.clamp(min=NEAREST)
        return DILATION * float(scale / self.pixels_per_metre) ** 2

    def _cropped(self, gaussians: Gaussians) -> Gaussians:
        if self.crop_box is None:
            return gaussians
        kept = self.crop_box.within(gaussians.means).reshape(-1)
        return Gaussians(
            gaussians.means[kept], gaussians.covariances[kept], gaussians.opacities[kept], gaussians.colors[kept]
        )

    def _outputs(self, rendering: Rendering, background: Tensor) -> dict[str, Tensor]:
        rgb, depth = rendering.colors, rendering.depth
        if not self.training:
            rgb = rgb.clamp(0, 1)
            # Behind everything, for the viewer's composition with other things.
            depth = torch.where(rendering.alpha > 0, depth, depth.max())
        return {"rgb": rgb, "accumulation": rendering.alpha, "depth": depth, "background": background}

    def _target(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"], Tensor]:
        """The photograph on the background that was rendered, its silhouette, and its valid pixels."""
        image = batch["image"].to(outputs["rgb"])
        silhouette = image[..., 3]
        target = image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * outputs["background"]
        return target, silhouette, batch["mask"][..., 0].to(image.device)


def pinhole_camera(camera: Cameras) -> PinholeCamera:
    """One of nerfstudio's cameras as the rasteriser takes it.

    Args:
        camera: A perspective camera without distortion, of any batch shape with one entry.

    Returns:
        The camera in OpenCV's axes.
    """
    camera_to_world = camera.camera_to_worlds.reshape(3, 4).float()
    # nerfstudio looks along -z with y up, OpenCV along z with y down.
    rotation = camera_to_world[:, :3] * camera_to_world.new_tensor([1.0, -1.0, -1.0])
    return PinholeCamera(
        world_to_camera=invert_rigid(rigid_from_rotation_translation(rotation, camera_to_world[:, 3])),
        intrinsics=camera.get_intrinsics_matrices().reshape(3, 3).float(),
        width=int(camera.width),
        height=int(camera.height),
    )
