"""Speed and quality of avatar-splat and gaussian-avatar on the demo: training step, pictures per second, PSNR by time.

python tests/benchmarks/bench_splats.py --output-path splats.json
python tests/benchmarks/bench_splats.py --parts quality --captures noisy checks spin --methods avatar-splat
python tests/benchmarks/bench_splats.py --parts quality --image-scale 1.0 --budgets 90
"""

import json
import os
import platform
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import torch
import tyro
from splat_quality import KEYS, SPLITS, evaluate, flat_silhouette, measure_pace, train
from splat_setups import CaptureName, Device, MethodName, Refinement, Setup, film, make_trainer
from splat_timing import STAGES, frames_per_second, time_training

from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.files.safe_writes import atomic_path
from human_avatars.models.base_splat_model import SplatModel

Part = Literal["speed", "fps", "quality"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = ("speed", "fps", "quality")
    """The tables: milliseconds per training step, pictures per second, quality by time."""
    methods: tuple[MethodName, ...] = ("avatar-splat", "gaussian-avatar-64", "gaussian-avatar-128")
    """Methods; of gaussian-avatar the number of texels along a side. 512 is the published preset, for a GPU."""
    devices: tuple[Device, ...] = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    """Where to run."""
    captures: tuple[CaptureName, ...] = ("clean",)
    """What quality is measured on; speed is measured on the first."""
    refinements: tuple[Refinement, ...] = ()
    """Modes of the pose corrections in the table of quality, "preset" for the method's own. By default that, and off
    and all for the capture "noisy"."""
    budgets: tuple[float, ...] = (10.0, 30.0)
    """Seconds of training. A training's schedule lasts as long as fits into them at the pace that was measured."""
    iterations: tuple[int, ...] = ()
    """Steps of training in place of the seconds: with these and the seed the same run is had again."""
    frames: int = 60
    """Frames of the captures, of which two thirds train."""
    size: int = 512
    """Width and height that the captures are filmed at, in pixels."""
    image_scale: float = 0.5
    """Fraction of that at which they are used."""
    eval_interval: int = 10
    """Frames are measured at this interval, those of the single camera at a quarter of it."""
    warm_up: int = 20
    """Steps that no timing counts."""
    steps: int = 200
    """Steps that are timed, for the table of speed and for the pace."""
    fps_sizes: tuple[int, ...] = (256, 512, 1024)
    """Heights of rendered pictures, in pixels."""
    fps_frames: int = 30
    """Pictures per measurement."""
    repeats: int = 1
    """Trainings per row of the table of quality, with seeds from `seed` on; the row has their mean."""
    seed: int = 0
    """Seed of every training."""
    threads: int = torch.get_num_threads()
    """Threads of torch, and of the compiled loops."""
    folder: Path | None = None
    """Where captures and runs stay; by default they are thrown away."""
    output_path: Path | None = None
    """The JSON file to write."""


def main(options: Options) -> None:
    """Measure what was asked for, print the tables and write the figures."""
    torch.set_num_threads(options.threads)
    machine = {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "torch": torch.__version__,
    }
    print("{processor}, {cpus} CPUs, {torch_threads} torch threads, {gpu}, torch {torch}".format(**machine))
    tables: dict[str, list[Row]] = {}
    with _folder(options) as folder:
        if {"speed", "fps"} & set(options.parts):
            tables |= _speed_tables(options, folder)
            _write(options, machine, tables)
        if "quality" in options.parts:
            tables["quality"] = []
            for name in options.captures:
                tables["quality"] += _quality_rows(options, name, folder)
                # Hours may have gone into it, so what is done is kept.
                _write(options, machine, tables)
            _print_quality(
                "quality by training time; seconds are of training alone, without warm-up", tables["quality"]
            )


def _write(options: Options, machine: Row, tables: dict[str, list[Row]]) -> None:
    if options.output_path is None:
        return
    options.output_path.parent.mkdir(parents=True, exist_ok=True)
    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    with atomic_path(options.output_path) as path:
        path.write_text(
            json.dumps({"machine": machine, "options": chosen, **tables}, indent=2) + "\n", encoding="utf-8"
        )


def _speed_tables(options: Options, folder: Path) -> dict[str, list[Row]]:
    """Milliseconds per step, and pictures per second of the avatar after those steps."""
    name = options.captures[0]
    _say(f"filming {name}")
    capture = film(name, folder, options.frames, options.size)
    speeds: list[Row] = []
    rates: list[Row] = []
    for device in options.devices:
        for method in options.methods:
            _say(f"training {method} on {device} for {options.warm_up + options.steps} steps")
            setup = _setup(options, method, device, capture)
            trainer = make_trainer(setup, options.warm_up + options.steps, folder / "runs")
            milliseconds = time_training(trainer, options.warm_up)
            model, dataset = trainer.pipeline.model, cast(Any, trainer.pipeline.datamanager).eval_dataset
            assert isinstance(model, SplatModel)
            assert isinstance(dataset, SubjectDataset)
            model.eval()
            row = {"method": method, "device": device, "gaussians": len(model.still_gaussians().means)}
            speeds.append(row | milliseconds)
            if "fps" in options.parts:
                rates += [
                    row | {"size": size} | frames_per_second(model, dataset, size, options.fps_frames)
                    for size in options.fps_sizes
                ]
    if "speed" in options.parts:
        pixels = round(options.size * options.image_scale)
        _print_speed(f"milliseconds per training step, medians; {name} at {pixels} pixels", speeds)
    if "fps" in options.parts:
        _print_rates("pictures per second: frames rendered before, and new poses", rates)
    tables: dict[str, list[Row]] = {"speed": speeds, "fps": rates}
    return {part: rows for part, rows in tables.items() if part in options.parts}


def _quality_rows(options: Options, name: CaptureName, folder: Path) -> list[Row]:
    """Scores of every training on one capture."""
    rows: list[Row] = []
    _say(f"filming {name}")
    capture = film(name, folder, options.frames, options.size)
    refinements = options.refinements or (("off", "all") if name == "noisy" else ("preset",))
    for device in options.devices:
        for method in options.methods:
            for refinement in refinements:
                setup = replace(_setup(options, method, device, capture), refinement=refinement)
                facts = {"method": method, "device": device, "capture": name, "refinement": refinement}
                rows += _rows_of(options, setup, facts, folder / "runs")
    return rows


def _rows_of(options: Options, setup: Setup, facts: Row, output_dir: Path) -> list[Row]:
    """One row per budget."""
    described = " ".join(str(value) for value in facts.values())
    jobs: list[tuple[float | None, int]] = [(None, steps) for steps in options.iterations]
    if jobs:
        # Whatever is compiled is compiled here.
        train(setup, options.warm_up, output_dir)
    else:
        _say(f"measuring the pace of {described}")
        pace = measure_pace(setup, options.warm_up, options.steps, output_dir)
        jobs = [(budget, pace.iterations_in(budget)) for budget in options.budgets]
    rows: list[Row] = []
    flat: dict[str, float] = {}
    for budget, iterations in jobs:
        runs: list[Row] = []
        for seed in range(options.seed, options.seed + options.repeats):
            _say(f"training {described} for {iterations} steps with seed {seed}")
            training = train(replace(setup, seed=seed), iterations, output_dir)
            runs.append({"seed": seed, "seconds": sum(training.step_seconds), "scores": evaluate(training.trainer)})
            # It depends on the capture and on the method's background alone.
            flat = flat or flat_silhouette(training.trainer)
        means = {key: statistics.fmean(one["scores"][key] for one in runs) for key in flat}
        seconds = statistics.fmean(one["seconds"] for one in runs)
        rows.append(
            facts
            | {"budget": budget, "iterations": iterations, "seconds": seconds, "scores": means}
            | {"flat_silhouette": flat, "runs": runs}
        )
    return rows


def _setup(options: Options, method: MethodName, device: Device, capture: Path) -> Setup:
    return Setup(
        method=method,
        device=device,
        capture=capture,
        image_scale=options.image_scale,
        eval_interval=options.eval_interval,
        seed=options.seed,
    )


def _print_speed(title: str, rows: list[Row]) -> None:
    columns = (*STAGES, "step")
    print(f"\n{title}")
    print(f"{'method':21}{'device':8}{'Gaussians':>9}" + "".join(f"{stage:>15}" for stage in columns))
    for row in rows:
        print(_described(row) + "".join(f"{row[stage]:15.2f}" for stage in columns))


def _print_rates(title: str, rows: list[Row]) -> None:
    print(f"\n{title}")
    print(f"{'method':21}{'device':8}{'Gaussians':>9}{'pixels':>8}{'captured':>12}{'new poses':>12}")
    for row in rows:
        print(f"{_described(row)}{row['size']:8}{row['captured']:12.1f}{row['new_poses']:12.1f}")


def _print_quality(title: str, rows: list[Row]) -> None:
    print(f"\n{title}")
    print(
        f"{'method':21}{'device':8}{'capture':9}{'poses':8}{'split':12}{'steps':>7}{'seconds':>9}"
        + "".join(f"{key:>10}" for key in KEYS)
        + "".join(f"{'flat ' + key:>15}" for key in KEYS)
    )
    for row in rows:
        for split in SPLITS:
            if f"{split}/{KEYS[0]}" not in row["scores"]:
                continue
            print(
                f"{row['method']:21}{row['device']:8}{row['capture']:9}{row['refinement']:8}{split:12}"
                f"{row['iterations']:7}{row['seconds']:9.1f}"
                + "".join(f"{row['scores'][f'{split}/{key}']:10.3f}" for key in KEYS)
                + "".join(f"{row['flat_silhouette'][f'{split}/{key}']:15.3f}" for key in KEYS)
            )


def _described(row: Row) -> str:
    return f"{row['method']:21}{row['device']:8}{row['gaussians']:9}"


@contextmanager
def _folder(options: Options) -> Iterator[Path]:
    """The folder for captures and runs: the one that was given, or one that is gone afterwards."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        yield options.folder
        return
    with TemporaryDirectory() as temporary:
        yield Path(temporary)


def _say(line: str) -> None:
    print(f"- {line}", flush=True)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
