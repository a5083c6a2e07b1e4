"""The clothed actor: what it is made of at rest, and how it looks in a pose."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_matrix

from human_avatars.capture.meshes import vertex_normals
from human_avatars.capture.textures import Outfit
from human_avatars.capture.wrinkles import Wrinkles


@dataclass(frozen=True)
class SkinnedPoints:
    """Points that follow a skeleton."""

    rest_points: Float[np.ndarray, "points 3"]
    """Positions in the rest pose, in metres."""
    weights: csr_matrix
    """Skinning weights (points, joints); rows sum to one."""

    def posed(
        self,
        bone_transforms: Float[np.ndarray, "joints 4 4"],
        displacement: Float[np.ndarray, "points 3"] | float = 0.0,
    ) -> Float[np.ndarray, "points 3"]:
        """Linear blend skinning of the points.

        Args:
            bone_transforms: Posed-from-rest transform of each joint.
            displacement: Added to the rest positions first, in metres.

        Returns:
            Posed positions, in metres.
        """
        blended = (self.weights @ bone_transforms[:, :3].reshape(-1, 12)).reshape(-1, 3, 4)
        points = self.rest_points + displacement
        return np.einsum("prc,pc->pr", blended[..., :3], points) + blended[..., 3]


@dataclass(frozen=True)
class ClothedActor:
    """A person in clothes: one mesh of visible skin, hair, shirt, trousers and shoes, each with its material."""

    surface: SkinnedPoints
    """Vertices of the visible mesh."""
    rest_normals: Float[np.ndarray, "vertices 3"]
    """Unit normals of the visible mesh at rest; folds move along them."""
    faces: Int[np.ndarray, "faces 3"]
    """Triangles of the visible mesh, anticlockwise from outside."""
    face_sums: csr_matrix
    """Which triangles (vertices, faces) meet at each vertex."""
    face_materials: UInt8[np.ndarray, "faces"]
    """Which texture each triangle wears: a `Material`."""
    texture_points: Float[np.ndarray, "vertices channels"]
    """What `textures.paint` reads at each vertex."""
    wrinkles: Wrinkles
    """Folds that appear where joints bend."""
    outfit: Outfit
    """Patterns and colours."""

    def posed_vertices(
        self, poses: Float[np.ndarray, "joints 3"], bone_transforms: Float[np.ndarray, "joints 4 4"]
    ) -> Float[np.ndarray, "vertices 3"]:
        """The visible mesh in a pose.

        Args:
            poses: Axis-angle rotation of each joint, in radians; they drive the folds.
            bone_transforms: Posed-from-rest transforms that belong to the same rotations.

        Returns:
            Vertex positions, in metres, in the frame of the bone transforms.
        """
        depth = self.wrinkles.displacement(poses)
        return self.surface.posed(bone_transforms, self.rest_normals * depth[:, None])

    def normals(self, vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
        """Unit normals of the visible mesh, given its posed vertices in metres."""
        return vertex_normals(vertices, self.faces, self.face_sums)
