"""Writes that leave either the whole result or nothing: to a temporary name first, renamed at the end."""

import os
import shutil
import uuid
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
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
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
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    retired = temporary.with_name(f"{temporary.name}-old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            retired.mkdir()
            os.replace(path, retired / path.name)
        os.replace(temporary, path)
    finally:
        # Interrupted between the two renames: the old folder goes back to its place.
        if not path.exists() and (retired / path.name).exists():
            os.replace(retired / path.name, path)
        shutil.rmtree(retired, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, overwrite: bool = False) -> None:
    """Refuse an output path that holds something already.

    Args:
        path: The file or folder about to be written.
        overwrite: Whether what lies there may be replaced.

    Raises:
        ValueError: Something non-empty lies at `path` and `overwrite` is off.
    """
    if not path.exists() or overwrite:
        return
    if path.is_file() or any(path.iterdir()):
        raise ValueError(
            f"{path} exists already and is not empty: pass --overwrite to replace it, or name another path."
        )
