"""nerfstudio's ray-based datamanager with bounded memory: images are read when a batch needs them."""

from dataclasses import dataclass, field

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from nerfstudio.data.utils.dataloaders import EvalDataloader, FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.model_components.ray_generators import RayGenerator
from nerfstudio.utils.misc import get_dict_to_torch

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.pixel_samplers import SubjectPixelSampler, SubjectPixelSamplerConfig
from human_avatars.data.subject_dataset import SubjectDataset


@dataclass
class SubjectDataManagerConfig(VanillaDataManagerConfig):
    """How rays of a captured person are drawn and kept."""

    _target: type = field(default_factory=lambda: SubjectDataManager)
    dataparser: AnnotatedDataParserUnion = field(default_factory=ZjuMocapDataParserConfig)
    """Specifies the dataparser used to unpack the data."""
    pixel_sampler: PixelSamplerConfig = field(default_factory=SubjectPixelSamplerConfig)
    """Where the rays of a training batch come from."""
    cache_gigabytes: float = 2.0
    """Memory for training pixels that were read before; a 512x512 image of a person takes about 0.7 MB."""


class SubjectDataManager(VanillaDataManager[SubjectDataset]):
    """Gives rays of captured people to ray-based models.

    nerfstudio's own caches every image of a split as floats. Here an image is decoded when a batch first needs it, its
    candidate pixels are kept within a budget, and evaluation reads one image at a time. The options of the parent about
    images to sample from and to repeat have no effect.
    """

    config: SubjectDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup_train(self) -> None:
        """Make the training sampler and rays; no image is read."""
        self.train_pixel_sampler = self._subject_sampler(
            self.train_dataset, self.config.train_num_rays_per_batch, int(self.config.cache_gigabytes * 2**30)
        )
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        """Make the evaluation sampler, rays and loaders; no image is read."""
        # Evaluation draws one batch in hundreds of steps: nothing is worth keeping.
        self.eval_pixel_sampler = self._subject_sampler(
            self.eval_dataset, self.config.eval_num_rays_per_batch, cache_bytes=0
        )
        self.eval_ray_generator = RayGenerator(self.eval_dataset.cameras.to(self.device))
        self.fixed_indices_eval_dataloader = SubjectFixedIndicesEvalDataloader(self.eval_dataset, device=self.device)
        self.eval_dataloader = SubjectRandIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """The next training batch.

        Args:
            step: Not used.

        Returns:
            Rays of one frame, and `image` (rays, 4) RGBA with `indices` (rays, 3).
        """
        self.train_count += 1
        assert self.train_pixel_sampler is not None
        batch = self.train_pixel_sampler.sample({})
        return self.train_ray_generator(batch["indices"]), batch

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """A batch of evaluation rays.

        Args:
            step: Not used.

        Returns:
            As `next_train`.
        """
        self.eval_count += 1
        assert self.eval_pixel_sampler is not None
        batch = self.eval_pixel_sampler.sample({})
        return self.eval_ray_generator(batch["indices"]), batch

    def _subject_sampler(self, dataset: SubjectDataset, num_rays: int, cache_bytes: int) -> SubjectPixelSampler:
        sampler = self.config.pixel_sampler.setup(dataset=dataset, num_rays_per_batch=num_rays, cache_bytes=cache_bytes)
        assert isinstance(sampler, SubjectPixelSampler), "SubjectDataManager needs a SubjectPixelSampler"
        return sampler


class _RgbaLoader(EvalDataloader):
    """Loads images as models take them, with the silhouette, where nerfstudio's loaders index the dataset."""

    input_dataset: SubjectDataset

    def get_camera(self, image_idx: int = 0) -> tuple[Cameras, dict]:
        camera = self.cameras[image_idx : image_idx + 1]
        return camera, get_dict_to_torch(self.input_dataset.get_data(image_idx), device=self.device)


class SubjectFixedIndicesEvalDataloader(_RgbaLoader, FixedIndicesEvalDataloader):
    """Every evaluation image in order, one at a time."""


class SubjectRandIndicesEvalDataloader(_RgbaLoader, RandIndicesEvalDataloader):
    """Evaluation images at random, one at a time."""
