"""Writes are whole or absent, whatever interrupts them."""

import os
from pathlib import Path

import pytest

from human_avatars.files.safe_writes import atomic_path, check_free, fresh_folder


class Interruption(BaseException):
    """As KeyboardInterrupt, it is no Exception."""


INTERRUPTIONS = [ValueError, KeyboardInterrupt, Interruption]


def folder_content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_file_takes_its_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "result.txt") as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == tmp_path / "new"
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "result.txt").exists()
    assert folder_content(tmp_path) == {"new/result.txt": "whole"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("old", [{}, {"result.txt": "old"}])
def test_an_interrupted_file_leaves_what_was_there(
    tmp_path: Path, interruption: type[BaseException], old: dict[str, str]
) -> None:
    for name, text in old.items():
        (tmp_path / name).write_text(text)

    def write() -> None:
        with atomic_path(tmp_path / "result.txt") as temporary:
            temporary.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert folder_content(tmp_path) == old


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "result.txt").write_text("old")
    with atomic_path(tmp_path / "result.txt") as temporary:
        temporary.write_text("new")
    assert folder_content(tmp_path) == {"result.txt": "new"}


def test_files_and_folders_have_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual.txt").touch()
    (tmp_path / "usual").mkdir()
    with atomic_path(tmp_path / "ours.txt") as file, fresh_folder(tmp_path / "ours"):
        file.write_text("")
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_finished_folder_takes_its_name(tmp_path: Path, overwrite: bool) -> None:
    with fresh_folder(tmp_path / "deep" / "run", overwrite) as temporary:
        (temporary / "part.txt").write_text("whole")
        assert not (tmp_path / "deep" / "run").exists()
    assert folder_content(tmp_path) == {"deep/run/part.txt": "whole"}


def test_a_relative_folder_is_written_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with fresh_folder(Path("run")) as temporary:
        (temporary / "part.txt").write_text("whole")
    assert folder_content(tmp_path) == {"run/part.txt": "whole"}


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with fresh_folder(tmp_path / "run") as temporary:
        (temporary / "part.txt").write_text("whole")
    assert folder_content(tmp_path) == {"run/part.txt": "whole"}


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("old")
    refusal = pytest.raises(ValueError, match=r"run exists already and is not empty: pass --overwrite")
    with refusal, fresh_folder(tmp_path / "run"):
        pytest.fail("the block must not run")
    assert folder_content(tmp_path) == {"run/precious.txt": "old"}


def test_overwriting_keeps_the_old_folder_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old.txt").write_text("old")
    with fresh_folder(tmp_path / "run", overwrite=True) as temporary:
        (temporary / "new.txt").write_text("new")
        assert (tmp_path / "run" / "old.txt").read_text() == "old"
    assert folder_content(tmp_path) == {"run/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_folder_leaves_what_was_there(
    tmp_path: Path, interruption: type[BaseException], overwrite: bool
) -> None:
    if overwrite:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.txt").write_text("old")

    def write() -> None:
        with fresh_folder(tmp_path / "run", overwrite) as temporary:
            (temporary / "half.txt").write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert folder_content(tmp_path) == ({"run/old.txt": "old"} if overwrite else {})
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if overwrite else [])


def test_an_interruption_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old.txt").write_text("old")
    rename, calls = os.replace, []

    def interrupted_rename(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted_rename)
    with pytest.raises(KeyboardInterrupt), fresh_folder(tmp_path / "run", overwrite=True):
        pass
    assert folder_content(tmp_path) == {"run/old.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_check_free_lets_a_file_be_replaced_on_demand_only(tmp_path: Path) -> None:
    check_free(tmp_path / "absent.mp4")
    (tmp_path / "video.mp4").write_text("frames")
    with pytest.raises(ValueError, match=r"video\.mp4 exists already"):
        check_free(tmp_path / "video.mp4")
    check_free(tmp_path / "video.mp4", overwrite=True)
