"""The comparison finds what differs between two bodies, and nothing where they are the same."""

from dataclasses import replace

import numpy as np
import torch

from human_avatars.body_models.builder.body_files import OpenBody
from human_avatars.body_models.builder.compare import Figure, compare_bodies
from human_avatars.body_models.builder.landmarks import LANDMARK_VERTICES
from human_avatars.body_models.surface_map import SurfaceMap


def _failed(figures: list[Figure]) -> set[str]:
    return {figure.name for figure in figures if not figure.within_tolerance}


def test_a_body_does_not_differ_from_itself(packaged: OpenBody) -> None:
    figures = compare_bodies(packaged, packaged)
    assert all(figure.within_tolerance for figure in figures)
    # Open3D's closest points are in float32.
    assert max(figure.value for figure in figures) < 1e-3


def test_a_dent_is_found(packaged: OpenBody) -> None:
    dented = packaged.arrays["v_template"].copy()
    dented[LANDMARK_VERTICES["nose"], 2] += 0.01
    failed = _failed(compare_bodies(replace(packaged, arrays=packaged.arrays | {"v_template": dented}), packaged))
    assert {"surface, mm", "vertices, mm"} <= failed


def test_other_weights_and_shapes_are_found(packaged: OpenBody) -> None:
    weights = packaged.arrays["weights"][::-1]
    shapes = np.roll(packaged.arrays["shapedirs"], 1, axis=0)
    other = replace(packaged, arrays=packaged.arrays | {"weights": weights, "shapedirs": shapes})
    assert {"skinning weights", "shape space, largest principal angle in degrees"} <= _failed(
        compare_bodies(other, packaged)
    )


def test_the_order_of_vertices_does_not_count(packaged: OpenBody) -> None:
    arrays, last = packaged.arrays, len(packaged.arrays["v_template"]) - 1
    order = np.arange(last + 1)
    order[[10, last]] = last, 10
    swapped = {name: arrays[name][order] for name in ("v_template", "weights", "shapedirs")}
    regressed = {"J_regressor_nz": np.stack([arrays["J_regressor_nz"][0], order[arrays["J_regressor_nz"][1]]])}
    faces = order[arrays["f"]]
    surface_maps = {
        size: SurfaceMap.from_arrays(surface_map.arrays(), torch.from_numpy(faces))
        for size, surface_map in packaged.surface_maps.items()
    }
    other = OpenBody(arrays | swapped | regressed | {"f": faces.astype(np.uint16)}, surface_maps)
    assert not _failed(compare_bodies(other, packaged))
