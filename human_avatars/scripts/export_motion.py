"""`human-avatars export motion`: the poses of a trained avatar, refined where the training did so."""

from pathlib import Path
from typing import Literal

from typing_extensions import assert_never

from human_avatars.body_models.motion_files import motion_layout, write_motion
from human_avatars.files.safe_writes import check_free
from human_avatars.scripts.trained_avatar import load_avatar


def main(
    load_config: Path,
    output_path: Path = Path("motion.npz"),
    frames: Literal["all", "train"] = "all",
    frames_per_second: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write the poses and the shape of the captured person.

    Args:
        load_config: The run's config.yml.
        output_path: An .npz file for AMASS's arrays, or a .pth file for the body parameters of GaussianAvatar's layout.
        frames: Every frame of the capture, or those that trained. The others are as captured: nothing refines them.
        frames_per_second: Speed of the capture, for the .npz file; nothing in a capture tells it.
        overwrite: Replace an existing file.
    """
    # What can be wrong without the run is said before it is loaded.
    motion_layout(output_path)
    check_free(output_path, overwrite)
    model = load_avatar(load_config)
    poses = model.refined_motion().poses
    if frames == "train":
        poses = poses[model.train_frame_indices]
    elif frames != "all":
        assert_never(frames)
    write_motion(output_path, poses, model.subject.betas, frames_per_second)
    mode = model.config.body_pose_optimizer.mode
    origin = "as captured: the run refines none" if mode == "off" else "refined in the frames that trained"
    print(f"Wrote {len(poses.transl)} poses, {origin}, to {output_path}")
