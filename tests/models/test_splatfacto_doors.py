"""What nerfstudio's splat tools see of an avatar: still Gaussians in Splatfacto's own terms."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.models.splatfacto import RGB2SH, SplatfactoModel
from torch.testing import assert_close

from human_avatars.models.avatar_splat import AvatarSplatModel
from human_avatars.models.splatfacto_doors import SplatfactoDoors
from human_avatars.rasterization.gaussians import covariances_from

MakeModel = Callable[..., AvatarSplatModel]
WIDENING = 0.3 / 24.0**2
"""Variance, in square metres, that the dilation adds at the fixture's 24 pixels a metre."""


def _ply(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the numbers of each vertex, and the numbers."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    names = [line.split()[-1] for line in lines if line.startswith("property float")]
    assert len(names) == sum(line.startswith("property") for line in lines)
    return names, np.frombuffer(body, np.float32).reshape(-1, len(names))


@pytest.fixture(scope="module", params=[0, 1])
def model(request: pytest.FixtureRequest, make_splats: MakeModel) -> AvatarSplatModel:
    """A lit avatar, with and without harmonics."""
    model = make_splats(sh_degree=request.param, light_directions=16)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        model.rest_quats.normal_(generator=generator)
        model.log_scales.add_(torch.randn(800, 3, generator=generator))
        model.opacity_logits.normal_(generator=generator)
    return model


def test_tools_know_it_as_splats(model: AvatarSplatModel) -> None:
    assert isinstance(model, SplatfactoModel)
    assert model.num_points == 800


@torch.no_grad()
def test_axes_rebuild_the_widened_covariances(model: AvatarSplatModel) -> None:
    posed = model.posed_gaussians(0, None)
    assert_close(model.means, posed.means)
    assert_close(model.quats.norm(dim=-1), torch.ones(800))
    rebuilt = covariances_from(model.scales.double().exp(), model.quats.double())
    widened = posed.covariances.double() + WIDENING * torch.eye(3, dtype=torch.float64)
    assert_close(rebuilt, widened, atol=1e-6 * float(widened.abs().max()), rtol=1e-4)


@torch.no_grad()
def test_colours_and_opacities_are_in_splatfactos_terms(model: AvatarSplatModel) -> None:
    posed = model.posed_gaussians(0, None)
    assert model.opacities.shape == (800, 1)
    assert_close(torch.sigmoid(model.opacities[:, 0]), posed.opacities, atol=1e-5, rtol=0)
    assert 0 <= model.colors.min() <= model.colors.max() <= 1
    assert_close(model.colors, posed.colors.clamp(0, 1))
    assert_close(model.shs_0, RGB2SH(model.colors))
    harmonics = (model.config.sh_degree + 1) ** 2 - 1
    assert_close(model.shs_rest, torch.zeros(800, harmonics, 3))


@torch.no_grad()
def test_opaque_and_flat_gaussians_stay_finite(make_splats: MakeModel) -> None:
    model = make_splats()
    model.opacity_logits[0], model.opacity_logits[1] = 1e4, -1e4
    model.log_scales[0] = -100.0
    model.pixels_per_metre.fill_(1e12)
    for tensor in (model.opacities, model.scales, model.quats):
        assert tensor.isfinite().all()


def test_nothing_is_densified(model: AvatarSplatModel) -> None:
    attributes = TrainingCallbackAttributes(None, None, None, None)
    assert SplatfactoDoors.get_training_callbacks(model, attributes) == []


def test_the_exporter_writes_the_still_person(
    model: AvatarSplatModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.scripts import exporter

    pipeline: Any = SimpleNamespace(model=model)
    monkeypatch.setattr(exporter, "eval_setup", lambda *args, **options: (None, pipeline, None, None))
    exporter.ExportGaussianSplat(load_config=Path("config.yml"), output_dir=tmp_path / "export").main()
    names, numbers = _ply(tmp_path / "export" / "splat.ply")
    assert len(numbers) == 800

    def columns(*wanted: str) -> torch.Tensor:
        return torch.from_numpy(numbers[:, [names.index(name) for name in wanted]].copy())

    assert_close(columns("x", "y", "z"), model.means.detach())
    assert_close(columns("f_dc_0", "f_dc_1", "f_dc_2"), model.shs_0.detach())
    assert_close(columns("opacity"), model.opacities.detach())
    assert_close(columns("scale_0", "scale_1", "scale_2"), model.scales.detach())
    assert_close(columns("rot_0", "rot_1", "rot_2", "rot_3"), model.quats.detach())
    assert sum(name.startswith("f_rest") for name in names) == (0 if model.config.sh_degree == 0 else 9)
