"""The packaged open body: derived from MakeHuman's CC0 assets, in SMPL's format, free for any use."""

from importlib import resources

import numpy as np
import torch

from human_avatars.body_models.base_body_model import BodyModel

ASSET = "openbody_6890.npz"


def load_open_body() -> BodyModel:
    """The body that serves where the user gives none.

    Returns:
        Template, skeleton and shape space in float32, without pose blend shapes; y up, in metres, in T-pose.
    """
    asset = resources.files("human_avatars.body_models") / "assets" / ASSET
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        weights = torch.from_numpy(arrays["weights"].astype(np.float32))
        parents = arrays["kintree"][0].astype(np.int64)
        template = torch.from_numpy(arrays["v_template"].astype(np.float32))
        regressor = torch.zeros(len(parents), len(template))
        rows, columns = torch.from_numpy(arrays["J_regressor_nz"].astype(np.int64))
        regressor[rows, columns] = torch.from_numpy(arrays["J_regressor_val"])
        return BodyModel(
            name="the packaged open body",
            rest_template=template,
            faces=torch.from_numpy(arrays["f"].astype(np.int64)),
            # Stored in half precision: rows are brought back to a sum of one.
            skinning_weights=weights / weights.sum(-1, keepdim=True),
            joint_regressor=regressor,
            shape_directions=torch.from_numpy(arrays["shapedirs"].astype(np.float32)),
            pose_directions=None,
            parents=(-1, *parents[1:].tolist()),
        )
