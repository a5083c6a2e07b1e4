"""The command line tells what it can do, and says in one line what was wrong."""

import importlib
from pathlib import Path

import pytest

from human_avatars.scripts.cli import COMMANDS, run


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_no_command_and_an_unknown_one_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["dance"]) == 2
    assert "dance" in capsys.readouterr().err


def test_a_group_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--help"]) == 0
    text = capsys.readouterr().out
    assert "export motion" in text
    assert "quickstart" not in text
    assert run(["export"]) == 2
    assert run(["export", "dreams"]) == 2
    assert "no command 'export dreams'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(importlib.import_module(COMMANDS[name][0]).main)
    with pytest.raises(SystemExit) as stop:
        run([*name.split(), "--help"])
    assert stop.value.code == 0
    assert "--" in capsys.readouterr().out


def test_bad_input_is_one_line_and_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["orbit", "--load-config", f"{tmp_path}/absent/config.yml"]) == 1
    error = capsys.readouterr().err
    assert "absent/config.yml does not exist" in error
    assert len(error.strip().splitlines()) == 1
