"""Quickstart's choices: methods of this package only, a capture known by its files, an old demo used again."""

from pathlib import Path

import pytest
from rich.console import Console

from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.scripts.cli import run
from human_avatars.scripts.quickstart import (
    QuickstartConfig,
    _film_demo,
    _results_table,
    data_parser_for,
    method_config,
)


def test_the_default_method_is_the_fast_one() -> None:
    assert method_config(QuickstartConfig().method).method_name == "avatar-splat"


def test_each_call_gives_a_fresh_configuration() -> None:
    first, second = method_config("neural-body-cpu"), method_config("neural-body-cpu")
    first.pipeline.model.num_samples = 1
    assert second.pipeline.model.num_samples > 1


@pytest.mark.parametrize("method", ["nerfacto", "zipnerf", "dance"])
def test_other_methods_are_refused_with_the_ones_there_are(method: str) -> None:
    with pytest.raises(ValueError, match="neural-body, neural-body-cpu"):
        method_config(method)


def test_a_layout_is_known_by_its_files_and_a_methods_own_options_are_kept(tmp_path: Path) -> None:
    zju, monocular = tmp_path / "zju", tmp_path / "monocular"
    (zju / "train").mkdir(parents=True)
    (zju / "annots.npy").touch()
    (monocular / "train").mkdir(parents=True)
    published = ZjuMocapDataParserConfig(published_scaling=True)
    assert data_parser_for(zju, published) is published
    assert data_parser_for(zju, GaussianAvatarDataParserConfig()) == ZjuMocapDataParserConfig()
    assert data_parser_for(monocular, published) == GaussianAvatarDataParserConfig()


def test_a_folder_of_no_layout_is_named_with_what_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["quickstart", "--data", str(tmp_path), "--output-dir", str(tmp_path / "output")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "annots.npy" in error
    assert not (tmp_path / "output").exists()


def test_the_table_has_the_splits_that_were_measured() -> None:
    results = {"in_between/num_images": 2.0, "novel_pose/num_images": 1.0, "in_between/psnr": 30.0}
    table = _results_table(results)
    assert [column.header for column in table.columns] == ["", "in between", "novel pose"]
    (row,) = zip(*(column.cells for column in table.columns), strict=True)
    assert row == ("psnr", "30.000", "-")


def test_a_demo_that_lies_there_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("kept")
    assert _film_demo(tmp_path / "demo", Console(quiet=True)) == tmp_path / "demo"
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine.txt"]


def test_absent_data_is_named_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent, output = tmp_path / "absent", tmp_path / "output"
    assert run(["quickstart", "--data", str(absent), "--output-dir", str(output)]) == 1
    assert str(absent) in capsys.readouterr().err
    assert not output.exists()
