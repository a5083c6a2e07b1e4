"""Texture layouts from .obj files, on a square of two triangles."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.obj_layout import read_obj_layout, surface_map_from_obj

SQUARE = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 3, 0], [0, 3, 0]])
VERTICES = "v 9 9 9\nv 8 8 8\nv 7 7 7\nv 6 6 6\n"
UVS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


@pytest.fixture
def square() -> BodyModel:
    return BodyModel(
        name="square",
        rest_template=SQUARE,
        faces=torch.tensor([[0, 1, 2], [2, 3, 0]]),
        skinning_weights=torch.ones(4, 1),
        joint_regressor=torch.full((1, 4), 0.25),
        shape_directions=torch.zeros(4, 3, 1),
        pose_directions=None,
        parents=(-1,),
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "layout.obj"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "faces",
    [
        "f 1/1 2/2 3/3\nf 3/3 4/4 1/1\n",
        "# other orders, normals, numbers from the end\nvn 0 0 1\nf 4/4/1 1/1/1 3/3/1\nf -3/-3/1 -2/-2/1 -4/-4/1\n",
    ],
)
def test_texels_lie_where_the_layout_shows_them(tmp_path: Path, square: BodyModel, faces: str) -> None:
    surface_map = surface_map_from_obj(write(tmp_path, VERTICES + UVS + faces), square, 8)
    assert surface_map.mask.all()
    positions = surface_map.scatter(surface_map.points().interpolate(SQUARE))
    centres = (torch.arange(8) + 0.5) / 8
    assert_close(positions[0], (2 * centres).expand(8, 8))
    # The first row is the top, v = 1.
    assert_close(positions[1], (3 * (1 - centres))[:, None].expand(8, 8))


def test_a_corner_may_have_other_texture_coordinates_in_each_triangle(tmp_path: Path, square: BodyModel) -> None:
    # Two charts beside each other, one for each triangle.
    uvs = "vt 0 0\nvt 0.4 0\nvt 0.4 1\nvt 1 1\nvt 0.6 1\nvt 0.6 0\n"
    path = write(tmp_path, VERTICES + uvs + "f 1/1 2/2 3/3\nf 3/4 4/5 1/6\n")
    surface_map = surface_map_from_obj(path, square, 10)
    columns = surface_map.mask.nonzero()[:, 1]
    assert ((columns < 4) == (surface_map.triangles == 0)).all()
    assert surface_map.triangles.unique().tolist() == [0, 1]
    assert read_obj_layout(path).uv_faces.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 faces and 0 texture coordinates"),
        (VERTICES + "f 1 2 3\nf 3 4 1\n", r"line 5: found 'f 1 2 3', expected .*export the mesh with UVs"),
        (VERTICES + UVS + "f 1//1 2//2 3//3\n", "line 9.*export the mesh with UVs"),
        (VERTICES + "vt 0.5\n", "line 5: found 'vt 0.5'"),
        (VERTICES + UVS + "f 1/1 2/2 3/3 4/4\n", "line 9: found a polygon of 4 corners.*triangulate"),
        (VERTICES + UVS + "f 1/1 2/2 3/3\n", "has 1 triangles, expected the 2 of square.*same body model"),
        (VERTICES + UVS + "f 1/1 2/2 3/3\nf 3/3 4/4 2/2\n", "1 of its 2 triangles join other vertices.*order"),
        (VERTICES + UVS + "f 1/1 2/2 3/3\nf 3/3 4/5 1/1\n", "not there: the file is cut off"),
        (VERTICES + UVS + "f 1/1 2/2 3/3\nf 3/1 4/2 1/3\n", "take up 100% of the texture but show on 50%"),
        (VERTICES + UVS.replace("1", "3") + "f 1/1 2/2 3/3\nf 3/3 4/4 1/1\n", "900%.*beyond the texture"),
        (VERTICES + UVS.replace("1", "nan") + "f 1/1 2/2 3/3\nf 3/3 4/4 1/1\n", "nan%"),
    ],
)
def test_files_that_do_not_suit_are_refused(tmp_path: Path, square: BodyModel, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"layout\.obj.*{message}"):
        surface_map_from_obj(write(tmp_path, text), square, 8)


def test_a_missing_file_is_named(tmp_path: Path, square: BodyModel) -> None:
    with pytest.raises(ValueError, match=r"none\.obj does not exist"):
        surface_map_from_obj(tmp_path / "none.obj", square, 8)
