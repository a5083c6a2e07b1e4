"""One filmed moment, whatever the layout on disk: the stage as numbers, and what its cameras and fit record of a frame.

Nothing here needs torch, so that worker processes start quickly.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from human_avatars.capture.actor import ClothedActor, SkinnedPoints
from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.film import Film, Picture, PinholeCamera, interpolate
from human_avatars.capture.noise import ragged_labels
from human_avatars.capture.textures import paint


@dataclass(frozen=True)
class BodyTrack:
    """Rotations of a body in every frame, in Neural Body's terms: v = R(Rh) LBS(pose) + Th about the model's origin."""

    orients: Float32[np.ndarray, "frames 3"]
    """Rh: axis-angle rotation from the model's frame to the world's, in radians."""
    poses: Float32[np.ndarray, "frames joints 3"]
    """Axis-angle rotation of each joint, the root's zero, in radians."""
    bone_transforms: Float[np.ndarray, "frames joints 4 4"]
    """Posed-from-rest transforms in the model's frame that belong to `poses`."""

    def rotation(self, frame: int) -> Float[np.ndarray, "3 3"]:
        """World-from-model rotation matrix of a frame."""
        return Rotation.from_rotvec(self.orients[frame].astype(np.float64)).as_matrix()


@dataclass(frozen=True)
class Stage:
    """Everything that a capture is filmed from."""

    config: CaptureConfig
    actor: ClothedActor
    body: SkinnedPoints
    """The bare body, whose vertices and parameters are written."""
    betas: Float32[np.ndarray, "betas"]
    pelvis: Float[np.ndarray, "3"]
    """Rest place of the root joint, in metres; smplx turns the body about it, Neural Body about the origin."""
    filmed: BodyTrack
    """What the person does."""
    written: BodyTrack
    """What a fit says the person does."""
    places: Float32[np.ndarray, "frames 3"]
    """Th of what is filmed, in metres; its height is found when a frame is filmed."""
    place_errors: Float32[np.ndarray, "frames 3"]
    """Error of the fit's Th, in metres."""
    cameras: tuple[PinholeCamera, ...]
    """Cameras that film, in the order of `config.rendered_cameras`."""
    written_cameras: tuple[PinholeCamera, ...]
    """The same cameras as a calibration would give them."""


@dataclass(frozen=True)
class Footage:
    """One frame: what every camera saw, and the fitted body."""

    pictures: tuple[Picture, ...]
    poses: Float32[np.ndarray, "joints 3"]
    """Joint rotations of the fit, the root's zero, in radians."""
    orient: Float32[np.ndarray, "3"]
    """Rh of the fit, in radians."""
    place: Float32[np.ndarray, "3"]
    """Th of the fit, in metres."""
    vertices: Float32[np.ndarray, "vertices 3"]
    """Bare body of the fit in world space, in metres."""


def shoot(stage: Stage, frame: int) -> Footage:
    """Film one frame with every camera.

    Args:
        stage: Actor, poses and cameras.
        frame: Which frame.

    Returns:
        The pictures and the fit.
    """
    actor, truth, fit = stage.actor, stage.filmed, stage.written
    clothed = actor.posed_vertices(truth.poses[frame], truth.bone_transforms[frame]) @ truth.rotation(frame).T
    place = stage.places[frame].copy()
    place[2] = -clothed[:, 2].min()  # the lowest point of the shoes touches the floor
    pictures = _photograph(stage, frame, clothed + place)
    fit_place = place + stage.place_errors[frame]
    bare = stage.body.posed(fit.bone_transforms[frame]) @ fit.rotation(frame).T + fit_place
    return Footage(pictures, fit.poses[frame], fit.orients[frame], fit_place, bare.astype(np.float32))


def _photograph(stage: Stage, frame: int, vertices: np.ndarray) -> tuple[Picture, ...]:
    actor, config = stage.actor, stage.config
    film = Film(vertices, actor.normals(vertices), actor.faces)

    def shade(triangles: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        canvas = interpolate(actor.texture_points, actor.faces[triangles], weights)
        return paint(actor.outfit, canvas[:, :3], canvas[:, 3], canvas[:, 4], actor.face_materials[triangles])

    pictures = []
    for place, camera in zip(config.rendered_cameras, stage.cameras, strict=True):
        picture = film.photograph(camera, config.size, shade)
        labels = ragged_labels(picture.labels, config.noise, config.seed, frame, place)
        pictures.append(Picture(picture.colours, labels))
    return tuple(pictures)
