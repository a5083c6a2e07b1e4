"""What the viewer shows of a person beside the rendering: for now, a first view that faces them."""

import numpy as np
import torch
import viser
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from nerfstudio.viewer.viewer_elements import ViewerControl

from human_avatars.body_models.motion import Subject

VIEWING_DISTANCE = 1.25
"""Distance of the first view, in body heights."""


class BodyControls(ViewerControl):
    """Places each new client's camera in front of the person; nerfstudio's own start is inside of them."""

    def __init__(self, subject: Subject) -> None:
        self.first_view = first_view_of(subject)

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        position, target, up = (vector * VISER_NERFSTUDIO_SCALE_RATIO for vector in self.first_view)

        @self.viser_server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            client.camera.position = tuple(position)
            client.camera.look_at = tuple(target)
            client.camera.up_direction = tuple(up)


def first_view_of(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A camera in front of a person in the first frame of their motion.

    Args:
        subject: The person; rest bodies face +z with +y up.

    Returns:
        Position and target in metres, and the up direction, in world space.
    """
    body = subject.posed_body(torch.zeros(1, dtype=torch.long))
    root = body.bone_transforms[0, 0, :3, :3].double().cpu().numpy()
    vertices = body.vertices[0].double().cpu().numpy()
    target = (vertices.min(0) + vertices.max(0)) / 2
    # The world axis nearest to the body's own: a person who leans must not tilt the horizon.
    body_up = root[:, 1]
    up = np.zeros(3)
    up[np.abs(body_up).argmax()] = np.sign(body_up[np.abs(body_up).argmax()])
    forward = root[:, 2] - up * (up @ root[:, 2])
    forward = forward / max(np.linalg.norm(forward), 1e-6)
    height = float(np.abs((vertices - target) @ up).max() * 2)
    return target + forward * height * VIEWING_DISTANCE, target, up
