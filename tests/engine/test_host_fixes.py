"""Each gap of the host, closed in a fresh process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from human_avatars.engine import host_fixes

PREPARE = "from human_avatars.engine.host_fixes import prepare_host; prepare_host()"


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key not in ("PATH", "XDG_CACHE_HOME")}
    # The child imports this very package, wherever the tests run.
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_ffmpeg_runs_and_ns_render_is_content(path: str, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    code = f"{PREPARE}\nimport subprocess\nfrom nerfstudio.utils.install_checks import check_ffmpeg_installed\n"
    code += "check_ffmpeg_installed(); subprocess.run(['ffmpeg', '-version'], check=True)"
    result = _run(code, PATH=path, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ffmpeg version")
    assert (tmp_path / "human_avatars/bin/ffmpeg").exists()


def test_checkpoints_with_numpy_scalars_load(tmp_path: Path) -> None:
    import numpy as np

    numbers = [np.float64(1e-3), np.float32(2.0), np.int64(3), np.bool_(True)]
    torch.save({"lr": numbers}, tmp_path / "old.ckpt")
    load = f"import torch; print([float(x) for x in torch.load({str(tmp_path / 'old.ckpt')!r})['lr']])"
    assert "Unsupported global" in _run(load).stderr
    assert _run(f"{PREPARE}; {load}").stdout.strip() == "[0.001, 2.0, 3.0, 1.0]"


def test_the_other_numpy_generation_is_known_too() -> None:
    host_fixes.allow_numpy_scalars_in_checkpoints()
    names = {item[1] for item in torch.serialization.get_safe_globals() if isinstance(item, tuple)}
    assert {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"} <= names


@pytest.fixture
def no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, an empty cache, and a stand-in for the bundled program; returns the stand-in."""
    program = tmp_path / "package" / "ffmpeg-linux-x86_64-v1"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(host_fixes, "_bundled_ffmpeg", lambda: program)
    return program


def test_path_grows_once_and_at_its_end(no_ffmpeg: Path, tmp_path: Path) -> None:
    host_fixes.prepare_host()
    host_fixes.prepare_host()
    assert os.environ["PATH"].split(os.pathsep) == ["/nowhere", str(tmp_path / "cache/human_avatars/bin")]


def test_a_link_of_a_former_environment_is_renewed(no_ffmpeg: Path, tmp_path: Path) -> None:
    link = tmp_path / "cache/human_avatars/bin/ffmpeg"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "removed")
    host_fixes.put_ffmpeg_on_path()
    assert link.resolve() == no_ffmpeg
    assert list(link.parent.iterdir()) == [link]


def test_where_links_are_forbidden_the_program_is_copied(
    no_ffmpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("symbolic links need a privilege")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    host_fixes.put_ffmpeg_on_path()
    link = tmp_path / "cache/human_avatars/bin/ffmpeg"
    assert not link.is_symlink()
    assert os.access(link, os.X_OK)


def test_an_unusable_cache_is_a_warning(
    no_ffmpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    host_fixes.put_ffmpeg_on_path()
    assert "imageio-ffmpeg" in caplog.text
    assert os.environ["PATH"] == "/nowhere"


def test_a_users_own_ffmpeg_wins(no_ffmpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "ffmpeg").symlink_to(no_ffmpeg)
    monkeypatch.setenv("PATH", str(own))
    host_fixes.put_ffmpeg_on_path()
    assert os.environ["PATH"] == str(own)
    assert not (tmp_path / "cache").exists()


def test_without_the_package_nothing_happens(no_ffmpeg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    host_fixes.put_ffmpeg_on_path()
    assert os.environ["PATH"] == "/nowhere"


def test_preparing_is_cheap(no_ffmpeg: Path) -> None:
    host_fixes.prepare_host()
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        host_fixes.prepare_host()
        durations.append(time.perf_counter() - start)
    assert min(durations) < 5e-3


@pytest.mark.parametrize(("available", "device_type"), [(True, "cuda"), (False, "cpu")])
def test_the_machine_at_hand_is_used(available: bool, device_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert host_fixes.default_machine().device_type == device_type
