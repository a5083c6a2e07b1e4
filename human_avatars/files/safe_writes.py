"""Writes that leave either the whole result or nothing: to a temporary name first, renamed at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that is renamed to it when the block ends well.

    Args:
        path: The file to write; its folder is created where missing, an older file is replaced.

    Yields:
        The path to write to; it keeps the suffix, which many writers go by.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def fresh_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place when the block ends well.

    Args:
        path: The folder to write.
        overwrite: Whether a non-empty folder at `path` may be replaced. It stays until the new one is whole.

    Yields:
        The folder to write into.

    Raises:
        ValueError: Something non-empty lies at `path` and `overwrite` is off.
    """
    path = Path(os.path.abspath(path))
    check_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-old-"))
            os.replace(path, retired / path.name)
            os.replace(temporary, path)
            shutil.rmtree(retired)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, overwrite: bool = False) -> None:
    """Refuse an output path that holds something already.

    Args:
        path: The file or folder about to be written.
        overwrite: Whether what lies there may be replaced.

    Raises:
        ValueError: Something non-empty lies at `path` and `overwrite` is off, or a file lies where a folder should.
    """
    if not path.exists() or overwrite:
        return
    if path.is_file() or any(path.iterdir()):
        raise ValueError(
            f"{path} exists already and is not empty: pass --overwrite to replace it, or name another path."
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
