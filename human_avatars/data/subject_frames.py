"""SubjectFrames: one split of a captured person as it lies on disk, and how it becomes nerfstudio's cameras."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from human_avatars.body_models.bounds import intersect_box
from human_avatars.body_models.motion import Subject
from human_avatars.transforms import invert_rigid

SplitLabel = Literal["train", "novel_view", "in_between", "novel_pose"]
"""What an image is for: training; a training frame from a test camera; a frame that was kept from training between
frames that were not; a frame whose pose was never trained on."""

BOX_FRAMES_AT_ONCE = 32
"""Bodies posed together when boxes are measured; bounds the memory."""


@dataclass(frozen=True)
class SubjectFrames:
    """The images of one split, their cameras and the person in them."""

    image_filenames: tuple[Path, ...]
    """The photographs."""
    mask_filenames: tuple[tuple[Path, ...], ...]
    """Per image, label maps whose union is the person (non-zero)."""
    split_labels: tuple[SplitLabel, ...]
    """Per image, what it is for."""
    camera_names: tuple[str, ...]
    """Per image, the camera that took it."""
    frame_indices: Int[Tensor, " images"]
    """Per image, its frame in the subject's motion."""
    intrinsics: Float[Tensor, "images 3 3"]
    """OpenCV camera matrices of the full-size images; an integer coordinate is a pixel's centre."""
    distortions: Float[Tensor, "images 5"]
    """OpenCV distortion of the images on disk, k1, k2, p1, p2, k3."""
    world_to_cameras: Float[Tensor, "images 4 4"]
    """OpenCV extrinsics, in metres."""
    full_sizes: Int[Tensor, "images 2"]
    """Height and width of the images on disk, in pixels."""
    image_scale: float
    """Images are used at this fraction of their size on disk."""
    mask_border: int
    """Side of the square kernel, in full-size pixels, whose band around the silhouette is undecided; 0 for none."""
    subject: Subject
    """The person, with the motion of every split."""
    train_frame_indices: Int[Tensor, " train_frames"]
    """Frames of the motion that train."""
    published_scaling: bool = False
    """Whether camera matrices are scaled as in Neural Body's code, without the half pixel that scaling moves the first
    pixel's centre by. Its published weights are aligned to that."""

    def __len__(self) -> int:
        return len(self.image_filenames)

    @cached_property
    def image_sizes(self) -> Int[Tensor, "images 2"]:
        """Height and width of the images as used, in pixels; fractions are cut off, as in the original."""
        return (self.full_sizes.double() * self.image_scale).long()

    @cached_property
    def scaled_intrinsics(self) -> Float[Tensor, "images 3 3"]:
        """Camera matrices of the images as used; an integer coordinate stays a pixel's centre."""
        scale = self.intrinsics.new_tensor([self.image_scale, self.image_scale, 1.0])
        scaled = self.intrinsics * scale[:, None]
        if not self.published_scaling:
            scaled[:, :2, 2] += (self.image_scale - 1) / 2
        return scaled

    @cached_property
    def world_boxes(self) -> Float[Tensor, "images 2 3"]:
        """The padded box around the body in each image, in metres."""
        frames, image_frames = self.frame_indices.unique(return_inverse=True)
        boxes = [self.subject.world_boxes(chunk) for chunk in frames.split(BOX_FRAMES_AT_ONCE)]
        return torch.cat(boxes)[image_frames]

    def mask_at_box(self, image_index: int) -> Bool[Tensor, "height width"]:
        """The pixels whose ray meets the body's padded box, Neural Body's `mask_at_box`.

        Args:
            image_index: An image of the split.

        Returns:
            True where the ray of the pixel's centre meets the box.
        """
        height, width = self.image_sizes[image_index].tolist()
        intrinsics = self.scaled_intrinsics[image_index].float()
        camera_to_world = invert_rigid(self.world_to_cameras[image_index]).float()
        box = self.world_boxes[image_index].float()
        rows, columns = _box_extent(box, self.world_to_cameras[image_index].float(), intrinsics, height, width)
        inverse = torch.linalg.inv(intrinsics)
        v, u = torch.meshgrid(torch.arange(*rows).float(), torch.arange(*columns).float(), indexing="ij")
        pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
        directions = pixels @ (camera_to_world[:3, :3] @ inverse).T
        nears, fars = intersect_box(camera_to_world[:3, 3].expand_as(directions), directions, box)
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[slice(*rows), slice(*columns)] = nears < fars
        return mask

    def cameras(self) -> Cameras:
        """The cameras of the images as used, undistorted.

        Only here do the camera's axes turn from OpenCV's (x right, y down, z forward) to nerfstudio's (x right, y up,
        z backward), and only here does half a pixel join the principal point: nerfstudio shoots the ray of pixel
        (i, j) through (i + 0.5, j + 0.5).
        """
        camera_to_worlds = invert_rigid(self.world_to_cameras)[:, :3].clone()
        camera_to_worlds[:, :, 1:3] *= -1
        intrinsics = self.scaled_intrinsics
        return Cameras(
            camera_to_worlds=camera_to_worlds.float(),
            fx=intrinsics[:, 0, 0].float(),
            fy=intrinsics[:, 1, 1].float(),
            cx=(intrinsics[:, 0, 2] + 0.5).float(),
            cy=(intrinsics[:, 1, 2] + 0.5).float(),
            width=self.image_sizes[:, 1],
            height=self.image_sizes[:, 0],
            camera_type=CameraType.PERSPECTIVE,
            times=self.subject.motion.times[self.frame_indices].float(),
            metadata={"frame_index": self.frame_indices[:, None]},
        )

    @property
    def pixels_per_metre(self) -> float:
        """Mean size of a metre on the person in the images as used."""
        centres = self.world_boxes.mean(1)
        depths = torch.einsum("ic,ic->i", self.world_to_cameras[:, 2, :3], centres.to(self.world_to_cameras))
        depths = depths + self.world_to_cameras[:, 2, 3]
        return float((self.scaled_intrinsics[:, 0, 0] / depths).mean())

    def to_dataparser_outputs(self) -> DataparserOutputs:
        """The split as nerfstudio takes it.

        Returns:
            Outputs whose metadata holds the model's `subject`, `train_frame_indices` and `pixels_per_metre`, and under
            `frames` this split for SubjectDataset, which keeps that entry from the model.
        """
        boxes = self.world_boxes
        return DataparserOutputs(
            image_filenames=list(self.image_filenames),
            cameras=self.cameras(),
            scene_box=SceneBox(aabb=torch.stack([boxes[:, 0].amin(0), boxes[:, 1].amax(0)])),
            metadata={
                "subject": self.subject,
                "train_frame_indices": self.train_frame_indices,
                "pixels_per_metre": self.pixels_per_metre,
                "frames": self,
            },
        )


def _box_extent(
    box: Float[Tensor, "2 3"],
    world_to_camera: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    height: int,
    width: int,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns that hold the box's projection: the pixels outside need no ray."""
    corners = torch.cartesian_prod(*box.unbind(-1))
    projected = (corners @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]) @ intrinsics.T
    # A box that reaches behind the camera has no bounded projection.
    if bool((projected[:, 2] <= 0).any()):
        return (0, height), (0, width)
    pixels = projected[:, :2] / projected[:, 2:]
    first = (pixels.amin(0).floor() - 1).clamp(min=0).long().tolist()
    last = (pixels.amax(0).ceil() + 2).long().tolist()
    columns, rows = (
        (low, max(low, min(high, size))) for low, high, size in zip(first, last, (width, height), strict=True)
    )
    return rows, columns
