"""`human-avatars demo`: film a clothed actor in a published dataset's layout, to try everything without real data."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from rich.console import Console
from typing_extensions import assert_never

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.writers import write_zju_mocap


@dataclass(frozen=True)
class DemoConfig(CaptureConfig):
    """Film a clothed actor, made of the packaged open body, with a ring of virtual cameras."""

    layout: Literal["zju-mocap"] = "zju-mocap"
    """Whose files on disk to imitate."""
    output: Path = Path("data/zju/demo")
    """Folder to write."""
    overwrite: bool = False
    """Replace the output folder if it is not empty."""
    workers: int | None = None
    """Processes that film; by default one per core where that is worth it. The files do not depend on it."""


def main(config: DemoConfig) -> None:
    """Film the demo.

    Args:
        config: What to film and where to write it.

    Raises:
        ValueError: An option is out of range, or the output folder is not empty and may not be replaced.
    """
    options = CaptureConfig(**{field.name: getattr(config, field.name) for field in fields(CaptureConfig)})
    if config.layout == "zju-mocap":
        write_zju_mocap(config.output, options, config.overwrite, config.workers)
    else:
        assert_never(config.layout)
    console = Console()
    console.print(f"Filmed {options.frames} frames from {len(options.rendered_cameras)} cameras into {config.output}")
    console.print(f"Train on it with: ns-train neural-body --data {config.output}", soft_wrap=True)
    console.print(f"Without a GPU:    ns-train neural-body-cpu --data {config.output}", soft_wrap=True)
