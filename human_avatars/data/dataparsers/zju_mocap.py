"""ZJU-MoCap (Peng et al. 2021, Neural Body) and captures in its layout, the package's own demo among them."""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from typing_extensions import assert_never

from human_avatars.body_models.motion import Subject
from human_avatars.data.dataparsers.calibration_checks import is_calibrated_for
from human_avatars.data.dataparsers.subject_dataparser import SubjectDataParser
from human_avatars.data.dataparsers.zju_annotations import ZjuAnnotations, read_zju_annotations
from human_avatars.data.dataparsers.zju_motion import choose_fit, read_zju_subject
from human_avatars.data.dataparsers.zju_sequences import (
    PUBLISHED_IMAGE_SCALE,
    PUBLISHED_IMAGE_SIZE,
    published_sequence,
)
from human_avatars.data.dataparsers.zju_split import SplitOptions, ZjuSplit, choose_split
from human_avatars.data.subject_frames import SplitLabel, SubjectFrames
from human_avatars.data.subject_images import image_size


@dataclass
class ZjuMocapDataParserConfig(DataParserConfig):
    """ZJU-MoCap and captures in its layout; the defaults are Neural Body's published protocol."""

    _target: type = field(default_factory=lambda: ZjuMocapDataParser)
    data: Path = Path("data/zju/demo")
    """The sequence's folder, with annots.npy in it. Published sequences are known by its name: CoreView_313, or 313."""
    body_model_path: Path | None = None
    """The SMPL, SMPL-H or SMPL-X file that was fitted; None for the packaged open body."""
    params: Literal["auto", "params", "new_params"] = "auto"
    """The fit: the older params with vertices, which the released checkpoints use, or new_params with new_vertices.
    "auto" takes the older one where there is one."""
    masks: Literal["auto", "mask_cihp", "mask", "both"] = "auto"
    """Folder of the masks; "both" joins them. "auto" takes mask_cihp, which Neural Body trains and tests with, else
    mask."""
    train_cameras: tuple[int, ...] | None = None
    """Positions of the training cameras in annots.npy; None for the capture's own, or 0 6 12 18."""
    test_cameras: tuple[int, ...] | None = None
    """Positions of the test cameras; None for all that do not train."""
    begin_frame: int | None = None
    """First training frame; None for the published one."""
    num_train_frames: int | None = None
    """Number of training frames; None for the published one, or two thirds of an unpublished capture."""
    novel_pose_frames: tuple[int, int] | None = None
    """First unseen frame and the one after the last, equal for none; None for the published ones, or the rest."""
    frame_interval: int = 1
    """Frames are used at this interval."""
    eval_frame_interval: int = 30
    """Frames of each test split are measured at this interval."""
    image_scale: float | None = None
    """Images are used at this fraction of their size; None for the published half of 1024-pixel sequences, else 1."""
    downscale_factor: float | None = None
    """Images are divided by this once more; ns-render sets it."""
    published_scaling: bool = False
    """Whether camera matrices of scaled images lack the half pixel that scaling moves a pixel's centre by, as in the
    original code: a quarter of a pixel at half size. Neural Body's published weights are aligned to that."""
    box_padding: tuple[float, float, float] = (0.0, 0.0, 0.05)
    """Growth of the body's box at both ends of each world axis, in metres; the "big box" is 0.05 0.05 0.05."""
    mask_border: int = 5
    """Side, in full-size pixels, of the kernel whose band around the silhouette is undecided; 0 trusts the masks."""


@dataclass(frozen=True)
class _Capture:
    """What both splits share."""

    folder: Path
    annotations: ZjuAnnotations
    split: ZjuSplit
    subject: Subject
    mask_folders: tuple[str, ...]


class ZjuMocapDataParser(SubjectDataParser):
    """Reads ZJU-MoCap: train is training cameras by training frames; val and test are the test cameras on training
    frames (novel_view) and on unseen ones (novel_pose).

    Args:
        config: Where the capture lies and how it is split.
    """

    config: ZjuMocapDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def read_frames(self, split: str) -> SubjectFrames:
        """As of every parser of captured people."""
        capture = self._capture
        images = self._train_images() if split == "train" else self._test_images()
        names = [capture.annotations.images[frame][camera] for frame, camera, _ in images]
        photographs = tuple(capture.folder / name for name in names)
        masks = tuple(
            tuple(capture.folder / masks / Path(name).with_suffix(".png") for masks in capture.mask_folders)
            for name in names
        )
        self._check_on_disk([*photographs, *(mask for group in masks for mask in group)])
        cameras = torch.tensor([camera for _, camera, _ in images])
        motion_frames = capture.split.motion_frames
        motion_index = {frame: index for index, frame in enumerate(motion_frames)}
        full_sizes = self._full_sizes(photographs, cameras)
        return SubjectFrames(
            image_filenames=photographs,
            mask_filenames=masks,
            split_labels=tuple(label for _, _, label in images),
            camera_names=tuple(capture.annotations.camera_names[camera] for camera in cameras.tolist()),
            frame_indices=torch.tensor([motion_index[frame] for frame, _, _ in images]),
            intrinsics=capture.annotations.intrinsics[cameras],
            distortions=capture.annotations.distortions[cameras],
            world_to_cameras=capture.annotations.world_to_cameras[cameras],
            full_sizes=full_sizes,
            image_scale=self._image_scale(int(full_sizes.max())),
            mask_border=self.config.mask_border,
            published_scaling=self.config.published_scaling,
            subject=capture.subject,
            train_frame_indices=torch.tensor([motion_index[frame] for frame in capture.split.train_frames]),
        )

    @cached_property
    def _capture(self) -> _Capture:
        config, folder = self.config, Path(self.config.data)
        if not folder.is_dir():
            raise ValueError(
                f"{folder.absolute()} is no folder (working directory {Path.cwd()}): expected a ZJU-MoCap sequence. "
                "Give its folder with --data; a run that was trained on a relative path is opened from the directory "
                "it was trained in."
            )
        annotations = read_zju_annotations(folder)
        options = SplitOptions(
            train_cameras=config.train_cameras,
            test_cameras=config.test_cameras,
            begin_frame=config.begin_frame,
            num_train_frames=config.num_train_frames,
            novel_pose_frames=config.novel_pose_frames,
            frame_interval=config.frame_interval,
        )
        split = choose_split(folder, annotations, options)
        numbers = [annotations.file_numbers[frame] for frame in split.motion_frames]
        fit = choose_fit(folder, config.params)
        subject = read_zju_subject(folder, fit, numbers, config.body_model_path, config.box_padding)
        return _Capture(folder, annotations, split, subject, self._mask_folders(folder))

    def _train_images(self) -> list[tuple[int, int, SplitLabel]]:
        split = self._capture.split
        return [(frame, camera, "train") for frame in split.train_frames for camera in split.train_cameras]

    def _test_images(self) -> list[tuple[int, int, SplitLabel]]:
        split, interval = self._capture.split, self.config.eval_frame_interval
        if interval < 1:
            raise ValueError(f"--eval-frame-interval is {interval}, expected at least 1.")
        images: list[tuple[int, int, SplitLabel]] = []
        for frame, camera in itertools.product(split.train_frames[::interval], split.test_cameras):
            images.append((frame, camera, "train" if camera in split.train_cameras else "novel_view"))
        for frame, camera in itertools.product(split.novel_pose_frames[::interval], split.test_cameras):
            images.append((frame, camera, "novel_pose"))
        return images

    def _mask_folders(self, folder: Path) -> tuple[str, ...]:
        match self.config.masks:
            case "auto":
                chosen = ("mask_cihp",) if (folder / "mask_cihp").is_dir() else ("mask",)
            case "both":
                chosen = ("mask_cihp", "mask")
            case "mask_cihp" | "mask":
                chosen = (self.config.masks,)
            case _:
                assert_never(self.config.masks)
        for name in chosen:
            if not (folder / name).is_dir():
                raise ValueError(
                    f"{folder / name} does not exist: expected a folder of masks with the images' names, as .png. "
                    "Segment the images, or choose other masks with --masks."
                )
        return chosen

    def _check_on_disk(self, files: list[Path]) -> None:
        missing = [file for file in files if not file.is_file()]
        if missing:
            more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
            raise ValueError(
                f"{missing[0]}{more} does not exist, but {self._capture.annotations.path} lists its frame and camera: "
                "copy the whole sequence, or choose what is there with --train-cameras, --test-cameras, "
                "--begin-frame, --num-train-frames and --novel-pose-frames."
            )

    def _full_sizes(self, photographs: tuple[Path, ...], cameras: torch.Tensor) -> torch.Tensor:
        """Size on disk of each image, by its camera's first image, held against the calibration."""
        sizes: dict[int, tuple[int, int]] = {}
        for file, camera in zip(photographs, cameras.tolist(), strict=True):
            if camera not in sizes:
                sizes[camera] = image_size(file)
                self._check_calibration(file, sizes[camera], camera)
        return torch.tensor([sizes[camera] for camera in cameras.tolist()])

    def _check_calibration(self, file: Path, size: tuple[int, int], camera: int) -> None:
        annotations = self._capture.annotations
        if not is_calibrated_for(annotations.intrinsics[camera], size):
            (height, width), (u, v) = size, annotations.intrinsics[camera, :2, 2].tolist()
            raise ValueError(
                f"{file} is {width}x{height} pixels, but {annotations.path} puts the principal point of camera "
                f"{camera} ({annotations.camera_names[camera]}) at ({u:.0f}, {v:.0f}), as of images of "
                f"about {2 * u:.0f}x{2 * v:.0f}: calibrate at the images' size, or scale the images to match."
            )

    def _image_scale(self, full_size: int) -> float:
        published = published_sequence(self._capture.folder) is not None and full_size == PUBLISHED_IMAGE_SIZE
        scale = self.config.image_scale or (PUBLISHED_IMAGE_SCALE if published else 1.0)
        return scale / (self.config.downscale_factor or 1.0)
