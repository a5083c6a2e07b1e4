"""Cameras, light and a ray caster: what a posed mesh looks like from a pinhole camera."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Shade = Callable[[Int[np.ndarray, "hits"], Float[np.ndarray, "hits 3"]], tuple[np.ndarray, np.ndarray]]
"""From triangle index and barycentric weights of each hit to linear reflectance (hits, 3) and part label (hits)."""

SAMPLES_PER_SIDE = 2
"""Rays per pixel and axis; their colours are averaged."""
RING_RADIUS, RING_HEIGHT, RING_TARGET = 2.9, 1.1, (0.0, 0.0, 0.98)
"""Place of the cameras round the person, in metres, z up."""
FOCAL_LENGTH = 1.28
"""In units of the image width."""
SKY_AMBIENT, GROUND_AMBIENT = 0.40, 0.20
"""Light from above and from below that reaches an open surface."""
AMBIENT_DIRECTIONS = 24
AMBIENT_REACH = 0.35
"""Only what lies nearer than this darkens the ambient light, in metres."""
KEY_SHADOW_RAYS = 4
KEY_LIGHT_SPREAD = 0.07
"""Radius of the key light as seen from the person, in radians: it softens the edge of shadows."""
RAY_OFFSET = 0.004
"""Shadow rays start this far above the surface, in metres."""
INSIDE_OF_CLOTH = 0.35
"""Brightness of the back of a cloth, which hems show, relative to its front."""
DISPLAY_GAMMA = 2.2


@dataclass(frozen=True)
class PinholeCamera:
    """A camera in OpenCV's convention; whole pixel coordinates are pixel centres."""

    name: str
    intrinsics: Float[np.ndarray, "3 3"]
    """Focal lengths and principal point, in pixels."""
    rotation: Float[np.ndarray, "3 3"]
    """Camera-from-world rotation: x right, y down, z forward."""
    translation: Float[np.ndarray, "3"]
    """Camera-from-world translation, in metres."""

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Optical centre in world space, in metres."""
        return -self.rotation.T @ self.translation

    def project(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Pixel coordinates of world points (metres) in front of the camera."""
        image = (points @ self.rotation.T + self.translation) @ self.intrinsics.T
        return image[:, :2] / image[:, 2:]


@dataclass(frozen=True)
class Light:
    """A distant light."""

    direction: tuple[float, float, float]
    """Towards the light."""
    colour: tuple[float, float, float]
    """Irradiance on a surface that faces it."""
    casts_shadow: bool = False


STUDIO_LIGHTS = (
    Light((0.5, -0.5, 0.9), (0.95, 0.92, 0.88), casts_shadow=True),
    Light((-0.7, -0.4, 0.35), (0.30, 0.33, 0.38)),
    Light((0.1, 1.0, 0.2), (0.28, 0.28, 0.30)),
)


@dataclass(frozen=True)
class Picture:
    """One image of the actor before a black background."""

    colours: UInt8[np.ndarray, "height width 3"]
    """Display colours, RGB."""
    labels: UInt8[np.ndarray, "height width"]
    """Part label of each pixel that the actor covers by half or more, else 0."""


def camera_ring(size: int, count: int) -> list[PinholeCamera]:
    """Evenly spaced cameras that look at the middle of the stage from all round.

    Args:
        size: Width and height of the images, in pixels.
        count: Cameras in the ring.

    Returns:
        The cameras, named as ZJU-MoCap names them.
    """
    centre = size / 2 - 0.5
    intrinsics = np.array([[FOCAL_LENGTH * size, 0, centre], [0, FOCAL_LENGTH * size, centre], [0, 0, 1]])
    cameras = []
    for index in range(count):
        angle = 2 * np.pi * index / count
        position = np.array([RING_RADIUS * np.cos(angle), RING_RADIUS * np.sin(angle), RING_HEIGHT])
        forward = np.array(RING_TARGET) - position
        right = np.cross(forward, (0, 0, 1))
        axes = np.stack([right, np.cross(forward, right), forward])
        rotation = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        cameras.append(PinholeCamera(f"Camera_B{index + 1}", intrinsics, rotation, -rotation @ position))
    return cameras


class Film:
    """A mesh under studio light, ready to be photographed. Light is worked out once, at the vertices."""

    def __init__(
        self,
        vertices: Float[np.ndarray, "vertices 3"],
        normals: Float[np.ndarray, "vertices 3"],
        faces: Int[np.ndarray, "faces 3"],
        lights: tuple[Light, ...] = STUDIO_LIGHTS,
    ) -> None:
        """Put the mesh on the stage.

        Args:
            vertices: World positions, in metres, z up.
            normals: Unit vertex normals.
            faces: Triangles, anticlockwise from outside.
            lights: Lights besides the ambient one.
        """
        import open3d  # takes a second to import

        self.vertices = vertices.astype(np.float32)
        self.faces = faces
        self._tensor: Any = open3d.core.Tensor
        self._scene: Any = open3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(self._tensor(self.vertices), self._tensor(faces.astype(np.uint32)))
        self.irradiance = self._irradiance(normals.astype(np.float32), lights)

    def photograph(self, camera: PinholeCamera, size: int, shade: Shade) -> Picture:
        """Take a picture.

        Args:
            camera: The camera.
            size: Width and height of the image, in pixels.
            shade: Reflectance and label of points on the mesh.

        Returns:
            The picture.
        """
        left, top, right, bottom = self._crop(camera, size)
        width, height = right - left, bottom - top
        rays = _pixel_rays(camera, (left, top), (width, height))
        hits = self._scene.cast_rays(self._tensor(rays))
        triangles = hits["primitive_ids"].numpy()
        covered = np.flatnonzero(np.isfinite(hits["t_hit"].numpy()))
        triangles = triangles[covered]
        uv = hits["primitive_uvs"].numpy()[covered]
        weights = np.column_stack([1 - uv[:, 0] - uv[:, 1], uv])
        colours, labels = shade(triangles, weights)
        light = interpolate(self.irradiance, self.faces[triangles], weights)
        facing = hits["primitive_normals"].numpy()[covered]
        from_behind = np.einsum("nc,nc->n", facing, rays[covered, 3:]) > 0
        light[from_behind] *= INSIDE_OF_CLOTH
        return _develop(covered, colours * light, labels, (left, top, width, height), size)

    def _crop(self, camera: PinholeCamera, size: int) -> tuple[int, int, int, int]:
        """The smallest rectangle of pixels (left, top, right, bottom) that holds the mesh; never empty."""
        pixels = camera.project(self.vertices)
        low = np.clip(np.floor(pixels.min(0)).astype(int), 0, size - 1)
        high = np.clip(np.ceil(pixels.max(0)).astype(int) + 1, low + 1, size)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _irradiance(self, normals: np.ndarray, lights: tuple[Light, ...]) -> Float[np.ndarray, "vertices 3"]:
        """Light that arrives at each vertex: ambient with occlusion by what is near, and lights with shadows."""
        total = np.repeat(self._ambient(normals)[:, None], 3, axis=1)
        for light in lights:
            direction = np.array(light.direction, np.float32) / np.float32(np.linalg.norm(light.direction))
            arriving = np.maximum(normals @ direction, 0)
            if light.casts_shadow:
                arriving *= self._lit(normals, direction)
            total += arriving[:, None] * np.array(light.colour, np.float32)
        return total

    def _ambient(self, normals: np.ndarray) -> np.ndarray:
        sky = 0.5 + 0.5 * normals[:, 2]
        openness = np.zeros(len(normals), np.float32)
        weight = np.zeros(len(normals), np.float32)
        for direction in _sphere_directions(AMBIENT_DIRECTIONS):
            cosine = normals @ direction
            towards = np.flatnonzero(cosine > 0)
            blocked = self._occluded(normals, towards, direction, AMBIENT_REACH)
            openness[towards] += cosine[towards] * ~blocked
            weight[towards] += cosine[towards]
        return (GROUND_AMBIENT + (SKY_AMBIENT - GROUND_AMBIENT) * sky) * openness / np.maximum(weight, 1e-6)

    def _lit(self, normals: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Fraction of an extended light that each vertex sees."""
        towards = np.flatnonzero(normals @ direction > 0)
        side = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
        side /= np.linalg.norm(side)
        lit = np.zeros(len(normals), np.float32)
        for turn in 2 * np.pi * np.arange(KEY_SHADOW_RAYS) / KEY_SHADOW_RAYS + 0.4:
            jitter = np.cos(turn) * side + np.sin(turn) * np.cross(direction, side)
            ray = (direction + KEY_LIGHT_SPREAD * jitter).astype(np.float32)
            lit[towards] += ~self._occluded(normals, towards, ray, np.inf)
        return lit / KEY_SHADOW_RAYS

    def _occluded(
        self, normals: np.ndarray, chosen: np.ndarray, direction: np.ndarray, reach: float
    ) -> Bool[np.ndarray, "chosen"]:
        rays = np.empty((len(chosen), 6), np.float32)
        rays[:, :3] = self.vertices[chosen] + RAY_OFFSET * normals[chosen]
        rays[:, 3:] = direction
        return self._scene.test_occlusions(self._tensor(rays), tfar=reach).numpy()


def interpolate(
    values: Float[np.ndarray, "vertices channels"],
    corners: Int[np.ndarray, "points 3"],
    weights: Float[np.ndarray, "points 3"],
) -> Float[np.ndarray, "points channels"]:
    """Per-vertex values at points inside triangles, by barycentric weights."""
    result = values[corners[:, 0]] * weights[:, :1]
    result += values[corners[:, 1]] * weights[:, 1:2]
    result += values[corners[:, 2]] * weights[:, 2:]
    return result


def _sphere_directions(count: int) -> Float[np.ndarray, "directions 3"]:
    """Nearly even directions: a Fibonacci spiral."""
    index = np.arange(count) + 0.5
    z = 1 - 2 * index / count
    azimuth = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], 1).astype(np.float32)


def _pixel_rays(camera: PinholeCamera, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Rays (samples, 6): origin and direction of every sample of a rectangle of pixels, row by row."""
    focal = np.array([camera.intrinsics[0, 0], camera.intrinsics[1, 1]])
    u, v = (
        (corner[axis] + (np.arange(shape[axis] * SAMPLES_PER_SIDE) + 0.5) / SAMPLES_PER_SIDE - 0.5
         - camera.intrinsics[axis, 2]) / focal[axis]
        for axis in (0, 1)
    )  # fmt: skip
    rotation = camera.rotation
    rays = np.empty((len(v), len(u), 6), np.float32)
    rays[..., :3] = camera.position
    rays[..., 3:] = (u[:, None] * rotation[0])[None] + (v[:, None] * rotation[1] + rotation[2])[:, None]
    return rays.reshape(-1, 6)


def _develop(
    covered: np.ndarray, colours: np.ndarray, labels: np.ndarray, crop: tuple[int, int, int, int], size: int
) -> Picture:
    """Average the samples of each pixel, encode for display and paste the crop into a black image."""
    left, top, width, height = crop
    side = SAMPLES_PER_SIDE
    samples = np.zeros((height * side * width * side, 3), np.float32)
    samples[covered] = np.minimum(colours, 1)
    label_samples = np.zeros(len(samples), np.uint8)
    label_samples[covered] = labels
    sums = np.zeros((height, width, 3), np.float32)
    most_labels, counts = np.zeros((2, height, width), np.uint8)
    for row, column in np.ndindex(side, side):  # many times faster than reducing over the two axes
        sums += samples.reshape(height, side, width, side, 3)[:, row, :, column]
        sample = label_samples.reshape(height, side, width, side)[:, row, :, column]
        np.maximum(most_labels, sample, out=most_labels)
        counts += sample > 0
    picture = np.zeros((size, size, 3), np.uint8)
    picture[top : top + height, left : left + width] = (
        (sums / (side * side)) ** np.float32(1 / DISPLAY_GAMMA) * 255 + 0.5
    ).astype(np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + height, left : left + width] = most_labels * (counts * 2 >= side * side)
    return Picture(picture, mask)
