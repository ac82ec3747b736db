"""A neuron's effect on the whole-image vector: from its weights, or by ablation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lake_core.backbones.adapters.native_vit import NativeViT
from lake_core.backbones.backbone import Backbone, Change
from lake_core.backbones.towers import Tail
from lake_core.data.images import InputImage
from lake_core.types import HookPoint, Progress, counted

_BATCH = 4


def writes_into_joint_space(backbone: Backbone) -> bool:
    """Whether the path from a neuron to the joint space is linear but for a norm's division, and known here."""
    adapter = backbone.adapter
    if not isinstance(adapter, NativeViT) or adapter.visual.attn_pool is not None or adapter.visual.proj is None:
        return False
    return isinstance(adapter.visual.ln_post, nn.LayerNorm)


def written_directions(backbone: Backbone, hook_point: HookPoint) -> Tensor | None:
    """What each neuron writes into the joint space by itself: its down-projection column, final norm and projection.

    The layer norm is taken as linear: centring and its weights, without the division, which changes no direction. What
    later layers do with it is left out.

    Returns:
        (n_neurons, joint) float32, or None where the path is not linear or not known here, so that only ablation can
        tell.
    """
    if not writes_into_joint_space(backbone):
        return None
    visual: Any = backbone.adapter.visual
    block: Any = backbone.adapter.blocks()[hook_point.layer - 1]
    with torch.no_grad():
        scale = getattr(block.ls_2, "gamma", None)
        if hook_point.site == "mlp_hidden":
            writes_nd = block.mlp.c_proj.weight.T.float()
            writes_nd = writes_nd if scale is None else writes_nd * scale.float()
        else:
            writes_nd = torch.eye(len(visual.ln_post.weight), device=visual.proj.device)
        centred = (writes_nd - writes_nd.mean(1, keepdim=True)) * visual.ln_post.weight.float()
        directions: Tensor = centred @ visual.proj.float()
        return directions.cpu()


def ablation_effects(
    backbone: Backbone,
    images: Sequence[InputImage],
    hook_point: HookPoint,
    neurons: Sequence[int],
    ceilings: np.ndarray,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """What each neuron's activity above its normal mean adds to the whole-image vector, measured in the running
    network.

    Where the neuron exceeds its normal mean it is set to that mean, at patch tokens only, and the rest of the network
    runs. (Patches below the mean stay: setting them too would cancel out, as deviations from a mean add up to
    nothing.) The effect is the whole-image vector less that of the ablated pass, averaged over images.

    Args:
        images: At least one.
        hook_point: A layer and activation site.
        neurons: Which neurons.
        ceilings: (n_neurons of the layer,) normal mean of each neuron.
        on_progress: Called with neurons done and in all; may raise to cancel.
    Returns:
        (len(neurons), joint) float32; all but zero where a neuron is never above its mean.
    """
    whole_image = backbone.image_hook_point
    pixels = torch.stack([backbone.prepare(image) for image in images])
    tail = Tail(backbone, hook_point.layer, pixels, _BATCH)
    whole = tail.forward({whole_image})[whole_image][:, 0]
    effects = np.zeros((len(neurons), backbone.joint_width), dtype=np.float32)
    for row, neuron in enumerate(counted(neurons, on_progress)):
        changes = {hook_point: clipped(int(neuron), float(ceilings[neuron]))}
        ablated = tail.forward({whole_image}, changes)[whole_image][:, 0]
        effects[row] = (whole - ablated).mean(0).numpy()
    return effects


def clipped(neuron: int, ceiling: float) -> Change:
    """The change that bounds one neuron from above at all patches."""

    def clip(maps: Tensor) -> None:
        maps[:, neuron].clamp_(max=ceiling)

    return clip
