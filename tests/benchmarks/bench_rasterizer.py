"""Time of one picture of Gaussians, forward and backward, by number and resolution: run this file as a script."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import assert_never

from human_avatars.rasterization.gaussians import (
    Gaussians,
    PinholeCamera,
    covariances_from,
    isotropic_covariances,
    rasterize,
)
from human_avatars.transforms import axis_angle_to_matrix, rigid_from_rotation_translation

Shape = Literal["balls", "ellipsoids"]

CAPSULES = (
    ((0.0, 0.05, 0.0), (0.0, 0.50, 0.0), 0.15),
    ((0.0, 0.62, 0.0), (0.0, 0.76, 0.0), 0.10),
    ((0.08, -0.05, 0.0), (0.12, -0.88, 0.0), 0.075),
    ((-0.08, -0.05, 0.0), (-0.12, -0.88, 0.0), 0.075),
    ((0.18, 0.48, 0.0), (0.48, 0.05, 0.05), 0.045),
    ((-0.18, 0.48, 0.0), (-0.48, 0.05, 0.05), 0.045),
    ((0.10, -0.90, 0.0), (0.12, -0.90, 0.16), 0.045),
    ((-0.10, -0.90, 0.0), (-0.12, -0.90, 0.16), 0.045),
)
"""Trunk, head, legs, arms and feet of a person: both ends and the radius, in metres, y up."""
CAMERA_DISTANCE = 3.0
HEIGHT_IN_PICTURE = 0.85
PERSON_HEIGHT = 1.85


def capsule_points(count: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Points spread evenly over the person's surface, and its area in square metres."""
    ends = torch.tensor([(a, b) for a, b, _ in CAPSULES])
    radii = torch.tensor([radius for _, _, radius in CAPSULES])
    lengths = (ends[:, 1] - ends[:, 0]).norm(dim=-1)
    # A sphere's zones of equal height have equal areas, so a point's place along the axis is evenly spread.
    areas = 2 * math.pi * radii * (lengths + 2 * radii)
    part = torch.multinomial(areas, count, replacement=True, generator=generator)
    radius, length = radii[part], lengths[part]
    along = torch.rand(count, generator=generator) * (length + 2 * radius) - radius
    beyond = torch.relu(-along) + torch.relu(along - length)
    around = (radius.square() - beyond.square()).clamp(min=0).sqrt()
    axis = F.normalize(ends[part, 1] - ends[part, 0], dim=-1)
    across = F.normalize(torch.linalg.cross(axis, torch.randn(count, 3, generator=generator)), dim=-1)
    return ends[part, 0] + along[:, None] * axis + around[:, None] * across, float(areas.sum())


def capsule_person(count: int, shape: Shape = "balls", seed: int = 0) -> Gaussians:
    """A person of Gaussians that just cover its surface: opaque balls, or ellipsoids of mixed sizes and opacities."""
    generator = torch.Generator().manual_seed(seed)
    means, area = capsule_points(count, generator)
    colors = 0.5 + 0.5 * torch.sin(means * torch.tensor([9.0, 7.0, 11.0]) + torch.tensor([0.0, 1.0, 2.0]))
    radius = 0.7 * math.sqrt(area / count)
    if shape == "balls":
        radii = radius * (0.8 + 0.4 * torch.rand(count, generator=generator))
        return Gaussians(means, isotropic_covariances(radii), torch.ones(count), colors)
    if shape == "ellipsoids":
        scales = radius * torch.exp(0.5 * torch.randn(count, 3, generator=generator))
        covariances = covariances_from(scales, torch.randn(count, 4, generator=generator))
        return Gaussians(means, covariances, 0.3 + 0.69 * torch.rand(count, generator=generator), colors)
    assert_never(shape)


def camera_around(size: int, angle: float = 0.5) -> PinholeCamera:
    """A square picture of the whole person, from an angle in radians about the vertical axis."""
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotation = upright @ axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0]))
    focal = size * CAMERA_DISTANCE * HEIGHT_IN_PICTURE / PERSON_HEIGHT
    return PinholeCamera(
        rigid_from_rotation_translation(rotation, torch.tensor([0.0, -0.04, CAMERA_DISTANCE])),
        torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]),
        width=size,
        height=size,
    )


def moved(gaussians: Gaussians, device: torch.device) -> Gaussians:
    """The Gaussians on a device, as variables that receive gradients."""
    tensors = gaussians.means, gaussians.covariances, gaussians.opacities, gaussians.colors
    return Gaussians(*(tensor.to(device).requires_grad_() for tensor in tensors))


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a call, over many."""

    least: float
    median: float


def timed(call: Callable[[], None], repeats: int, device: torch.device) -> Timing:
    """Time a call after a warm-up; on CUDA until the device has finished."""

    def lap() -> float:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - start)

    for _ in range(3):
        lap()
    laps = [lap() for _ in range(repeats)]
    return Timing(min(laps), statistics.median(laps))


@dataclass(frozen=True)
class Row:
    """One measurement."""

    device: str
    shape: Shape
    count: int
    size: int
    forward: Timing
    forward_and_backward: Timing


def measure(count: int, size: int, shape: Shape, repeats: int, device: torch.device) -> Row:
    """Time pictures of a person as training draws them: no loss looks at the depth."""
    gaussians, camera = moved(capsule_person(count, shape), device), camera_around(size)
    camera = replace(camera, world_to_camera=camera.world_to_camera.to(device), intrinsics=camera.intrinsics.to(device))
    background = torch.ones(3, device=device)
    weights = torch.randn(size, size, 3, device=device), torch.randn(size, size, 1, device=device)
    leaves = [gaussians.means, gaussians.covariances, gaussians.opacities, gaussians.colors]

    def forward() -> None:
        with torch.no_grad():
            rasterize(gaussians, camera, background)

    def forward_and_backward() -> None:
        rendering = rasterize(gaussians, camera, background)
        torch.autograd.grad([rendering.colors, rendering.alpha], leaves, list(weights))

    return Row(
        device.type, shape, count, size, timed(forward, repeats, device), timed(forward_and_backward, repeats, device)
    )


@dataclass
class Options:
    """What to measure."""

    counts: tuple[int, ...] = (10_000, 20_000, 50_000)
    """Numbers of Gaussians."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Widths and heights, in pixels."""
    shapes: tuple[Shape, ...] = ("balls", "ellipsoids")
    """Kinds of Gaussians."""
    threads: int = torch.get_num_threads()
    """Threads of the CPU rasteriser."""
    repeats: int = 20
    """Pictures per measurement."""
    output: Path | None = None
    """Where to write the figures as JSON."""


def main(options: Options) -> None:
    """Measure, print a table, write the figures."""
    torch.set_num_threads(options.threads)
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    print(
        f"milliseconds, least and median of {options.repeats}; CPU with {options.threads} threads of {os.cpu_count()}"
    )
    print(f"{'device':8}{'Gaussians':>22}{'pixels':>8}{'forward':>18}{'and backward':>18}")
    rows: list[Row] = []
    for device in devices:
        for shape in options.shapes:
            for size in options.sizes:
                for count in options.counts:
                    row = measure(count, size, shape, options.repeats, device)
                    times = [f"{t.least:.1f} / {t.median:.1f}" for t in (row.forward, row.forward_and_backward)]
                    print(f"{row.device:8}{f'{count} {shape}':>22}{size:8}{times[0]:>18}{times[1]:>18}", flush=True)
                    rows.append(row)
    if options.output is not None:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        cuda = {"cuda": torch.cuda.get_device_name()} if len(devices) > 1 else {}
        figures = machine | cuda | {"torch": torch.__version__, "threads": options.threads, "repeats": options.repeats}
        options.output.write_text(
            json.dumps(figures | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
