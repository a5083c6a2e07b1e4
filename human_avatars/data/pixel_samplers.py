"""Training pixels of captured people: part from the body, part from its box, all of one frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from human_avatars.data.byte_cache import ByteCache
from human_avatars.data.subject_dataset import SubjectDataset


@dataclass
class SubjectPixelSamplerConfig(PixelSamplerConfig):
    """Where the rays of a training batch come from; the defaults are Neural Body's."""

    _target: type = field(default_factory=lambda: SubjectPixelSampler)
    views_per_batch: int | None = 1
    """Views of one frame that share a batch; None for all of the frame's views."""
    body_fraction: float = 0.5
    """Part of the rays that is drawn from the person's pixels; the rest is drawn from the padded box's."""
    sample_border: bool = False
    """Whether pixels of the border band, where the silhouette is undecided, train too. They count as the person's."""


@dataclass(frozen=True)
class CandidatePixels:
    """The pixels of one image that may train."""

    pixels: Int[Tensor, " candidates"]
    """Row-major pixel indices whose ray meets the padded box."""
    rgba: UInt8[Tensor, "candidates 4"]
    """Their colours."""
    body: Int[Tensor, " body"]
    """Positions, in `pixels`, of those that show the person."""

    @property
    def num_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in (self.pixels, self.rgba, self.body))


class SubjectPixelSampler(PixelSampler):
    """Draws batches of pixels straight from a SubjectDataset, which is read as needed and kept within a budget.

    Every batch shows one frame, because a method such as Neural Body evaluates its body once per frame. An epoch visits
    every view of every frame once, in random order. The order and the pixels follow nerfstudio's `--machine.seed`.

    Args:
        config: Where the rays come from.
        dataset: The images.
        cache_bytes: Memory for candidates of images that were read before.
        **kwargs: Overrides that nerfstudio passes, such as `num_rays_per_batch`.
    """

    config: SubjectPixelSamplerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self, config: SubjectPixelSamplerConfig, dataset: SubjectDataset, cache_bytes: int, **kwargs: Any
    ) -> None:
        super().__init__(config, **kwargs)
        if not 0 <= config.body_fraction <= 1:
            raise ValueError(f"body_fraction is {config.body_fraction}, expected a value from 0 to 1.")
        if config.views_per_batch is not None and config.views_per_batch < 1:
            raise ValueError(f"views_per_batch is {config.views_per_batch}, expected at least 1, or None for all.")
        self.dataset = dataset
        self._candidates: ByteCache[CandidatePixels] = ByteCache(cache_bytes, lambda candidates: candidates.num_bytes)
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        self._epochs = self._endless_groups()

    def sample(self, image_batch: dict | None = None) -> dict[str, Tensor]:
        """The next batch.

        Args:
            image_batch: Not used; nerfstudio's samplers draw from images that were collated before.

        Returns:
            `image` (rays, 4), RGBA in [0, 1], and `indices` (rays, 3): image, row and column. Every pixel is valid, so
            there is no mask.
        """
        del image_batch
        images = next(self._epochs)
        share, left = divmod(self.num_rays_per_batch, len(images))
        drawn = [self._draw(image, share + (view < left)) for view, image in enumerate(images)]
        indices, colours = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return {"image": colours, "indices": indices}

    def _draw(self, image_index: int, num_rays: int) -> tuple[Int[Tensor, "rays 3"], Float[Tensor, "rays 4"]]:
        """Pixels of one image, with replacement, and their colours."""
        candidates = self._candidates.get(image_index, self._find_candidates)
        num_body = round(num_rays * self.config.body_fraction) if len(candidates.body) > 0 else 0
        positions = torch.cat(
            [
                candidates.body[self._random_below(len(candidates.body), num_body)].long(),
                self._random_below(len(candidates.pixels), num_rays - num_body),
            ]
        )
        pixels = candidates.pixels[positions].long()
        width = int(self.dataset.frames.image_sizes[image_index, 1])
        image_indices = torch.full_like(pixels, image_index)
        indices = torch.stack([image_indices, pixels // width, pixels % width], dim=-1)
        return indices, candidates.rgba[positions].float() / 255

    def _random_below(self, limit: int, count: int) -> Int[Tensor, " count"]:
        return torch.randint(max(limit, 1), (count,), generator=self._generator)

    def _find_candidates(self, image_index: int) -> CandidatePixels:
        image = self.dataset.read_image(image_index)
        eligible = self.dataset.pixels_at_box(image_index)
        if not self.config.sample_border:
            eligible &= ~torch.from_numpy(image.border)
        pixels = eligible.flatten().nonzero()[:, 0]
        if len(pixels) == 0:
            raise ValueError(
                f"{self.dataset.image_filenames[image_index]}: the border band of {self.dataset.frames.mask_border} "
                "pixels covers the body's box, expected some decided pixels. Lower --mask-border."
            )
        rgba = torch.from_numpy(image.rgba).reshape(-1, 4)[pixels]
        return CandidatePixels(pixels=pixels.int(), rgba=rgba, body=(rgba[:, 3] > 0).nonzero()[:, 0].int())

    def _endless_groups(self) -> Iterator[list[int]]:
        """Images of one frame for each batch: every image once per epoch, in random order."""
        frame_indices = self.dataset.frames.frame_indices
        views_of_frames = [(frame_indices == frame).nonzero()[:, 0] for frame in frame_indices.unique()]
        while True:
            groups: list[list[int]] = []
            for views in views_of_frames:
                shuffled = views[torch.randperm(len(views), generator=self._generator)]
                size = self.config.views_per_batch or len(views)
                groups += [chunk.tolist() for chunk in shuffled.split(size)]
            for group in torch.randperm(len(groups), generator=self._generator).tolist():
                yield groups[group]
