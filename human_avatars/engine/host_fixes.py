"""Gaps of nerfstudio 1.1.5 that are filled once, when the method configs are imported."""

import importlib.util
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.configs.base_config import MachineConfig

LOGGER = logging.getLogger(__name__)


def prepare_host() -> None:
    """Fill the gaps that need no user decision; cheap, and safe to call again.

    - Checkpoints of older runs hold NumPy scalars, which `torch.load` refuses unless they are declared harmless.
    - `ns-render` stops when no `ffmpeg` is on PATH, even where it writes images.
    - Its cameras index tensors in a way that newer releases of torch warn of at every command.
    """
    warnings.filterwarnings("ignore", message="Using a non-tuple sequence", module=r"nerfstudio\.cameras")
    allow_numpy_scalars_in_checkpoints()
    put_ffmpeg_on_path()


def default_machine() -> MachineConfig:
    """nerfstudio's machine settings for the computer at hand; the stock default is a CUDA device wherever it runs.

    Returns:
        Settings that name CUDA where a device is usable, the CPU otherwise.
    """
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


def allow_numpy_scalars_in_checkpoints() -> None:
    """Let `torch.load` read the NumPy numbers that nerfstudio's schedules leave in checkpoints.

    They are values, not code: the function that rebuilds a scalar, `dtype`, and the dtypes of plain numbers.
    """
    if torch.__version__ < "2.6":  # compared as a version, not as text; older ones read everything
        return
    rebuild_scalar: Any = np.float64(0).__reduce__()[0]
    # NumPy 2 renamed the module; a checkpoint may come from either side of that.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    number_types = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    dtypes = [np.dtype, *(type(np.dtype(number)) for number in number_types)]
    torch.serialization.add_safe_globals([*((rebuild_scalar, name) for name in names), *dtypes])


def put_ffmpeg_on_path() -> None:
    """Make imageio-ffmpeg's program answer to the name `ffmpeg` where PATH has none.

    The program carries its version in its name, so a link of the right name is kept in the user's cache folder and
    that folder is put at the end of PATH, for this process and those it starts. An ffmpeg of the user's own always
    wins. Nothing here stops the caller: what cannot be done is logged.
    """
    if shutil.which("ffmpeg") is not None:
        return
    program = _bundled_ffmpeg()
    if program is None:
        return
    try:
        folder = _link_folder()
        _link(folder / ("ffmpeg.exe" if sys.platform == "win32" else "ffmpeg"), program)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
        LOGGER.warning("No ffmpeg is on PATH, and the one of imageio-ffmpeg could not be put there: %s", error)
        return
    os.environ["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), str(folder)]))


def _bundled_ffmpeg() -> Path | None:
    """The program in the imageio-ffmpeg package, found without importing it: every ns-* command passes here."""
    package = importlib.util.find_spec("imageio_ffmpeg")
    if package is None or package.origin is None:
        return None
    binaries = Path(package.origin).parent / "binaries"
    return next((path for path in sorted(binaries.glob("ffmpeg-*")) if path.is_file()), None)


def _link_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "human_avatars" / "bin"


def _link(link: Path, target: Path) -> None:
    """Point `link` at `target`; a copy where the system allows no symbolic links."""
    if link.exists() and (os.path.samefile(link, target) or not link.is_symlink()):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    try:
        try:
            temporary.symlink_to(target)
        except OSError:
            shutil.copy2(target, temporary)
        os.replace(temporary, link)
    finally:
        temporary.unlink(missing_ok=True)
