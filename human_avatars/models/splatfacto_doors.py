"""The doors that nerfstudio opens to its own splats: `ns-export gaussian-splat` and the viewer's export tab."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.splatfacto import RGB2SH, SplatfactoModel
from torch import Tensor, nn

from human_avatars.rasterization.gaussians import Gaussians
from human_avatars.transforms import matrix_to_quaternion

SMALLEST_VARIANCE = 1e-14
"""Variances count as at least this, in square metres: their logarithms stay finite."""


class SplatfactoDoors(SplatfactoModel):
    """A SplatfactoModel by name, so that nerfstudio's tools treat a model as splats.

    Nothing of that class's set-up, densification, rendering and losses runs. The tools see still Gaussians: the person
    in the first frame of their motion.
    """

    @abstractmethod
    def still_gaussians(self) -> Gaussians:
        """The person in the first frame, widened as at the training images' scale."""

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights as any module does; Splatfacto's own looks for parameters that avatars do not have."""
        return nn.Module.load_state_dict(self, *args, **kwargs)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """None: the number of Gaussians stays as it is."""
        return []

    @property
    def num_points(self) -> int:
        """Number of Gaussians."""
        return len(self.means)

    @property
    def means(self) -> Float[Tensor, "gaussians 3"]:
        """World positions in the first frame, in metres."""
        return self.still_gaussians().means

    @property
    def scales(self) -> Float[Tensor, "gaussians 3"]:
        """Logarithms of the standard deviations along the axes, in metres."""
        return self._axes()[0]

    @property
    def quats(self) -> Float[Tensor, "gaussians 4"]:
        """Orientations (w, x, y, z) of the axes in the first frame."""
        return self._axes()[1]

    @property
    def opacities(self) -> Float[Tensor, "gaussians 1"]:
        """Logits of the opacities."""
        return torch.logit(self.still_gaussians().opacities.clamp(1e-6, 1 - 1e-6))[:, None]

    @property
    def colors(self) -> Float[Tensor, "gaussians 3"]:
        """RGB in the first frame."""
        return self.still_gaussians().colors.clamp(0, 1)

    @property
    def shs_0(self) -> Float[Tensor, "gaussians 3"]:
        """The colour as the constant spherical harmonic."""
        return RGB2SH(self.colors)

    @property
    def shs_rest(self) -> Float[Tensor, "gaussians harmonics 3"]:
        """Zeros: light and view are in the colour."""
        return self.means.new_zeros(self.num_points, (self.config.sh_degree + 1) ** 2 - 1, 3)

    @property
    def features_dc(self) -> Float[Tensor, "gaussians 3"]:
        """As `shs_0`. The viewer looks at every property, and stops at one that Splatfacto alone could answer."""
        return self.shs_0

    @property
    def features_rest(self) -> Float[Tensor, "gaussians harmonics 3"]:
        """As `shs_rest`."""
        return self.shs_rest

    def _axes(self) -> tuple[Float[Tensor, "gaussians 3"], Float[Tensor, "gaussians 4"]]:
        """Scales and orientations out of the covariances."""
        variances, axes = torch.linalg.eigh(self.still_gaussians().covariances.double())
        # Eigenvectors make a reflection as often as a rotation.
        axes = axes * torch.linalg.det(axes)[:, None, None]
        return variances.clamp(min=SMALLEST_VARIANCE).log().float() / 2, matrix_to_quaternion(axes).float()
