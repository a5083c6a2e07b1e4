"""The open body's files survive a round trip, byte for byte, and older ones are not lost by accident."""

from pathlib import Path

import numpy as np
import pytest
import torch

from human_avatars.body_models.builder.body_files import OpenBody, read_body_files, save_open_body


def test_a_body_survives_its_files(packaged: OpenBody, tmp_path: Path) -> None:
    files = save_open_body(packaged, tmp_path / "body.npz")
    assert sorted(files) == sorted(tmp_path.iterdir())
    restored = read_body_files(tmp_path / "body.npz")
    assert set(restored.arrays) == set(packaged.arrays)
    for name, values in packaged.arrays.items():
        np.testing.assert_array_equal(restored.arrays[name], values)
    for size, surface_map in packaged.surface_maps.items():
        torch.testing.assert_close(restored.surface_maps[size].mask, surface_map.mask)
        torch.testing.assert_close(restored.surface_maps[size].triangles, surface_map.triangles)


def test_the_same_body_gives_the_same_bytes(packaged: OpenBody, tmp_path: Path) -> None:
    first = save_open_body(packaged, tmp_path / "first/body.npz")
    second = save_open_body(packaged, tmp_path / "second/body.npz")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_existing_files_are_kept_without_overwrite(packaged: OpenBody, tmp_path: Path) -> None:
    older = tmp_path / "surfmap_256.npz"
    older.write_text("mine")
    with pytest.raises(ValueError, match=r"surfmap_256\.npz.*--overwrite"):
        save_open_body(packaged, tmp_path / "body.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["surfmap_256.npz"]
    save_open_body(packaged, tmp_path / "body.npz", overwrite=True)
    assert older.read_bytes() != b"mine"


def test_another_ending_is_refused(packaged: OpenBody, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found the ending '\.pkl', expected \.npz"):
        save_open_body(packaged, tmp_path / "body.pkl")
