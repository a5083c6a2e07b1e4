"""nerfstudio's image-based datamanager for splat models: pictures of people with bounded memory, cut to the person."""

from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from torch import Tensor

from human_avatars.data.byte_cache import ByteCache
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_datamanagers import SubjectFixedIndicesEvalDataloader
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.data.training_images import TrainingImage, read_training_image


@dataclass
class SubjectImageDataManagerConfig(FullImageDatamanagerConfig):
    """How pictures of a captured person are cut, ordered and kept."""

    _target: type = field(default_factory=lambda: SubjectImageDataManager)
    dataparser: AnnotatedDataParserUnion = field(default_factory=ZjuMocapDataParserConfig)
    """Specifies the dataparser used to unpack the data."""
    cache_images: Literal["cpu", "gpu"] = "cpu"
    """Has no effect: images are kept as bytes in the computer's memory, see cache_gigabytes."""
    cache_gigabytes: float = 2.0
    """Memory for training images that were read before; a person of 250x600 pixels takes about 0.75 MB."""
    crop_margin: float | None = 0.04
    """Training images are cut to the person's box and silhouette, grown by this fraction of the image's height; None
    for whole images."""
    trust_mask_border: bool = True
    """Whether the masks decide up to their border in training. Otherwise the band around the silhouette that the data
    parser's mask_border marks as undecided is not valid, as in evaluation, which this option never changes."""


class SubjectImageDataManager(FullImageDatamanager[SubjectDataset]):
    """Gives cameras and images of captured people to splat models.

    nerfstudio's own reads every image of both splits ahead, and cannot do so without CUDA. Here an image is read
    when its turn comes, by a thread that works one step ahead; training images are kept as bytes within a budget,
    and evaluation reads one image at a time. The parent's options about caching have no effect.

    Args:
        config: How images are cut, ordered and kept.
        device: Where batches go.
        test_mode: "inference" sets nothing up.
        world_size: Number of processes.
        local_rank: Rank of this process.
        **kwargs: Not used.
    """

    config: SubjectImageDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup_train(self) -> None:
        """Make the memory for training images and the thread that reads them; nothing is read, nothing runs."""
        margin = self.config.crop_margin
        if margin is not None and margin < 0:
            raise ValueError(f"crop_margin is {margin}, expected 0 or more, or None for whole images.")
        self._images: ByteCache[tuple[Cameras, TrainingImage]] = ByteCache(
            int(self.config.cache_gigabytes * 2**30), lambda entry: entry[1].num_bytes
        )
        self._train_cameras = self.train_dataset.cameras.to(self.device)
        # Its thread starts with the first image, and ends with this object or the process.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="training-images")
        self._upcoming: Future[tuple[int, Cameras, TrainingImage]] | None = None
        self._rays_per_batch = int(self.train_dataset.frames.image_sizes[0].prod())

    def sample_train_cameras(self) -> list[int]:
        """The order of the next epoch, which follows nerfstudio's `--machine.seed`.

        Returns:
            Every training image once, or nerfstudio's farthest point samples where its configuration asks for them.
        """
        if self.config.train_cameras_sampling_strategy == "fps":
            return super().sample_train_cameras()
        return torch.randperm(len(self.train_dataset), generator=self._order).tolist()

    def next_train(self, step: int) -> tuple[Cameras, dict]:
        """The next training image, while the one after it is being read.

        Bytes travel to the device and become floats there: a quarter of the transfer, and the same format as in
        evaluation.

        Args:
            step: Not used.

        Returns:
            The camera of the rectangle that is shown, of shape (1,); and `image` (height width 4), float RGBA in
            [0, 1] with black outside the silhouette; `mask` (height width 1), the valid pixels; `mask_at_box`
            (height width 1), the pixels whose ray meets the body's padded box; `image_idx`.

        Raises:
            ValueError: A file is missing or broken, a size disagrees, the mask is empty, or no ray meets the body.
            RuntimeError: Reading failed in another way; the message names the file.
        """
        self.train_count += 1
        reading = self._upcoming or self._read_upcoming()
        # Taken before it is waited for: after an error the next call goes on to the next image.
        self._upcoming = None
        image_idx, camera, image = reading.result()
        self._upcoming = self._read_upcoming()
        height, width = image.rgba.shape[:2]
        self._rays_per_batch = height * width
        batch = {
            "image_idx": image_idx,
            "image": self._to_device(image.rgba).float().div_(255),
            "mask": torch.ones(height, width, 1, dtype=torch.bool, device=self.device)
            if image.valid is None
            else self._to_device(image.valid),
            "mask_at_box": self._to_device(image.mask_at_box),
        }
        # Models rescale cameras in place. A copy of the object alone keeps what is cached as it is.
        camera = copy(camera)
        camera.metadata = {**(camera.metadata or {}), "cam_idx": image_idx}
        return camera, batch

    def next_eval_image(self, step: int) -> tuple[Cameras, dict]:
        """A whole evaluation image; every one comes once before any comes again.

        Args:
            step: Not used.

        Returns:
            As `fixed_indices_eval_dataloader` gives it.
        """
        self.eval_count += 1
        if not self.eval_unseen_cameras:
            self.eval_unseen_cameras = list(range(len(self.eval_dataset)))
        position = int(torch.randint(len(self.eval_unseen_cameras), (), generator=self._order))
        return self.fixed_indices_eval_dataloader.get_camera(self.eval_unseen_cameras.pop(position))

    @property
    def fixed_indices_eval_dataloader(self) -> SubjectFixedIndicesEvalDataloader:
        """Every evaluation image in order, whole, read one at a time; cheap, since the viewer looks at properties."""
        return SubjectFixedIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def get_train_rays_per_batch(self) -> int:
        """Pixels of the last training image.

        Returns:
            The number of pixels; before the first image, those of a whole one.
        """
        return self._rays_per_batch

    @cached_property
    def _order(self) -> torch.Generator:
        return torch.Generator().manual_seed(int(torch.randint(2**31, ())))

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _read_upcoming(self) -> Future[tuple[int, Cameras, TrainingImage]]:
        """Begin to read the next image of the order."""
        if not self.train_unseen_cameras:
            self.train_unseen_cameras = self.sample_train_cameras()
        return self._reader.submit(self._read, self.train_unseen_cameras.pop(0))

    def _read(self, image_idx: int) -> tuple[int, Cameras, TrainingImage]:
        """The image from memory or disk, ready for the device; runs on the reader's thread."""
        try:
            camera, image = self._images.get(image_idx, self._cut)
            device = torch.device(self.device)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    image = image.pinned()
        except ValueError:  # names its file already
            raise
        except Exception as error:
            file = self.train_dataset.image_filenames[image_idx]
            raise RuntimeError(f"{file} could not be made ready for training: {error!r}") from error
        return image_idx, camera, image

    def _cut(self, image_idx: int) -> tuple[Cameras, TrainingImage]:
        config = self.config
        image = read_training_image(self.train_dataset, image_idx, config.crop_margin, config.trust_mask_border)
        camera = self._train_cameras[image_idx : image_idx + 1]
        camera.cx, camera.cy = camera.cx - image.left, camera.cy - image.top
        camera.height = torch.full_like(camera.height, image.rgba.shape[0])
        camera.width = torch.full_like(camera.width, image.rgba.shape[1])
        return camera, image
