"""Zero noise changes nothing; noise has the size it says and its own random numbers."""

import numpy as np
from scipy.spatial.transform import Rotation

from human_avatars.capture.capture_config import NoiseConfig
from human_avatars.capture.film import camera_ring
from human_avatars.capture.noise import miscalibrated, noisy_rotations, ragged_labels, root_offsets

ROTATIONS = np.random.default_rng(0).normal(scale=0.5, size=(40, 24, 3))
CAMERA = camera_ring(512, 23)[4]
NOISE = NoiseConfig(
    pose_noise_degrees=2.0,
    place_noise_centimetres=3.0,
    mask_noise_pixels=2.0,
    calibration_noise_degrees=0.5,
    calibration_noise_millimetres=10.0,
    calibration_noise_focal_percent=1.0,
)


def disc() -> np.ndarray:
    rows, columns = np.mgrid[:200, :200]
    return np.where(np.hypot(rows - 100, columns - 100) < 60, 5, 0).astype(np.uint8)


def test_zero_noise_is_the_identity() -> None:
    none = NoiseConfig()
    assert noisy_rotations(ROTATIONS, none, 1) is ROTATIONS
    assert miscalibrated(CAMERA, 4, none, 1) is CAMERA
    labels = disc()
    assert ragged_labels(labels, none, 1, 0, 0) is labels
    np.testing.assert_array_equal(root_offsets(5, none, 1), np.zeros((5, 3)))


def test_rotation_errors_have_the_size_asked_for() -> None:
    noisy = Rotation.from_rotvec(noisy_rotations(ROTATIONS, NOISE, 1).reshape(-1, 3))
    errors = (Rotation.from_rotvec(ROTATIONS.reshape(-1, 3)).inv() * noisy).as_rotvec()
    np.testing.assert_allclose(np.rad2deg(errors.std(0)), 2.0, rtol=0.1)


def test_places_err_by_centimetres() -> None:
    np.testing.assert_allclose(root_offsets(2000, NOISE, 1).std(0), 0.03, rtol=0.1)


def test_a_longer_capture_keeps_the_errors_of_its_first_frames() -> None:
    np.testing.assert_array_equal(root_offsets(3, NOISE, 1), root_offsets(9, NOISE, 1)[:3])
    np.testing.assert_array_equal(noisy_rotations(ROTATIONS[:3], NOISE, 1), noisy_rotations(ROTATIONS, NOISE, 1)[:3])


def test_calibration_errors_have_the_size_asked_for() -> None:
    noisy = [miscalibrated(CAMERA, place, NOISE, 1) for place in range(400)]
    turns = np.array([Rotation.from_matrix(camera.rotation @ CAMERA.rotation.T).as_rotvec() for camera in noisy])
    np.testing.assert_allclose(np.rad2deg(turns.std(0)), 0.5, rtol=0.1)
    np.testing.assert_allclose(np.std([camera.position for camera in noisy], 0), 0.01, rtol=0.1)
    zooms = np.array([camera.intrinsics[0, 0] for camera in noisy]) / CAMERA.intrinsics[0, 0]
    np.testing.assert_allclose(zooms.std(), 0.01, rtol=0.1)
    np.testing.assert_array_equal(noisy[0].intrinsics[:, 2], CAMERA.intrinsics[:, 2])


def test_ragged_borders_stay_near_the_true_border() -> None:
    labels = disc()
    noisy = ragged_labels(labels, NOISE, 1, 0, 0)
    rows, columns = np.mgrid[:200, :200]
    from_border = np.abs(np.hypot(rows - 100, columns - 100) - 60)
    changed = noisy != labels
    # Shifts of two pixels change about 0.8 * 2 pixels of width along a border of 2 pi 60 pixels.
    np.testing.assert_allclose(changed.sum(), 0.8 * 2 * 2 * np.pi * 60, rtol=0.25)
    assert from_border[changed].max() < 5 * NOISE.mask_noise_pixels
    assert set(np.unique(noisy)) == {0, 5}
    assert ((noisy > 0) & changed).any()
    assert ((noisy == 0) & changed).any()


def test_each_picture_has_its_own_raggedness() -> None:
    labels = disc()
    assert (ragged_labels(labels, NOISE, 1, 0, 0) != ragged_labels(labels, NOISE, 1, 0, 1)).any()
    assert (ragged_labels(labels, NOISE, 1, 0, 0) != ragged_labels(labels, NOISE, 1, 1, 0)).any()
    np.testing.assert_array_equal(ragged_labels(labels, NOISE, 1, 2, 3), ragged_labels(labels, NOISE, 1, 2, 3))
