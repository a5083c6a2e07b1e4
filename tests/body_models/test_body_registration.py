"""How well the open body is laid over bodies of other meshes, shapes and rest poses."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.body_registration import NUM_BODY_JOINTS, register_body

MakeStandIn = Callable[..., tuple[BodyModel, Tensor]]

LOWERED_ARMS = {16: (0.0, 0.0, -0.25), 17: (0.0, 0.0, 0.25), 1: (0.0, 0.0, 0.1), 2: (0.0, 0.0, -0.1)}
TURNED_ENDS = {15: (0.2, 0.0, 0.0), 22: (0.2, 0.2, 0.0), 23: (0.2, -0.2, 0.0), 10: (0.15, 0.0, 0.0)}


def distances(source: BodyModel, target: BodyModel, truth: Tensor) -> Tensor:
    """How far vertices are laid from where they belong, in millimetres."""
    return 1e3 * (torch.from_numpy(register_body(source, target)) - truth).norm(dim=-1)


def test_a_body_covers_itself(open_body: BodyModel) -> None:
    assert distances(open_body, open_body, open_body.rest_template).max() < 0.1


def test_another_mesh_of_the_same_body(open_body: BodyModel, make_stand_in: MakeStandIn) -> None:
    # The coarser mesh cuts corners by up to a millimetre.
    assert distances(open_body, *make_stand_in(torch.zeros(open_body.num_betas), {})).quantile(0.99) < 2.0


def test_another_rest_pose(open_body: BodyModel, make_stand_in: MakeStandIn) -> None:
    lowered = distances(open_body, *make_stand_in(torch.zeros(open_body.num_betas), LOWERED_ARMS))
    assert lowered.median() < 1.0
    assert lowered.quantile(0.95) < 3.0
    # What the joints do not tell.
    turned = distances(open_body, *make_stand_in(torch.zeros(open_body.num_betas), TURNED_ENDS))
    assert turned.median() < 1.0
    assert turned.quantile(0.95) < 10.0


@pytest.mark.parametrize("seed", range(3))
def test_another_person_in_another_rest_pose(open_body: BodyModel, make_stand_in: MakeStandIn, seed: int) -> None:
    betas = 1.5 * torch.randn(open_body.num_betas, generator=torch.Generator().manual_seed(seed))
    target, truth = make_stand_in(betas, LOWERED_ARMS | TURNED_ENDS)
    errors = distances(open_body, target, truth)
    # Where a soft shape grows, which skin moves where is a matter of opinion; hands, feet and head are not.
    assert errors.median() < 10.0
    assert errors.quantile(0.95) < 30.0
    for joint in (15, 10, 11, 20, 21, 22, 23):
        assert errors[open_body.skinning_weights.argmax(-1) == joint].median() < 9.0


def test_joints_of_hands_and_face_may_differ(open_body: BodyModel, make_stand_in: MakeStandIn) -> None:
    target, truth = make_stand_in(torch.zeros(open_body.num_betas), LOWERED_ARMS)
    head, parents = 15, open_body.parents[:NUM_BODY_JOINTS]
    # As SMPL-X: jaw and eyes follow the body's joints, then come the fingers.
    parents = (*parents, head, head, head, 20, 22, 21)
    order = [*range(NUM_BODY_JOINTS), head, head, head, 22, 22, 23]
    other = replace(
        target,
        parents=parents,
        skinning_weights=target.skinning_weights[:, order],
        joint_regressor=target.joint_regressor[order],
    )
    errors = distances(open_body, other, truth)
    assert errors.median() < 1.0
    assert errors.quantile(0.95) < 4.0


def test_other_skeletons_are_refused(open_body: BodyModel) -> None:
    parents = (-1, *range(open_body.num_joints - 1))
    with pytest.raises(ValueError, match=r"^worm: its skeleton .* expected SMPL's .* \.obj file"):
        register_body(open_body, replace(open_body, name="worm", parents=parents))
