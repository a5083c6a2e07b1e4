"""Files of tensors are read without executing anything, and broken ones are named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from human_avatars.files.weight_files import read_weight_file


def test_containers_of_tensors_come_back(tmp_path: Path) -> None:
    content = {"net": {"weight": torch.randn(3)}, "epoch": 7}
    torch.save(content, tmp_path / "a.pth")
    assert_close(read_weight_file(tmp_path / "a.pth", "give it"), content)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pth does not exist: give it\."):
        read_weight_file(tmp_path / "absent.pth", "give it")
    (tmp_path / "b.pth").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"b\.pth cannot be read .* Download it again"):
        read_weight_file(tmp_path / "b.pth", "give it")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"net": Trap()}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match="more than data"):
        read_weight_file(tmp_path / "c.pth", "give it")
    assert not (tmp_path / "sprung").exists()
