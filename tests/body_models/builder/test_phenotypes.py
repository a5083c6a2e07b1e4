"""Adults drawn at random, and the shares of MakeHuman's targets in them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from human_avatars.body_models.builder import phenotypes
from human_avatars.body_models.builder.phenotypes import ANCHORS, anchor_shares, morph, sample_adults


def test_the_same_seed_draws_the_same_adults() -> None:
    first, second, other = sample_adults(20, seed=3), sample_adults(20, seed=3), sample_adults(20, seed=4)
    for name in ANCHORS:
        np.testing.assert_array_equal(first[name], second[name])
        assert not np.array_equal(first[name], other[name])


def test_adults_are_adults_and_the_first_is_average() -> None:
    adults = sample_adults()
    assert adults["age"].min() >= 0.55
    assert all((values >= 0).all() and (values <= 1).all() for values in adults.values())
    assert {name: values[0] for name, values in adults.items()} == {
        "gender": 0.5,
        "age": 0.667,
        "muscle": 0.55,
        "weight": 0.5,
        "height": 0.36,
        "proportions": 0.6,
    }


def test_shares_of_each_phenotype_sum_to_one() -> None:
    for shares in anchor_shares(sample_adults(50)).values():
        np.testing.assert_allclose(sum(shares.values()), 1.0)


def test_shares_by_hand() -> None:
    values = {name: np.array([0.5]) for name in ANCHORS} | {"age": np.array([0.75]), "weight": np.array([0.6])}
    shares = anchor_shares(values)
    # An age of 3/4 lies a quarter of the way from young (2/3) to old (1).
    assert {name: share.item() for name, share in shares["age"].items()} == pytest.approx(
        {"child": 0, "young": 0.75, "old": 0.25}
    )
    assert {name: share.item() for name, share in shares["weight"].items()} == pytest.approx(
        {"minweight": 0, "averageweight": 0.8, "maxweight": 0.2}
    )


def test_beyond_the_last_anchor_a_phenotype_is_clamped() -> None:
    values = {name: np.array([1.5]) for name in ANCHORS}
    assert anchor_shares(values)["height"]["maxheight"] == 1.0


def test_a_body_is_the_base_mesh_plus_its_shares_of_the_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phenotypes, "FAMILIES", {"height/{gender}-{height}": ("gender", "height")})
    folder = tmp_path / "targets/macrodetails/height"
    folder.mkdir(parents=True)
    offsets = {"male-minheight": 1, "male-maxheight": 2, "female-minheight": 4, "female-maxheight": 8}
    for name, offset in offsets.items():
        with gzip.open(folder / f"{name}.target.gz", "wt") as file:
            file.write(f"1 0 {offset} 0\n")
    values = {name: np.array([0.5, 0.0]) for name in ANCHORS} | {"height": np.array([0.25, 1.0])}
    base = np.ones((2, 3))
    bodies = morph(tmp_path, base, values)
    # Body 0, half male, half female, a quarter tall: 0.1 m * (1 * 3/8 + 2 * 1/8 + 4 * 3/8 + 8 * 1/8).
    # Body 1, a tall man: 0.1 m * 2.
    np.testing.assert_allclose(bodies[:, 0], 1.0)
    np.testing.assert_allclose(bodies[:, 1], [[1, 1.3125, 1], [1, 1.2, 1]])


def test_a_target_without_a_share_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phenotypes, "FAMILIES", {"{gender}": ("gender",)})
    folder = tmp_path / "targets/macrodetails"
    folder.mkdir(parents=True)
    with gzip.open(folder / "female.target.gz", "wt") as file:
        file.write("0 10 0 0\n")
    bodies = morph(tmp_path, np.zeros((1, 3)), {name: np.array([1.0]) for name in ANCHORS})
    np.testing.assert_allclose(bodies, [[[1, 0, 0]]])
