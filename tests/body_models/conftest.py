"""Stand-ins for other people's body models: the open body on another mesh, in another shape and rest pose."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.builder.decimation import decimate, interpolation_matrix
from human_avatars.body_models.mesh_queries import closest_points


class Retessellation(NamedTuple):
    """Another mesh of the open body's surface, its vertices and triangles in random order."""

    faces: Int[ndarray, "faces 3"]
    from_old: sparse.csr_matrix
    to_old: sparse.csr_matrix


@pytest.fixture(scope="session")
def retessellation(open_body: BodyModel) -> Retessellation:
    vertices, faces = open_body.rest_template.double().numpy(), open_body.faces.numpy()
    # A vertex at each triangle's centre, all but 9000 triangles collapsed again: few of the old edges are left.
    centres = len(vertices) + np.arange(len(faces))
    fine = np.concatenate([np.stack([faces[:, i], faces[:, (i + 1) % 3], centres], axis=1) for i in range(3)])
    coarse, coarse_faces = decimate(np.concatenate([vertices, vertices[faces].mean(axis=1)]), fine, 9000)
    random = np.random.default_rng(0)
    order = random.permutation(len(coarse))
    coarse, coarse_faces = coarse[order], random.permutation(np.argsort(order)[coarse_faces])
    return Retessellation(
        coarse_faces,
        interpolation_matrix(*closest_points(coarse, vertices, faces), faces, len(vertices)),
        interpolation_matrix(*closest_points(vertices, coarse, coarse_faces), coarse_faces, len(coarse)),
    )


@pytest.fixture
def make_stand_in(open_body: BodyModel, retessellation: Retessellation) -> Callable[..., tuple[BodyModel, Tensor]]:
    """A maker of stand-ins of a shape, at rest in a pose given by joint rotations in radians.

    It returns the stand-in and where the open body's vertices lie on it.
    """

    def make(
        betas: Float[Tensor, "betas"], rest_rotations: dict[int, tuple[float, float, float]]
    ) -> tuple[BodyModel, Tensor]:
        axis_angle = torch.zeros(open_body.num_joints, 3)
        for joint, rotation in rest_rotations.items():
            axis_angle[joint] = torch.tensor(rotation)
        pose = BodyPose.from_axis_angle(axis_angle, torch.zeros(3))
        truth = open_body.with_shape(betas).with_pose(pose).vertices
        faces, from_old, to_old = retessellation
        template = from_old @ truth.numpy()
        body_model = BodyModel(
            name="stand-in",
            rest_template=torch.from_numpy(template).float(),
            faces=torch.from_numpy(faces),
            skinning_weights=torch.from_numpy(from_old @ open_body.skinning_weights.numpy()).float(),
            joint_regressor=torch.from_numpy((to_old.T @ open_body.joint_regressor.numpy().T).T).float(),
            shape_directions=torch.zeros(len(template), 3, open_body.num_betas),
            pose_directions=None,
            parents=open_body.parents,
        )
        return body_model, truth

    return make
