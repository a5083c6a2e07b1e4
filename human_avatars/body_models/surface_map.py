"""Surface maps: for each texel of a texture layout, the body's triangle and the point in it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from human_avatars.body_models.surface import SurfacePoints

PACKAGED_SIZES = (128, 256, 512)
"""Texels along a side of the open body's maps that come with the package."""
BARYCENTRIC_STEPS = 255
"""Files hold barycentric coordinates in this many steps."""
MIN_SIZE = 4
"""Texels along a side from which the padded bits of a mask tell their number."""


@dataclass(frozen=True)
class SurfaceMap:
    """Where the texels of a square texture lie on a body's triangles."""

    mask: Bool[Tensor, "size size"]
    """Texels that show the body; the first row is the top of the texture."""
    triangles: Int64[Tensor, " texels"]
    """The triangle of each such texel, row by row."""
    barycentric: Float[Tensor, "texels 3"]
    """Weights of the triangle's corners, none negative; rows sum to one."""
    corners: Int64[Tensor, "texels 3"]
    """Vertices of that triangle."""

    @property
    def size(self) -> int:
        """Texels along each side."""
        return len(self.mask)

    def points(self) -> SurfacePoints:
        """The points of the body that the texels of the mask show, row by row."""
        return SurfacePoints(self.triangles, self.barycentric, self.corners)

    @property
    def uvs(self) -> Float[Tensor, "texels 2"]:
        """Row and column of the texels of the mask as fractions, index / (size - 1): GaussianAvatar's query points."""
        return self.mask.nonzero().to(self.barycentric.dtype) / (self.size - 1)

    def scatter(self, texel_values: Float[Tensor, "texels channels"]) -> Float[Tensor, "channels size size"]:
        """Lay values of the texels of the mask out as an image; differentiable in them.

        Args:
            texel_values: One row per texel, such as `points().interpolate(vertices)` for a position map.

        Returns:
            The image, with zeros beside the body.
        """
        image = texel_values.new_zeros(self.mask.numel(), texel_values.shape[-1])
        image = image.index_copy(0, self._texels, texel_values)
        return image.t().unflatten(-1, self.mask.shape)

    @cached_property
    def _texels(self) -> Int64[Tensor, " texels"]:
        """Numbers of the texels of the mask, row by row."""
        return self.mask.flatten().nonzero().squeeze(-1)

    def resampled(self, size: int) -> "SurfaceMap":
        """A smaller map: each of its texels shows what this map's texel at its centre shows.

        Where the centre lies between texels, the one below and to the right is taken, half a texel of this map away.

        Args:
            size: Texels along each side, at most as many as here.
        """
        assert 0 < size <= self.size, "a map cannot show more than it holds"
        nearest = (torch.arange(size, device=self.mask.device) + 0.5).mul(self.size / size).long()
        numbers = torch.full(self.mask.shape, -1, device=self.mask.device)
        numbers[self.mask] = torch.arange(len(self.triangles), device=self.mask.device)
        numbers = numbers[nearest[:, None], nearest]
        kept = numbers[numbers >= 0]
        return SurfaceMap(numbers >= 0, self.triangles[kept], self.barycentric[kept], self.corners[kept])

    def arrays(self) -> dict[str, ndarray]:
        """The arrays of a file: the mask's bits, triangles, and the steps of the second and third corner's weights."""
        assert self.size >= MIN_SIZE, "too few bits to tell the size"
        triangles = self.triangles.cpu().numpy()
        steps = (self.barycentric[:, 1:] * BARYCENTRIC_STEPS).round().to(torch.uint8)
        return {
            "mask": np.packbits(self.mask.cpu().numpy()),
            "tri": triangles.astype(np.promote_types(np.uint16, np.min_scalar_type(triangles.max(initial=0)))),
            "bary": steps.cpu().numpy(),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, ndarray], faces: Int64[Tensor, "faces 3"]) -> "SurfaceMap":
        """The inverse of `arrays`, up to the steps.

        Args:
            arrays: The arrays of a file.
            faces: Vertex indices of the body's triangles.

        Returns:
            The map, on the device of `faces`.

        Raises:
            ValueError: The arrays do not belong together or not to these faces.
        """
        missing = [name for name in ("mask", "tri", "bary") if name not in arrays]
        if missing:
            raise ValueError(f"no {', '.join(missing)}")
        bits = np.unpackbits(arrays["mask"])
        size = math.isqrt(len(bits))
        # Bits are packed by eight: an odd size leaves some unused.
        mask = bits[: size**2].astype(bool).reshape(size, size)
        triangles, steps = arrays["tri"].astype(np.int64), arrays["bary"]
        if not (mask.sum() == len(triangles) == len(steps) and steps.shape[1:] == (2,)):
            raise ValueError(
                f"{mask.sum()} texels, {len(triangles)} triangles and barycentric coordinates {steps.shape}"
            )
        if triangles.max(initial=0) >= len(faces):
            raise ValueError(f"triangle {triangles.max()} of a body of {len(faces)}")
        # Two roundings may have made the sum of two weights larger than one.
        others = torch.from_numpy(steps.astype(np.float32)) / BARYCENTRIC_STEPS
        others = others / others.sum(-1, keepdim=True).clamp(min=1)
        barycentric = torch.cat([(1 - others.sum(-1, keepdim=True)).clamp(min=0), others], dim=-1)
        device = faces.device
        triangles = torch.from_numpy(triangles).to(device)
        return SurfaceMap(torch.from_numpy(mask).to(device), triangles, barycentric.to(device), faces[triangles])


def load_packaged_surface_map(size: int, faces: Int64[Tensor, "faces 3"]) -> SurfaceMap:
    """The open body's surface map, in the texture layout of MakeHuman.

    Args:
        size: Texels along each side. Sizes that are not packaged are read off the largest packaged map.
        faces: The open body's triangles.

    Returns:
        The map, on the device of `faces`.

    Raises:
        ValueError: The size is larger than the largest packaged map's, or tiny.
    """
    if not MIN_SIZE <= size <= max(PACKAGED_SIZES):
        raise ValueError(
            f"A surface map of {size} texels a side is not to be had: expected {MIN_SIZE} to {max(PACKAGED_SIZES)}, "
            "the open body's finest map. Only a texture layout of your own, an .obj file, gives more."
        )
    packaged = size if size in PACKAGED_SIZES else max(PACKAGED_SIZES)
    asset = resources.files("human_avatars.body_models") / "assets" / f"surfmap_{packaged}.npz"
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        surface_map = SurfaceMap.from_arrays(arrays, faces)
    return surface_map if packaged == size else surface_map.resampled(size)
