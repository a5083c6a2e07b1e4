"""What keeps numbers that are not finite out of the weights, and what is said when they appear in a loss."""

import math
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.trainer import Trainer
from torch import Tensor, nn

MAX_IMAGES_NAMED = 3
"""Images of a batch that a message lists."""


def not_finite_terms(losses: dict[str, Tensor]) -> dict[str, float]:
    """The loss terms that are NaN or infinite; one number is read from the device where none is.

    Args:
        losses: Loss terms by name, scalars.

    Returns:
        Values by name. The sum, as `loss`, where it overflows though no term does; empty where it is finite.
    """
    if not losses:
        return {}
    with torch.no_grad():
        total = float(reduce(torch.add, losses.values()))  # added as the trainer does, from whatever device
    if math.isfinite(total):
        return {}
    values = {name: float(torch.as_tensor(loss).detach()) for name, loss in losses.items()}
    return {name: value for name, value in values.items() if not math.isfinite(value)} or {"loss": total}


def not_finite_parameters(module: nn.Module) -> list[str]:
    """The parameters that hold NaN or infinity.

    Args:
        module: The module.

    Returns:
        Their names.
    """
    return [name for name, parameter in module.named_parameters() if not bool(parameter.isfinite().all())]


def images_of_batch(batch: dict[str, Any]) -> list[int]:
    """The images that a batch was drawn from.

    Args:
        batch: A batch of an image (`image_idx`) or of rays (`indices`: image, row and column each).

    Returns:
        Their indices, ascending; none where the batch does not tell.
    """
    if "image_idx" in batch:
        return torch.as_tensor(batch["image_idx"]).flatten().unique().tolist()
    if "indices" in batch:
        return batch["indices"][:, 0].unique().tolist()
    return []


def stopped_by_loss(
    terms: dict[str, float], step: int, images: list[dict[str, Any]], model: nn.Module, trainer: Trainer | None
) -> ValueError:
    """The error of a loss that is not finite: which, when, where, what to do and what to go on from.

    Args:
        terms: Loss terms that are not finite, by name.
        step: The training step.
        images: What is known of each image of the batch: `image`, the file, and `camera` and `frame` or not.
        model: The model; parameters that are not finite were broken by an earlier step, which is said then.
        trainer: The trainer, which knows where checkpoints lie.

    Returns:
        The error, to be raised.
    """
    named = " and ".join(f"{name} is {value}" for name, value in terms.items())
    shown = ", ".join(_described(image) for image in images[:MAX_IMAGES_NAMED]) or "an unknown image"
    more = f" and {len(images) - MAX_IMAGES_NAMED} more" if len(images) > MAX_IMAGES_NAMED else ""
    broken = not_finite_parameters(model)
    cause = ""
    if broken:
        cause = f" The weights {_listed(broken)} were not finite any more: an earlier step broke them."
    return ValueError(
        f"Training stopped at step {step}: {named}, expected finite losses; the batch shows {shown}{more}.{cause} "
        f"Look at that image, its mask and its pose, or lower the learning rates "
        f"(--optimizers.<group>.optimizer.lr). {_way_on(trainer)}"
    )


def refused_checkpoint(broken: list[str], trainer: Trainer | None) -> ValueError:
    """The error of weights that are not finite when they are about to be saved.

    Args:
        broken: Names of the parameters that are not finite.
        trainer: The trainer, which knows the step and where checkpoints lie.

    Returns:
        The error, to be raised.
    """
    step = "" if trainer is None else f" of step {trainer.step}"
    return ValueError(
        f"The weights {_listed(broken)}{step} are not finite, so no checkpoint was saved of them: the optimizer's "
        f"last steps broke them. Lower the learning rates (--optimizers.<group>.optimizer.lr). {_way_on(trainer)}"
    )


def _described(image: dict[str, Any]) -> str:
    known = ", ".join(f"{key} {image[key]}" for key in ("camera", "frame") if key in image)
    return f"{image['image']} ({known})" if known else str(image["image"])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_IMAGES_NAMED} more" if len(names) > MAX_IMAGES_NAMED else ""
    return ", ".join(names[:MAX_IMAGES_NAMED]) + more


def _way_on(trainer: Trainer | None) -> str:
    """What to go on from. nerfstudio restores the old rates with the old schedule, hence the last option."""
    folder: Path | None = None if trainer is None else trainer.checkpoint_dir
    saved = [] if folder is None else sorted(folder.glob("step-*.ckpt"))
    if not saved:
        return "No checkpoint was saved yet: start again."
    return (
        f"The last checkpoint, whose weights are finite, is {saved[-1]}: go on from it with --load-dir {folder}, "
        "and with --load-scheduler False where you change learning rates."
    )
