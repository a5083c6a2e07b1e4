"""`human-avatars orbit`: a trained person, moving, seen from a camera that circles them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from rich.progress import track

from human_avatars.body_models.motion import Subject
from human_avatars.files.safe_writes import check_free
from human_avatars.files.video_writer import write_video
from human_avatars.models.base_avatar_model import AvatarModel
from human_avatars.scripts.trained_avatar import load_avatar
from human_avatars.viewer.body_controls import first_view_of

FIELD_OF_VIEW = 40.0
"""Vertical opening of the camera, in degrees."""
ELEVATION = 0.1
"""Height of the camera above the person's middle, in body heights."""


def main(
    load_config: Path,
    output_path: Path = Path("orbit.mp4"),
    num_frames: int = 60,
    frames_per_second: int = 15,
    size: int = 512,
    turns: float = 1.0,
    overwrite: bool = False,
) -> None:
    """Render a video of a trained avatar that plays its captured motion while the camera circles it.

    Args:
        load_config: The run's config.yml.
        output_path: The .mp4 file to write.
        num_frames: Frames of the video; the motion is spread over them.
        frames_per_second: Playing speed.
        size: Width and height of the video, in pixels.
        turns: Turns of the camera around the person.
        overwrite: Replace an existing file.
    """
    check_free(output_path, overwrite)
    render_orbit(load_avatar(load_config), output_path, num_frames, frames_per_second, size, turns)
    print(f"Wrote {output_path}")


def render_orbit(
    model: AvatarModel, output_path: Path, num_frames: int, frames_per_second: int, size: int, turns: float = 1.0
) -> None:
    """Render the video of `main` for a model at hand.

    Args:
        model: A trained avatar.
        output_path: The .mp4 file to write.
        num_frames: Frames of the video.
        frames_per_second: Playing speed.
        size: Width and height, in pixels.
        turns: Turns of the camera.

    Raises:
        ValueError: There are no frames to render, or they have no size.
    """
    if num_frames < 1 or size < 2:
        raise ValueError(f"{num_frames} frames of {size} pixels make no video: ask for at least 1 frame of 2 pixels.")
    cameras = orbit_cameras(model.subject, num_frames, size, turns).to(model.device)

    def frames() -> Iterator[np.ndarray]:
        for index in track(range(num_frames), description="Rendering the orbit"):
            rgb = model.get_outputs_for_camera(cameras[index : index + 1])["rgb"]
            yield (rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()

    write_video(output_path, frames(), frames_per_second)


def orbit_cameras(subject: Subject, num_frames: int, size: int, turns: float) -> Cameras:
    """Cameras that start in front of a person and circle them while time runs from 0 to 1.

    Args:
        subject: The person.
        num_frames: Cameras to make.
        size: Width and height of their images, in pixels.
        turns: Turns around the person; a whole number ends one step short of its start, so that the video loops.

    Returns:
        Cameras with times.
    """
    front, _, up = first_view_of(subject)
    boxes = subject.world_boxes(torch.arange(subject.motion.num_frames))
    low, high = boxes[:, 0].amin(0).double().cpu().numpy(), boxes[:, 1].amax(0).double().cpu().numpy()
    target = (low + high) / 2
    height = float(np.abs(up) @ (high - low))
    forward = (front - target) - up * (up @ (front - target))
    forward = forward / np.linalg.norm(forward)
    side = np.cross(up, forward)
    half_opening = np.radians(FIELD_OF_VIEW) / 2
    # The ball around everything the person reaches fits into the picture from every side.
    distance = np.linalg.norm(high - low) / 2 / np.sin(half_opening)
    angles = 2 * np.pi * turns * np.arange(num_frames) / num_frames
    poses = []
    for angle in angles:
        around = forward * np.cos(angle) + side * np.sin(angle)
        poses.append(look_at(target + around * distance + up * height * ELEVATION, target, up))
    focal = size / 2 / np.tan(half_opening)
    times = torch.linspace(0, 1, num_frames) if num_frames > 1 else torch.zeros(1)
    return Cameras(
        camera_to_worlds=torch.tensor(np.stack(poses), dtype=torch.float32),
        fx=float(focal),
        fy=float(focal),
        cx=size / 2,
        cy=size / 2,
        width=size,
        height=size,
        camera_type=CameraType.PERSPECTIVE,
        times=times[:, None],
    )


def look_at(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """A camera at a position that looks at a target.

    Args:
        position: Camera centre, in metres.
        target: Point in the middle of the image, in metres.
        up: Direction that is up in the image.

    Returns:
        World-from-camera transform (3, 4) in nerfstudio's axes: x right, y up, looking along -z.
    """
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross(up, backward)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(backward, right), backward, position], axis=1)
