"""Quickstart's choices: methods of this package only, a shorter schedule where asked, an old demo used again."""

from pathlib import Path

import pytest
from rich.console import Console

from human_avatars.scripts.cli import run
from human_avatars.scripts.quickstart import _film_demo, _shorten, method_config


def test_each_call_gives_a_fresh_configuration() -> None:
    first, second = method_config("neural-body-cpu"), method_config("neural-body-cpu")
    first.pipeline.model.num_samples = 1
    assert second.pipeline.model.num_samples > 1


@pytest.mark.parametrize("method", ["nerfacto", "zipnerf", "dance"])
def test_other_methods_are_refused_with_the_ones_there_are(method: str) -> None:
    with pytest.raises(ValueError, match="neural-body, neural-body-cpu"):
        method_config(method)


def test_fewer_steps_decay_as_far() -> None:
    config = method_config("neural-body-cpu")
    _shorten(config, 7)
    assert config.max_num_iterations == 7
    assert config.optimizers["fields"]["scheduler"].max_steps == 7


def test_the_published_schedule_keeps_its_epochs() -> None:
    config = method_config("neural-body")
    before = config.optimizers["fields"]["scheduler"]
    _shorten(config, 7)
    assert config.optimizers["fields"]["scheduler"] == before


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
