"""The capture on disk is what ZJU-MoCap would hold, whoever reads it and however it was filmed."""

import filecmp
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.capture import filming
from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig
from human_avatars.capture.writers import write_zju_mocap
from human_avatars.files.restricted_pickle import load_npy_object

CAMERAS = ("Camera_B1", "Camera_B4", "Camera_B7")


def load(path: Path) -> dict:
    return np.load(path, allow_pickle=True).item()


def posed_by_hand(body: BodyModel, params: dict[str, np.ndarray]) -> np.ndarray:
    """SMPL written out joint by joint in float64: R(Rh) LBS(poses, shapes) + Th."""
    template, directions = body.rest_template.double().numpy(), body.shape_directions.double().numpy()
    rest = template + directions @ params["shapes"][0].astype(float)
    joints = body.joint_regressor.double().numpy() @ rest
    rotations = Rotation.from_rotvec(params["poses"].reshape(-1, 3).astype(float)).as_matrix()
    chain_rotations, chain_positions = [rotations[0]], [joints[0]]
    for joint in range(1, len(joints)):
        parent = body.parents[joint]
        chain_rotations.append(chain_rotations[parent] @ rotations[joint])
        chain_positions.append(chain_positions[parent] + chain_rotations[parent] @ (joints[joint] - joints[parent]))
    weights = body.skinning_weights.double().numpy()
    posed = np.zeros_like(rest)
    for joint, (rotation, position) in enumerate(zip(chain_rotations, chain_positions, strict=True)):
        posed += weights[:, joint, None] * ((rest - joints[joint]) @ rotation.T + position)
    return posed @ Rotation.from_rotvec(params["Rh"][0].astype(float)).as_matrix().T + params["Th"][0]


def project(annots: dict, camera: int, points: np.ndarray) -> np.ndarray:
    calibration = annots["cams"]
    in_camera = points @ calibration["R"][camera].T + calibration["T"][camera].ravel() / 1000
    image = in_camera @ calibration["K"][camera].T
    return image[:, :2] / image[:, 2:]


def differing_files(first: Path, second: Path) -> set[str]:
    names = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()}
    return {name for name in names if not filecmp.cmp(first / name, second / name, shallow=False)}


def test_the_layout_is_zju_mocaps(tiny_folder: Path, tiny_options: CaptureConfig, open_body: BodyModel) -> None:
    annots = load(tiny_folder / "annots.npy")
    shapes = {name: [np.shape(value) for value in values] for name, values in annots["cams"].items()}
    assert shapes == {"K": [(3, 3)] * 3, "D": [(5, 1)] * 3, "R": [(3, 3)] * 3, "T": [(3, 1)] * 3}
    assert len(annots["ims"]) == tiny_options.frames
    assert annots["ims"][4]["ims"] == [f"{camera}/000004.jpg" for camera in CAMERAS]
    for camera in CAMERAS:
        image = cv2.imread(str(tiny_folder / camera / "000004.jpg"))
        labels = cv2.imread(str(tiny_folder / "mask_cihp" / camera / "000004.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(tiny_folder / "mask" / camera / "000004.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (64, 64, 3)
        assert labels.shape == mask.shape == (64, 64)
        np.testing.assert_array_equal(labels > 0, mask > 0)
        assert image[labels > 0].mean() > 30
        assert image[cv2.dilate(labels, np.ones((9, 9))) == 0].max() < 12, "the background is black"
    for kind in ("params", "new_params"):
        params = load(tiny_folder / kind / "5.npy")
        assert {name: value.shape for name, value in params.items()} == {
            "poses": (1, open_body.num_joints * 3),
            "Rh": (1, 3),
            "Th": (1, 3),
            "shapes": (1, open_body.num_betas),
        }
        np.testing.assert_array_equal(params["poses"][0, :3], 0)
        np.testing.assert_allclose(params["shapes"][0], tiny_options.betas)


def test_the_restricted_reader_takes_it(tiny_folder: Path) -> None:
    assert set(load_npy_object(tiny_folder / "annots.npy")) == {"cams", "ims"}  # pyright: ignore
    assert "Rh" in load_npy_object(tiny_folder / "params" / "0.npy")  # pyright: ignore


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_vertices_are_the_params_posed(tiny_folder: Path, open_body: BodyModel, frame: int) -> None:
    for params, vertices in (("params", "vertices"), ("new_params", "new_vertices")):
        written = np.load(tiny_folder / vertices / f"{frame}.npy")
        assert written.dtype == np.float32
        expected = posed_by_hand(open_body, load(tiny_folder / params / f"{frame}.npy"))
        np.testing.assert_allclose(written, expected, atol=2e-6)


@pytest.mark.parametrize("frame", [0, 5])
def test_the_person_stands_on_the_floor_with_z_up(tiny_folder: Path, frame: int) -> None:
    vertices = np.load(tiny_folder / "vertices" / f"{frame}.npy")
    assert 0 < vertices[:, 2].min() < 0.05, "bare feet stand in shoes"
    assert 1.3 < vertices[:, 2].max() < 2.2
    assert np.abs(vertices.mean(0)[:2]).max() < 0.3


@pytest.mark.parametrize("camera", [0, 1, 2])
def test_the_cameras_see_the_body_inside_the_silhouette(tiny_folder: Path, camera: int) -> None:
    annots = load(tiny_folder / "annots.npy")
    for frame in range(6):
        labels = cv2.imread(str(tiny_folder / "mask_cihp" / CAMERAS[camera] / f"{frame:06d}.png"), cv2.IMREAD_UNCHANGED)
        pixels = project(annots, camera, np.load(tiny_folder / "vertices" / f"{frame}.npy"))
        columns, rows = np.round(pixels).astype(int).T
        assert (labels[rows, columns] > 0).mean() > 0.9
        seen_rows, seen_columns = np.nonzero(labels)
        box = np.array([seen_columns.min(), seen_rows.min(), seen_columns.max(), seen_rows.max()])
        np.testing.assert_allclose(np.concatenate([pixels.min(0), pixels.max(0)]), box, atol=2.5)


def test_capture_json_tells_the_split(tiny_folder: Path) -> None:
    record = json.loads((tiny_folder / "capture.json").read_text())
    assert record["training_cameras"] == ["Camera_B1", "Camera_B7"]
    assert record["training_frames"] == 4
    assert record["options"]["seed"] == 0


def test_the_same_options_give_the_same_bytes(tiny_folder: Path, tiny_options: CaptureConfig, tmp_path: Path) -> None:
    write_zju_mocap(tmp_path / "again", tiny_options)
    assert differing_files(tiny_folder, tmp_path / "again") == set()


def test_workers_do_not_change_a_byte(tmp_path: Path, tiny_options: CaptureConfig) -> None:
    noise = NoiseConfig(pose_noise_degrees=1.0, mask_noise_pixels=1.0)
    options = replace(tiny_options, frames=3, noise=noise)
    write_zju_mocap(tmp_path / "one", options, workers=1)
    write_zju_mocap(tmp_path / "two", options, workers=2)
    assert differing_files(tmp_path / "one", tmp_path / "two") == set()


@pytest.mark.parametrize(
    ("noise", "changed"),
    [
        (NoiseConfig(pose_noise_degrees=2.0), {"params", "vertices", "new_params", "new_vertices"}),
        (NoiseConfig(place_noise_centimetres=2.0), {"params", "vertices", "new_params", "new_vertices"}),
        (NoiseConfig(mask_noise_pixels=1.0), {"mask", "mask_cihp"}),
        (NoiseConfig(calibration_noise_degrees=0.5), {"annots.npy"}),
        (NoiseConfig(calibration_noise_focal_percent=0.5), {"annots.npy"}),
    ],
)
def test_noise_changes_only_what_it_says(
    tiny_folder: Path,
    tiny_options: CaptureConfig,
    open_body: BodyModel,
    tmp_path: Path,
    noise: NoiseConfig,
    changed: set[str],
) -> None:
    folder = tmp_path / "noisy"
    write_zju_mocap(folder, replace(tiny_options, noise=noise))
    files = differing_files(tiny_folder, folder)
    assert {name.split("/")[0] for name in files} == changed | {"capture.json"}
    expected = posed_by_hand(open_body, load(folder / "params" / "2.npy"))
    np.testing.assert_allclose(np.load(folder / "vertices" / "2.npy"), expected, atol=2e-6)


def test_another_seed_changes_the_pictures_but_not_the_person(
    tiny_folder: Path, tiny_options: CaptureConfig, tmp_path: Path
) -> None:
    write_zju_mocap(tmp_path / "other", replace(tiny_options, seed=1))
    assert {name.split("/")[0] for name in differing_files(tiny_folder, tmp_path / "other")} == {
        *CAMERAS,
        "capture.json",
    }


def test_an_existing_capture_is_not_replaced_unasked(tiny_options: CaptureConfig, tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "precious.txt").write_text("keep me")
    with pytest.raises(ValueError, match="--overwrite"):
        write_zju_mocap(folder, tiny_options)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    write_zju_mocap(folder, replace(tiny_options, frames=3), overwrite=True)
    assert not (folder / "precious.txt").exists()
    assert (folder / "annots.npy").is_file()


def test_an_interrupted_capture_leaves_nothing(
    tiny_options: CaptureConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shoot(stage: object, frame: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(filming, "shoot", shoot)
    with pytest.raises(KeyboardInterrupt):
        write_zju_mocap(tmp_path / "capture", tiny_options, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_bad_options_leave_nothing(tiny_options: CaptureConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames is 1"):
        write_zju_mocap(tmp_path / "capture", replace(tiny_options, frames=1))
    with pytest.raises(ValueError, match="workers is 0"):
        write_zju_mocap(tmp_path / "capture", tiny_options, workers=0)
    assert list(tmp_path.iterdir()) == []
