"""Cameras point and project as OpenCV says; light, shadow and silhouettes fall where they should."""

import numpy as np
import pytest

from human_avatars.capture.film import RING_TARGET, Film, Light, PinholeCamera, camera_ring
from human_avatars.capture.meshes import incidence, vertex_normals

SUN = (Light((0.0, 0.0, 1.0), (0.5, 0.5, 0.5), casts_shadow=True),)


def white(triangles: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((len(triangles), 3), np.float32), np.full(len(triangles), 7, np.uint8)


def square(centre: tuple[float, float, float], half: float, steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A horizontal square facing up, as a grid of triangles."""
    ticks = np.linspace(-half, half, steps + 1)
    x, y = np.meshgrid(ticks, ticks)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1) + centre
    row = np.arange(steps)[:, None] * (steps + 1) + np.arange(steps)
    first, second = (
        np.stack([row, row + 1, row + steps + 2], -1),
        np.stack([row, row + steps + 2, row + steps + 1], -1),
    )
    return vertices, np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])


def develop(vertices: np.ndarray, faces: np.ndarray, lights: tuple[Light, ...] = SUN) -> Film:
    return Film(vertices, vertex_normals(vertices, faces, incidence(faces, len(vertices))), faces, lights)


def camera_above(height: float, size: int, focal: float) -> PinholeCamera:
    """Looks straight down; the image's x is the world's x and its y the world's -y."""
    rotation = np.diag([1.0, -1.0, -1.0])
    centre = size / 2 - 0.5
    intrinsics = np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
    return PinholeCamera("above", intrinsics, rotation, np.array([0.0, 0.0, height]))


@pytest.mark.parametrize("place", [0, 5, 22])
def test_ring_cameras_look_at_the_stage_with_up_upward(place: int) -> None:
    camera = camera_ring(100, 23)[place]
    assert camera.name == f"Camera_B{place + 1}"
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(camera.rotation), 1)
    target = np.array(RING_TARGET)
    middle, above = camera.project(target + np.array([[0, 0, 0], [0, 0, 0.1]]))
    np.testing.assert_allclose(middle, [49.5, 49.5])
    np.testing.assert_allclose(above[0], 49.5)
    assert above[1] < 49.5, "image rows count downward"
    np.testing.assert_allclose(camera.rotation @ camera.position + camera.translation, 0, atol=1e-12)


def test_a_square_covers_the_pixels_it_projects_to() -> None:
    # At depth 2 with focal length 40, half a side of 0.4 is 8 pixels: rows and columns 8 to 23 of 32.
    picture = develop(*square((0, 0, 0), 0.4)).photograph(camera_above(2.0, 32, 40.0), 32, white)
    expected = np.zeros((32, 32), np.uint8)
    expected[8:24, 8:24] = 7
    np.testing.assert_array_equal(picture.labels, expected)
    assert (picture.colours[expected == 0] == 0).all()
    assert (picture.colours[expected > 0] > 0).all()


def test_whole_pixel_coordinates_are_pixel_centres() -> None:
    camera = camera_above(2.0, 33, 40.0)
    vertices, faces = square((0.25, -0.1, 0), 0.02)
    np.testing.assert_allclose(camera.project(np.array([[0.25, -0.1, 0.0]])), [[16 + 5, 16 + 2]])
    rows, columns = np.nonzero(develop(vertices, faces).photograph(camera, 33, white).labels)
    assert set(rows) == {18}
    assert set(columns) == {21}


def test_a_roof_darkens_what_lies_below() -> None:
    floor, faces = square((0, 0, 0), 1.0, steps=20)
    roof, roof_faces = square((0, 0, 0.5), 0.3)
    film = develop(np.concatenate([floor, roof]), np.concatenate([faces, roof_faces + len(floor)]))
    distance = np.abs(floor[:, :2]).max(1)
    light = film.irradiance[: len(floor), 0]
    assert light[distance < 0.2].max() < light[distance > 0.5].min() - 0.4


def test_the_back_of_a_cloth_is_darker_than_its_front() -> None:
    vertices, faces = square((0, 0, 0), 0.4)
    above = develop(vertices, faces).photograph(camera_above(2.0, 32, 40.0), 32, white)
    below = PinholeCamera("below", camera_above(2.0, 32, 40.0).intrinsics, np.eye(3), np.array([0.0, 0.0, 2.0]))
    from_below = develop(vertices, faces).photograph(below, 32, white)
    np.testing.assert_array_equal(from_below.labels > 0, above.labels > 0)
    assert 0 < from_below.colours[16, 16, 0] < above.colours[16, 16, 0]


def test_an_actor_outside_the_image_leaves_it_black() -> None:
    picture = develop(*square((5, 5, 0), 0.1)).photograph(camera_above(2.0, 32, 40.0), 32, white)
    assert not picture.colours.any()
    assert not picture.labels.any()
