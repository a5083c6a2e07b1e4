"""Time of one training step of Neural Body's field, stage by stage, and its memory: run this file as a script."""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.body_models.bounds import intersect_box, padded_box
from human_avatars.body_models.open_body import load_open_body
from human_avatars.field_components.sparse_voxels import SparseVoxels, VoxelGrid
from human_avatars.fields.neural_body_field import NeuralBodyField

PADDING = (0.0, 0.0, 0.05)
NUM_FRAME_CODES = 60
WARM_UP_STEPS = 3
CAMERA_DISTANCE = 3.0


@dataclass(frozen=True)
class Setting:
    """What one step computes."""

    name: str
    voxel_size: float
    num_rays: int
    num_samples: int
    empty_space_level: int | None


SETTINGS = (
    Setting("published, 256 rays", voxel_size=0.005, num_rays=256, num_samples=64, empty_space_level=None),
    Setting("CPU preset", voxel_size=0.01, num_rays=512, num_samples=64, empty_space_level=1),
)


@dataclass(frozen=True)
class Scene:
    """A body, rays that cross its box, and the colours they should see."""

    vertices: Tensor
    points: Tensor
    distances: Tensor
    directions: Tensor
    ray_of_point: Tensor
    colors: Tensor


class Stopwatch:
    """Milliseconds between consecutive calls, collected by stage."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.stages: dict[str, list[float]] = defaultdict(list)
        self.last = clock()

    def lap(self, stage: str | None = None) -> None:
        """End a stage; without a name the time since the last call is dropped."""
        now = self.clock()
        if stage is not None:
            self.stages[stage].append(1000 * (now - self.last))
        self.last = now


def make_scene(setting: Setting) -> Scene:
    """Half of the rays aim at the body and half anywhere in its box, as in training."""
    torch.manual_seed(0)
    body = load_open_body()
    pose = BodyPose.zeros((), body.num_joints)
    vertices = body.with_shape(torch.zeros(body.num_betas)).with_pose(pose).vertices
    low, high = box = padded_box(vertices, PADDING)
    half = setting.num_rays // 2
    targets = torch.cat([vertices[torch.randint(len(vertices), (half,))], low + (high - low) * torch.rand(half, 3)])
    angles = 2 * torch.pi * torch.rand(len(targets))
    origins = box.mean(0) + CAMERA_DISTANCE * torch.stack(
        [angles.cos(), torch.zeros_like(angles), angles.sin()], dim=-1
    )
    directions = F.normalize(targets - origins, dim=-1)
    nears, fars = intersect_box(origins, directions, box)
    distances = nears[:, None] + (fars - nears)[:, None] * torch.linspace(0, 1, setting.num_samples)
    points = origins[:, None] + directions[:, None] * distances[..., None]
    return Scene(
        vertices=vertices,
        points=points.flatten(0, 1),
        distances=distances,
        directions=directions,
        ray_of_point=torch.arange(len(targets)).repeat_interleave(setting.num_samples),
        colors=torch.rand(len(targets), 3),
    )


def training_step(
    setting: Setting, scene: Scene, field: NeuralBodyField, optimizer: torch.optim.Optimizer, watch: Stopwatch
) -> None:
    """Forward, backward, update."""
    watch.lap()
    grid = VoxelGrid.around(scene.vertices, PADDING, setting.voxel_size)
    SparseVoxels.from_coordinates(grid.coordinates(scene.vertices), grid.shape)
    watch.lap("rulebook (also in diffuse)")
    volumes = field.diffuse(scene.vertices, torch.eye(4))
    watch.lap("diffuse")
    kept = torch.arange(len(scene.points))
    if setting.empty_space_level is not None:
        kept = field.occupied(volumes, scene.points, setting.empty_space_level).nonzero()[:, 0]
    watch.lap("skip empty space")
    raw, rgb = field(volumes, scene.points[kept], scene.directions, 0, scene.ray_of_point[kept])
    watch.lap("read and decode")
    raw = raw.new_zeros(len(scene.points), 1).index_copy(0, kept, raw).view_as(scene.distances)
    rgb = rgb.new_zeros(len(scene.points), 3).index_copy(0, kept, rgb).view(*scene.distances.shape, 3)
    steps = F.pad(scene.distances.diff(dim=-1), (0, 1), value=1e10)
    transparency = torch.exp(-raw.relu() * steps)
    before = F.pad(transparency[:, :-1], (1, 0), value=1.0).cumprod(dim=-1)
    loss = F.mse_loss((((1 - transparency) * before)[..., None] * rgb).sum(dim=1), scene.colors)
    watch.lap("composite")
    optimizer.zero_grad()
    loss.backward()
    watch.lap("backward")
    optimizer.step()
    watch.lap("Adam")


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(job: tuple[Setting, argparse.Namespace]) -> dict[str, Any]:
    """Median milliseconds of each stage of a setting, and its peak memory above the imports."""
    setting, arguments = job
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scene, watch = make_scene(setting), Stopwatch(CLOCKS[arguments.clock])
    field = NeuralBodyField(len(scene.vertices), NUM_FRAME_CODES, PADDING, voxel_size=setting.voxel_size)
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-4, fused=True)
    for step in range(WARM_UP_STEPS + arguments.steps):
        if step == WARM_UP_STEPS:
            watch.stages.clear()
        training_step(setting, scene, field, optimizer, watch)
    milliseconds = {stage: statistics.median(laps) for stage, laps in watch.stages.items()}
    milliseconds["step"] = sum(value for stage, value in milliseconds.items() if not stage.startswith("rulebook"))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - imported) / 1024
    return {"setting": asdict(setting), "milliseconds": milliseconds, "peak_memory_mb": peak}


def main() -> None:
    """Measure the settings, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu is fairer on a busy machine with one thread"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        results = list(pool.imap(measure, [(setting, arguments) for setting in SETTINGS], chunksize=1))
    print(f"{'milliseconds, median':28}" + "".join(f"{setting.name:>22}" for setting in SETTINGS))
    for stage in results[0]["milliseconds"]:
        print(f"{stage:28}" + "".join(f"{result['milliseconds'][stage]:22.1f}" for result in results))
    print(f"{'peak memory over imports, MB':28}" + "".join(f"{result['peak_memory_mb']:22.0f}" for result in results))
    if arguments.json is not None:
        machine = {"processor": _processor(), "cores": os.cpu_count(), "torch": torch.__version__}
        options = {"threads": arguments.threads, "clock": arguments.clock, "steps": arguments.steps}
        arguments.json.write_text(
            json.dumps(machine | options | {"results": results}, indent=2) + "\n", encoding="utf-8"
        )


def _processor() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
