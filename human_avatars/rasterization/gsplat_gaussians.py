"""The CUDA rasteriser: gsplat, called so that its pictures mean what ours do."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.rasterization.gaussians import NEAR_PLANE, Gaussians, PinholeCamera, Rendering

OTHERWISE = "Without it, run on the CPU: pass --machine.device-type cpu to ns-train, or move the Gaussians to the CPU."


def rasterize_on_cuda(
    gaussians: Gaussians, camera: PinholeCamera, background: Float[Tensor, " channels"], dilation: float
) -> Rendering:
    """`gaussians.rasterize` for float32 tensors on CUDA.

    gsplat has no compiled package for most systems: the first call on a machine compiles it, for minutes.

    Raises:
        RuntimeError: gsplat is missing or cannot be compiled.
    """
    means, colors = gaussians.means, gaussians.colors
    shape = (camera.height, camera.width)
    if len(means) == 0:
        empty = means.new_zeros(*shape, 1)
        return Rendering(background.expand(*shape, -1), empty, empty)
    rasterization = _load_gsplat()
    drawn, alpha, _ = rasterization(
        means=means,
        quats=None,
        scales=None,
        # Symmetric, since gsplat reads the upper triangle and would give the lower one no gradient.
        covars=0.5 * (gaussians.covariances + gaussians.covariances.transpose(-1, -2)),
        opacities=gaussians.opacities,
        colors=colors,
        viewmats=camera.world_to_camera.detach().to(means)[None],
        Ks=camera.intrinsics.detach().to(means)[None],
        width=camera.width,
        height=camera.height,
        near_plane=NEAR_PLANE,
        eps2d=dilation,
        sh_degree=None,
        packed=False,
        backgrounds=background[None],
        render_mode="RGB+D",
    )
    drawn, alpha = drawn[0], alpha[0]
    hit = alpha > 0
    depth = torch.where(hit, drawn[..., -1:] / torch.where(hit, alpha, torch.ones_like(alpha)), torch.zeros_like(alpha))
    # gsplat leaves a Gaussian with NaNs out; zero times their sum makes the fault visible, and waits for nothing.
    fault = 0 * torch.stack([part.detach().sum() for part in (means, gaussians.covariances, gaussians.opacities)]).sum()
    return Rendering(drawn[..., :-1] + fault, alpha + fault, depth + fault)


def _load_gsplat() -> Callable[..., tuple[Tensor, Tensor, dict[str, Any]]]:
    """gsplat's entry point, compiled if need be."""
    try:
        from gsplat.cuda import _backend
        from gsplat.rendering import rasterization
    except ImportError as error:
        raise RuntimeError(
            f"Drawing Gaussians on CUDA needs gsplat, which cannot be imported ({error}). Install it with "
            f"`pip install gsplat==1.4.0`; the first picture then compiles it, for some minutes. {OTHERWISE}"
        ) from error
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"Drawing Gaussians on CUDA needs gsplat, which failed to compile: {error}\nCompiling takes minutes, once. "
            f"Check that the CUDA toolkit fits torch's CUDA {torch.version.cuda}, and that TORCH_CUDA_ARCH_LIST, where "
            f"set, names this card's architecture. {OTHERWISE}"
        ) from error
    if _backend._C is None:
        raise RuntimeError(
            "Drawing Gaussians on CUDA needs gsplat, which compiles itself at first use, for some minutes, and found "
            f"no CUDA compiler. Install the CUDA toolkit {torch.version.cuda}, with nvcc on the PATH. {OTHERWISE}"
        )
    return rasterization
