"""`human-avatars demo`: film a clothed actor in a published dataset's layout, to try everything without real data."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from typing_extensions import assert_never

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar
from human_avatars.capture.motions import MotionName
from human_avatars.capture.writers import write_zju_mocap


@dataclass(frozen=True)
class DemoConfig(CaptureConfig):
    """Film a clothed actor, made of the packaged open body, with virtual cameras."""

    layout: Literal["zju-mocap", "gaussian-avatar"] = "zju-mocap"
    """Whose files on disk to imitate: zju-mocap has a ring of cameras around a walking person, gaussian-avatar one
    camera, the first of the training ones, before a person who turns on the spot."""
    motion: MotionName | None = None
    """What the person does in the training frames; by default walk, or apose_spin in the layout gaussian-avatar, whose
    last third is then the rest of the turn."""
    output: Path | None = None
    """Folder to write; by default data/zju/demo or data/gaussian-avatar/demo."""
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
    chosen: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(CaptureConfig)}
    if config.motion is None:
        del chosen["motion"]
    if config.layout == "zju-mocap":
        output, data_parser = config.output or Path("data/zju/demo"), ""
        on_a_gpu = "neural-body"
        options = CaptureConfig(**chosen)
        write_zju_mocap(output, options, config.overwrite, config.workers)
        cameras = f"{len(options.rendered_cameras)} cameras"
    elif config.layout == "gaussian-avatar":
        output, data_parser = config.output or Path("data/gaussian-avatar/demo"), " gaussian-avatar-data"
        on_a_gpu = "gaussian-avatar"
        options = CaptureConfig(**_turning_by_default(chosen))
        write_gaussian_avatar(output, options, config.overwrite, config.workers)
        cameras = "one camera"
    else:
        assert_never(config.layout)
    console = Console()
    console.print(f"Filmed {options.frames} frames from {cameras} into {output}")
    console.print(f"Train on it with: ns-train avatar-splat --data {output}{data_parser}", soft_wrap=True)
    console.print(f"Or, on a GPU:     ns-train {on_a_gpu} --data {output}{data_parser}", soft_wrap=True)


def _turning_by_default(chosen: dict[str, Any]) -> dict[str, Any]:
    """One camera sees all sides of a person who turns, and the sides of the last third are turned to it only there."""
    if "motion" in chosen:
        return chosen
    return {**chosen, "motion": "apose_spin", "unseen_motion": chosen["unseen_motion"] or "apose_spin"}
