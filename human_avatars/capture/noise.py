"""Errors of a real capture: of the fitted pose, of the silhouettes and of the calibration."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from human_avatars.capture.capture_config import NoiseConfig
from human_avatars.capture.film import PinholeCamera

POSE_STREAM, ROOT_STREAM, CALIBRATION_STREAM, MASK_STREAM = range(4)
"""Each kind of noise has random numbers of its own: turning one on leaves the others as they were."""
RAGGEDNESS_PIXELS = 10
"""Width of the bumps of a ragged silhouette, in pixels."""


def noisy_rotations(
    rotations: Float[np.ndarray, "frames joints 3"], noise: NoiseConfig, seed: int
) -> Float[np.ndarray, "frames joints 3"]:
    """Joint rotations as a fit would get them.

    Args:
        rotations: True axis-angle rotations, in radians.
        noise: Size of the errors.
        seed: Seed of the capture.

    Returns:
        Axis-angle rotations, in radians; the input itself where there is no noise.
    """
    if noise.pose_noise_degrees == 0:
        return rotations
    sigma = np.deg2rad(noise.pose_noise_degrees)
    errors = sigma * np.random.default_rng([seed, POSE_STREAM]).normal(size=rotations.shape)
    noisy = Rotation.from_rotvec(rotations.reshape(-1, 3)) * Rotation.from_rotvec(errors.reshape(-1, 3))
    return noisy.as_rotvec().reshape(rotations.shape)


def root_offsets(num_frames: int, noise: NoiseConfig, seed: int) -> Float[np.ndarray, "frames 3"]:
    """Errors of the body's place in each frame, in metres."""
    return noise.place_noise_centimetres / 100 * np.random.default_rng([seed, ROOT_STREAM]).normal(size=(num_frames, 3))


def miscalibrated(camera: PinholeCamera, place: int, noise: NoiseConfig, seed: int) -> PinholeCamera:
    """A camera as a calibration would get it.

    Args:
        camera: The camera that filmed.
        place: Its place in the ring.
        noise: Size of the errors.
        seed: Seed of the capture.

    Returns:
        The camera that is written; the input itself where there is no noise.
    """
    if (
        noise.calibration_noise_degrees
        == noise.calibration_noise_millimetres
        == noise.calibration_noise_focal_percent
        == 0
    ):
        return camera
    errors = np.random.default_rng([seed, CALIBRATION_STREAM, place]).normal(size=7)
    turn = Rotation.from_rotvec(np.deg2rad(noise.calibration_noise_degrees) * errors[:3]).as_matrix()
    rotation = turn @ camera.rotation
    position = camera.position + noise.calibration_noise_millimetres / 1000 * errors[3:6]
    zoom = 1 + noise.calibration_noise_focal_percent / 100 * errors[6]
    intrinsics = camera.intrinsics * np.array([[zoom, 1, 1], [1, zoom, 1], [1, 1, 1]])
    return replace(camera, intrinsics=intrinsics, rotation=rotation, translation=-rotation @ position)


def ragged_labels(
    labels: UInt8[np.ndarray, "size size"], noise: NoiseConfig, seed: int, frame: int, place: int
) -> UInt8[np.ndarray, "size size"]:
    """A label image as a segmentation would get it: its borders shifted here and there, in and out.

    Args:
        labels: True part labels.
        noise: Size of the errors.
        seed: Seed of the capture.
        frame: Which frame it is.
        place: Place of the camera in the ring.

    Returns:
        Part labels; the input itself where there is no noise.
    """
    if noise.mask_noise_pixels == 0:
        return labels
    import cv2

    size = len(labels)
    nodes = size // RAGGEDNESS_PIXELS + 4
    random = np.random.default_rng([seed, MASK_STREAM, frame, place])
    shifts = cv2.resize(random.normal(size=(nodes, nodes, 2)), (size, size), interpolation=cv2.INTER_CUBIC)
    shifts *= noise.mask_noise_pixels / shifts.std()
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    maps = [(grid + shifts[..., axis]).astype(np.float32) for axis, grid in enumerate((columns, rows))]
    return cv2.remap(labels, maps[0], maps[1], cv2.INTER_NEAREST).astype(np.uint8)
