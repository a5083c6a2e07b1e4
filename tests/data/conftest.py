"""A tiny ZJU-MoCap folder, written from the layout's description: the open body before a ring of cameras."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.skinning import linear_blend_skinning
from human_avatars.transforms import axis_angle_to_matrix

UPRIGHT = np.array([np.pi / 2, 0.0, 0.0])
"""The y-up body in a z-up world."""


@dataclass(frozen=True)
class ZjuFolder:
    """What was written."""

    path: Path
    intrinsics: np.ndarray
    """(3, 3), for the images on disk; every camera has it."""
    rotations: np.ndarray
    """(cameras, 3, 3) world to camera."""
    translations: np.ndarray
    """(cameras, 3), in metres."""
    images: list[list[str]]
    """Per frame and camera."""
    vertices: np.ndarray
    """(frames, vertices, 3) world positions, in metres."""
    root: np.ndarray
    """(frames, 2, 3): Rh and Th."""


WriteZju = Callable[..., ZjuFolder]


@pytest.fixture
def write_zju(tmp_path: Path, open_body: BodyModel) -> WriteZju:
    """Writes a folder with the given properties and returns what is in it."""

    def write(
        name: str = "walk",
        num_frames: int = 6,
        num_cameras: int = 6,
        size: int = 48,
        coreview_names: bool = False,
        pose_numbers: int = 72,
        millimetres: bool = True,
        distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0),
        fit: str = "params",
        masks: str = "mask_cihp",
        vertex_offset: float = 0.0,
    ) -> ZjuFolder:
        folder = tmp_path / name
        rng = np.random.default_rng(0)
        vertices, root = _write_bodies(folder, fit, open_body, num_frames, pose_numbers, coreview_names, vertex_offset)
        intrinsics = np.array([[1.3 * size, 0, size / 2 - 1.5], [0, 1.25 * size, size / 2 + 0.5], [0, 0, 1]])
        angles = 2 * np.pi * np.arange(num_cameras) / num_cameras
        rotations = np.stack([_looking_inward(angle) for angle in angles])
        centres = np.stack([3.6 * np.cos(angles), 3.6 * np.sin(angles), np.full(num_cameras, 1.0)], -1)
        translations = -np.einsum("cij,cj->ci", rotations, centres)
        images = [
            [_image_name(name, frame, camera, coreview_names) for camera in range(num_cameras)]
            for frame in range(num_frames)
        ]
        for frame, names in enumerate(images):
            for camera, image in enumerate(names):
                mask = _silhouette(
                    vertices[frame], intrinsics, rotations[camera], translations[camera], distortion, size
                )
                photograph = rng.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8)
                photograph = cv2.resize(photograph, (size, size), interpolation=cv2.INTER_CUBIC)
                for file, array in (
                    (folder / image, photograph),
                    (folder / masks / Path(image).with_suffix(".png"), mask),
                ):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    assert cv2.imwrite(str(file), array)
        scale = 1000 if millimetres else 1
        cameras = {
            "K": [intrinsics] * num_cameras,
            "D": [np.array(distortion).reshape(5, 1)] * num_cameras,
            "R": list(rotations),
            "T": [scale * translation.reshape(3, 1) for translation in translations],
        }
        np.save(folder / "annots.npy", {"cams": cameras, "ims": [{"ims": names} for names in images]})  # type: ignore
        return ZjuFolder(folder, intrinsics, rotations, translations, images, vertices, root)

    return write


def _write_bodies(
    folder: Path, fit: str, body: BodyModel, num_frames: int, pose_numbers: int, one_based: bool, vertex_offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bodies as Neural Body defines them, v = R(Rh) LBS(poses) + Th, worked out here from joint matrices."""
    rng = np.random.default_rng(1)
    betas = rng.normal(size=body.num_betas).astype(np.float32) * 0.3
    shaped = body.with_shape(torch.from_numpy(betas))
    vertices, root = [], []
    for name in (fit, fit.replace("params", "vertices")):
        (folder / name).mkdir(parents=True)
    for frame in range(num_frames):
        poses = rng.normal(scale=0.1, size=(body.num_joints, 3))
        poses[0] = 0
        rotation, translation = UPRIGHT + rng.normal(scale=0.1, size=3), np.array([0.1 * frame - 0.2, 0.1, 1.2])
        model_vertices = _pose_by_matrices(shaped.rest_vertices, shaped.rest_joints, body, poses)
        world = model_vertices @ cv2.Rodrigues(rotation)[0].T + translation
        number = frame + one_based
        params = {
            "poses": poses.reshape(1, -1)[:, -pose_numbers:],
            "Rh": rotation[None],
            "Th": translation[None],
            "shapes": betas[None],
        }
        np.save(folder / fit / f"{number}.npy", params)  # type: ignore[arg-type]
        np.save(
            folder / fit.replace("params", "vertices") / f"{number}.npy", (world + vertex_offset).astype(np.float32)
        )
        vertices.append(world)
        root.append(np.stack([rotation, translation]))
    return np.stack(vertices) + vertex_offset, np.stack(root)


def _pose_by_matrices(rest: torch.Tensor, joints: torch.Tensor, body: BodyModel, poses: np.ndarray) -> np.ndarray:
    """Linear blend skinning about the model's origin, one joint after the other."""
    rotations = axis_angle_to_matrix(torch.from_numpy(poses))
    world: list[torch.Tensor] = []
    for joint, parent in enumerate(body.parents):
        local = torch.eye(4, dtype=torch.float64)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    bones = torch.stack(world)
    bones[:, :3, 3] -= torch.einsum("jab,jb->ja", bones[:, :3, :3], joints.double())
    return linear_blend_skinning(rest.double(), body.skinning_weights.double(), bones).numpy()


def _looking_inward(angle: float) -> np.ndarray:
    """World-to-camera rotation of a camera on a z-up ring, looking at its axis; OpenCV axes."""
    forward = np.array([-np.cos(angle), -np.sin(angle), 0.0])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    return np.stack([right, np.cross(forward, right), forward])


def _image_name(name: str, frame: int, camera: int, coreview_names: bool) -> str:
    if coreview_names:
        stem = f"{name}_Camera_({camera + 1})_{frame + 1:04d}_2019-08-23_16-08-50.592"
        return f"Camera ({camera + 1})/{stem}.jpg"
    return f"Camera_B{camera + 1}/{frame:06d}.jpg"


def _silhouette(
    vertices: np.ndarray,
    intrinsics: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    distortion: tuple[float, ...],
    size: int,
) -> np.ndarray:
    """The vertices' pixels on the distorted picture, closed; labels of 0 and 3, as of a parsed body part."""
    points, _ = cv2.projectPoints(vertices, rotation, translation, intrinsics, np.array(distortion))
    columns, rows = np.rint(points[:, 0]).astype(int).T
    visible = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    mask = np.zeros((size, size), np.uint8)
    mask[rows[visible], columns[visible]] = 3
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
