"""LPIPS as a training loss (Zhang et al. 2018): the distance of two pictures in the eyes of a trained network."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from human_avatars.model_components.metrics import ALEXNET_FILE, ALEXNET_MIN_SIZE


class PerceptualLoss:
    """LPIPS with the AlexNet backbone, where its weights lie on this machine; training never fetches them.

    Not a module, so that the network is neither trained nor saved with the avatar.
    """

    def __init__(self) -> None:
        self._network: Any = None
        self._is_decided = False

    def __call__(
        self, rgb: Float[Tensor, "height width 3"], target: Float[Tensor, "height width 3"]
    ) -> Float[Tensor, ""] | None:
        """The distance of two pictures.

        Args:
            rgb: The rendered colours, in [0, 1].
            target: The photograph.

        Returns:
            The distance; None where the weights are missing or the pictures are too small for the network.
        """
        if not self._is_decided:
            self._network, self._is_decided = _load_network(), True
        if self._network is None or min(rgb.shape[:2]) < ALEXNET_MIN_SIZE:
            return None
        pictures = (picture.permute(2, 0, 1)[None] for picture in (rgb, target))
        return self._network.to(rgb.device)(*pictures, normalize=True).mean()


def _load_network() -> Any:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE
    state = "is not there"
    if path.is_file():
        try:
            return LearnedPerceptualImagePatchSimilarity(net_type="alex").net.eval().requires_grad_(False)
        except Exception as error:  # a damaged file can raise anything
            state = f"cannot be read ({type(error).__name__})"
    CONSOLE.print(
        f"Training goes on without its perceptual loss: {path} {state}. Put {ALEXNET_FILE} from "
        f"https://download.pytorch.org/models/{ALEXNET_FILE} there, or set --pipeline.model.lpips-weight 0.",
        style="bold yellow",
        markup=False,
        soft_wrap=True,
    )
    return None
