"""Video files through PyAV, which brings its own encoder: no system ffmpeg is needed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from human_avatars.files.safe_writes import atomic_path

CONSTANT_RATE_FACTOR = "18"
"""x264's quality; 18 is visually lossless."""


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], frames_per_second: int) -> None:
    """Encode frames as H.264 in MP4; the file appears when the last frame is in it.

    Args:
        path: An `.mp4` file; an older one is replaced.
        frames: RGB images of one size; odd sizes lose their last row or column, which H.264 cannot hold.
        frames_per_second: Playing speed.

    Raises:
        ValueError: There is not a single frame, or the path does not end in `.mp4`.
    """
    import av

    if path.suffix != ".mp4":
        raise ValueError(f"{path} does not end in .mp4: name an .mp4 file.")
    with atomic_path(path) as temporary, av.open(str(temporary), mode="w") as container:
        stream = None
        for frame in frames:
            even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
            if stream is None:
                stream = container.add_stream("libx264", rate=frames_per_second)
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": CONSTANT_RATE_FACTOR}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        if stream is None:
            raise ValueError(f"{path} was not written: there are no frames.")
        container.mux(stream.encode(None))
