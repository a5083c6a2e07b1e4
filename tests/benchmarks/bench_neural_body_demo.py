"""Quality of the CPU preset on the demo, clean and with the errors of real captures, beside a flat silhouette's score.

python tests/benchmarks/bench_neural_body_demo.py --output-dir outputs/bench --variants clean noisy --json demo.json
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig

from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig
from human_avatars.capture.writers import write_zju_mocap
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.model_components.metrics import AvatarMetrics
from human_avatars.scripts.quickstart import evaluate, method_config, train

CLEAN = CaptureConfig(frames=15, size=256)
NOISE = NoiseConfig(
    pose_noise_degrees=3.0,
    place_noise_centimetres=1.0,
    mask_noise_pixels=1.0,
    calibration_noise_degrees=0.1,
    calibration_noise_millimetres=3.0,
    calibration_noise_focal_percent=0.2,
)
VARIANTS = {
    "clean": CLEAN,
    "noisy": replace(CLEAN, noise=NOISE),
    "checks-squat": replace(CLEAN, outfit="checks", motion="squat", seed=1),
}
EVAL_FRAME_INTERVAL = 5
KEYS = ("psnr", "psnr_box", "psnr_body", "ssim", "ssim_box", "ssim_box_range2")
SPLITS = ("novel_view", "novel_pose")


def flat_silhouette_scores(capture: Path) -> dict[str, float]:
    """What the true silhouette in one flat colour, the person's mean, scores on the test images.

    Args:
        capture: The capture's folder.

    Returns:
        Averages by split and metric, named as in the evaluation.
    """
    parser = ZjuMocapDataParserConfig(data=capture, eval_frame_interval=EVAL_FRAME_INTERVAL).setup()
    dataset = SubjectDataset(parser.get_dataparser_outputs("test"))
    metrics = AvatarMetrics()
    records = []
    for index, split in enumerate(dataset.split_labels):
        data = dataset.get_data(index)
        rgb, alpha = data["image"][..., :3], data["image"][..., 3:]
        person = alpha[..., 0] > 0.5
        flat = torch.where(person[..., None], rgb[person].mean(0), torch.zeros_like(rgb))
        records.append((split, metrics.image_metrics(flat, rgb * alpha, data["mask_at_box"][..., 0], person)))
    return {
        f"{split}/{key}": sum(record[key] for label, record in records if label == split)
        / sum(label == split for label, _ in records)
        for split in SPLITS
        for key in KEYS
    }


def measure(name: str, output_dir: Path, method: str, iterations: int | None) -> dict[str, float]:
    """Film a variant, train on it and evaluate.

    Args:
        name: The variant.
        output_dir: Where captures and runs go.
        method: The method to train.
        iterations: Training steps, None for the method's own.

    Returns:
        Averages by split and metric, the training time in seconds, and the flat silhouette's scores as `flat/...`.
    """
    capture = output_dir / "captures" / name
    if not capture.exists():
        write_zju_mocap(capture, VARIANTS[name])
    config = method_config(method)
    datamanager = config.pipeline.datamanager
    assert isinstance(datamanager, VanillaDataManagerConfig)
    assert isinstance(datamanager.dataparser, ZjuMocapDataParserConfig)
    datamanager.dataparser.eval_frame_interval = EVAL_FRAME_INTERVAL
    start = time.perf_counter()
    run = train(config, capture, output_dir, iterations)
    seconds = time.perf_counter() - start
    results = evaluate(run, run.parent / "metrics.json")
    scores = {f"{split}/{key}": results[f"{split}/{key}"] for split in SPLITS for key in KEYS}
    flat = {f"flat/{key}": value for key, value in flat_silhouette_scores(capture).items()}
    return {"seconds": seconds, **scores, **flat}


def main() -> None:
    """Measure the variants that were asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=sorted(VARIANTS))
    parser.add_argument("--method", default="neural-body-cpu")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {name: measure(name, options.output_dir, options.method, options.iterations) for name in options.variants}
    print(f"{'':24}{'seconds':>9}" + "".join(f"{key:>17}" for key in KEYS))
    for name, row in rows.items():
        for split in SPLITS:
            print(
                f"{name + ' ' + split:24}{row['seconds']:9.0f}" + "".join(f"{row[f'{split}/{k}']:17.3f}" for k in KEYS)
            )
            print(f"{'  flat silhouette':33}" + "".join(f"{row[f'flat/{split}/{k}']:17.3f}" for k in KEYS))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
