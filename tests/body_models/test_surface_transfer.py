"""Which surface map a body gets, how well the open body's is carried over, and how it is cached."""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models import surface_transfer
from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.surface_map import SurfaceMap, load_packaged_surface_map
from human_avatars.body_models.surface_transfer import surface_map_of, transfer_surface_map

MakeStandIn = Callable[..., tuple[BodyModel, Tensor]]
SIZE = 64


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "human_avatars" / "surface_maps"


@pytest.fixture
def other_body(open_body: BodyModel) -> BodyModel:
    """Not the open body, but of its mesh, so that a transfer is cheap to stand in for."""
    return replace(open_body, name="other", rest_template=1.01 * open_body.rest_template)


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> list[BodyModel]:
    """The targets of all transfers, which give the source's map back."""
    targets: list[BodyModel] = []

    def transfer(surface_map: SurfaceMap, source: BodyModel, target: BodyModel) -> SurfaceMap:
        targets.append(target)
        return surface_map

    monkeypatch.setattr(surface_transfer, "transfer_surface_map", transfer)
    return targets


def assert_same(first: SurfaceMap, second: SurfaceMap) -> None:
    for field in fields(SurfaceMap):
        assert_close(getattr(first, field.name), getattr(second, field.name), rtol=0, atol=0)


def test_the_open_body_gets_its_packaged_map_by_what_it_is(
    open_body: BodyModel, cache: Path, transfers: list[BodyModel]
) -> None:
    renamed = replace(open_body, name="mine", skinning_weights=open_body.skinning_weights.clone())
    assert_same(surface_map_of(renamed, 128), load_packaged_surface_map(128, open_body.faces))
    assert not transfers
    assert not cache.exists()


@pytest.mark.parametrize("seed", range(2))
def test_a_transferred_map_shows_the_same_places(open_body: BodyModel, make_stand_in: MakeStandIn, seed: int) -> None:
    betas = torch.randn(open_body.num_betas, generator=torch.Generator().manual_seed(seed))
    target, truth = make_stand_in(betas, {16: (0.0, 0.0, -0.2), 17: (0.0, 0.0, 0.2)})
    surface_map = load_packaged_surface_map(128, open_body.faces)
    transferred = transfer_surface_map(surface_map, open_body, target)
    assert_close(transferred.mask, surface_map.mask)
    assert_close(transferred.corners, target.faces[transferred.triangles])
    places = transferred.points().interpolate(target.rest_template)
    errors = 1e3 * (places - surface_map.points().interpolate(truth)).norm(dim=-1)
    assert errors.median() < 7.0
    assert errors.quantile(0.95) < 25.0
    # The body parts are right nearly everywhere.
    parts = [
        points.interpolate(body.skinning_weights).argmax(-1)
        for points, body in ((surface_map.points(), open_body), (transferred.points(), target))
    ]
    assert (parts[0] == parts[1]).double().mean() > 0.9


def test_a_transfer_is_made_once(other_body: BodyModel, cache: Path, transfers: list[BodyModel]) -> None:
    first = surface_map_of(other_body, SIZE)
    assert_same(surface_map_of(replace(other_body, name="same arrays"), SIZE), first)
    assert len(transfers) == 1
    assert len(list(cache.iterdir())) == 1
    surface_map_of(other_body, SIZE // 2)
    surface_map_of(replace(other_body, rest_template=1.02 * other_body.rest_template), SIZE)
    surface_map_of(replace(other_body, faces=other_body.faces.roll(1, 0)), SIZE)
    assert len(transfers) == 4
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-100], lambda data: b"not a zip archive"])
def test_a_damaged_file_is_made_anew(
    other_body: BodyModel, cache: Path, transfers: list[BodyModel], damage: Callable[[bytes], bytes]
) -> None:
    first = surface_map_of(other_body, SIZE)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged .* made anew"):
        again = surface_map_of(other_body, SIZE)
    assert_same(first, again)
    assert path.read_bytes() == whole
    assert len(transfers) == 2


def test_a_file_with_one_flipped_byte_is_made_anew(
    other_body: BodyModel, cache: Path, transfers: list[BodyModel]
) -> None:
    first = surface_map_of(other_body, SIZE)
    (path,) = cache.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(first, surface_map_of(other_body, SIZE))


def test_a_cache_that_cannot_be_written_is_no_error(
    other_body: BodyModel, cache: Path, transfers: list[BodyModel]
) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be written"):
        surface_map = surface_map_of(other_body, SIZE)
    assert surface_map.size == SIZE


def test_the_cache_lies_at_home_unless_told_otherwise(
    other_body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transfers: list[BodyModel]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        surface_map_of(other_body, SIZE)
    assert len(list((tmp_path / ".cache" / "human_avatars" / "surface_maps").iterdir())) == 1
    assert len(transfers) == 1


def test_an_obj_file_decides(open_body: BodyModel, cache: Path, tmp_path: Path, transfers: list[BodyModel]) -> None:
    # Every triangle in a cell of its own: the lower left half of one of 118 x 118 squares.
    cells = torch.arange(len(open_body.faces))
    corners = torch.stack([cells % 118, cells // 118], dim=-1)[:, None] + torch.tensor([[0, 0], [1, 0], [0, 1]])
    lines = [f"vt {u} {v}" for u, v in (corners.flatten(0, 1) / 118).tolist()]
    lines = ["v 0 0 0"] * open_body.num_vertices + lines
    for number, face in enumerate((open_body.faces + 1).tolist()):
        lines.append("f " + " ".join(f"{vertex}/{3 * number + 1 + corner}" for corner, vertex in enumerate(face)))
    path = tmp_path / "mine.obj"
    path.write_text("\n".join(lines))
    surface_map = surface_map_of(open_body, 236, path)
    assert_close(surface_map.triangles.unique(), cells)
    assert not transfers
    assert not cache.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="expected the 13775 of the packaged open body"):
            surface_map_of(replace(open_body, faces=open_body.faces[1:]), SIZE, path)
