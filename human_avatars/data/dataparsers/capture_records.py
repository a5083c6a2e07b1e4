"""The `capture.json` beside a capture: what a published layout has no place for, such as the demo's own split."""

import json
from pathlib import Path
from typing import Any

CAPTURE_FILE = "capture.json"
"""Where a capture speaks of itself. ZJU-MoCap's layout: "training_cameras", names of image folders, and
"training_frames", a count. GaussianAvatar's layout: "body_model", "open" for the packaged open body."""


def read_capture_record(folder: Path) -> dict[str, Any]:
    """Read what a capture says of itself.

    Args:
        folder: The dataset folder.

    Returns:
        The content; empty where there is no such file.

    Raises:
        ValueError: The file is not a JSON object.
    """
    file = folder / CAPTURE_FILE
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}): make the capture again, or delete the file.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{file} holds a {type(record).__name__}, expected a JSON object.")
    return record
