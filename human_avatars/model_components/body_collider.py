"""Near and far along rays: where they cross the padded box of the posed body."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from human_avatars.body_models.bounds import intersect_box


def collide_with_bodies(ray_bundle: RayBundle, boxes: Float[Tensor, "rays 2 3"]) -> RayBundle:
    """Bound rays by the box of the body that each of them looks at (Neural Body, Sec. 3.4).

    Bounds that the bundle has already, such as those of the viewer's crop, are narrowed and never widened.

    Args:
        ray_bundle: Flat rays.
        boxes: World box of each ray's body, in metres.

    Returns:
        The rays with nears and fars in metres; a ray that misses its body has near >= far.
    """
    nears, fars = intersect_box(ray_bundle.origins, ray_bundle.directions, boxes)
    nears, fars = nears.clamp(min=0)[..., None], fars[..., None]
    if ray_bundle.nears is not None and ray_bundle.fars is not None:
        nears = torch.maximum(nears, ray_bundle.nears)
        fars = torch.minimum(fars, ray_bundle.fars)
    return replace(ray_bundle, nears=nears, fars=fars)


def rays_that_hit(ray_bundle: RayBundle) -> Int[Tensor, " hits"]:
    """Indices of the rays that cross their body's box.

    Args:
        ray_bundle: Flat rays with nears and fars.

    Returns:
        Indices of the rays with near < far.
    """
    assert ray_bundle.nears is not None
    assert ray_bundle.fars is not None
    return torch.nonzero(ray_bundle.nears[..., 0] < ray_bundle.fars[..., 0])[:, 0]
