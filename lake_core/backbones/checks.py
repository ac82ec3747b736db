"""Whether an opened network does what its hooks, its tag and its files say; each check measures, on a real image.

What is expected comes from elsewhere than what is checked: from open_clip's registry or the model's files, from the
network's own forward pass, and from plain hooks on its modules.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.libraries import open_clip
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.backbones.stated import Stated, stated
from lake_core.data.images import InputImage
from lake_core.types import HookPoint

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the greatest value: float32 rounding through a whole network stays below."""


@dataclass(frozen=True)
class Check:
    """One check and what it measured.

    Attributes:
        name: What was checked.
        passed: None where the model has nothing of the kind.
        measured: In words, with the number.
    """

    name: str
    passed: bool | None
    measured: str


def network_checks(backbone: Backbone, image: InputImage) -> Iterator[Check]:
    """The checks of a network, one after the other; run on the CPU in fp32, where rounding is smallest.

    Args:
        backbone: As `open_backbone` gives it, its images squashed.
        image: Any real image.
    """
    said = stated(backbone.spec)
    pixels = backbone.prepare(image)[None]
    with torch.inference_mode():
        yield preprocessing(backbone, image, said)
        yield block_outputs(backbone, pixels)
        yield hidden_neurons(backbone, pixels)
        yield image_vector(backbone, pixels)
        yield activation_function(backbone, pixels, said)


def preprocessing(backbone: Backbone, image: InputImage, said: Stated) -> Check:
    """The model's input against open_clip's own preprocessing of the whole image with the values stated."""
    transform = open_clip.transform.image_transform(
        backbone.input_size,
        is_train=False,
        mean=said.mean,
        std=said.std,
        interpolation=said.interpolation,
        resize_mode="squash",
    )
    difference = float((backbone.prepare(image) - transform(Image.fromarray(image.rgb))).abs().max())
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (said.mean, said.std))
    return Check(
        "Preprocessing",
        difference <= TOLERANCE,
        f"input against open_clip's with {said.source}'s mean {mean}, deviation {std}, {said.interpolation}: largest "
        f"difference {difference:.2g}",
    )


def block_outputs(backbone: Backbone, pixels: Tensor) -> Check:
    """The residual channels of every layer against the network's own intermediates.

    Convolutional towers give fewer of these than they have blocks, about one a stage. There a block's output is
    compared with what the next block takes in, and at the end of a stage with the intermediates, each of which counts
    once and in its order.
    """
    hook_points = [HookPoint(layer.number, "residual_channel") for layer in backbone.layers]
    found = backbone.forward(pixels, hook_points)
    visual, blocks = backbone.adapter.visual, backbone.adapter.blocks()
    own = list(visual.forward_intermediates(pixels, output_fmt="NCHW")["image_intermediates"])
    gives_every_block = backbone.adapter.patch_size() is not None  # towers of tokens
    with _watching(blocks, "input") as taken:
        visual(pixels)
    differences = []
    for hook_point, following in zip(hook_points, [*blocks[1:], None], strict=True):
        grid, acts = backbone.layer(hook_point.layer).grid, found[hook_point]
        is_next = not gives_every_block and following in taken and _fits(taken[following], grid, acts)
        references = [taken[following]] if is_next else own[:1] if gives_every_block else own
        each = [_difference(acts, _rows(raw, grid, acts.shape[-1])) for raw in references] or [float("inf")]
        differences.append(min(each))
        if not is_next:
            own = own[each.index(min(each)) + 1 :]
    return _layers_check("Block outputs", "the network's own", hook_points, differences)


def hidden_neurons(backbone: Backbone, pixels: Tensor) -> Check:
    """The hidden neurons of every MLP, taken through its last projection, against what the MLP gives out."""
    name = "MLP neurons"
    mlps = {number: _mlp(block) for number, block in enumerate(backbone.adapter.blocks(), start=1)}
    having = {number: mlp for number, mlp in mlps.items() if mlp is not None}
    if backbone.layers_with("mlp_hidden") != tuple(having):
        return Check(name, False, f"hooks in layers {backbone.layers_with('mlp_hidden')}, MLPs in {tuple(having)}")
    if not having:
        return Check(name, None, "no block has an MLP")
    hook_points = [HookPoint(number, "mlp_hidden") for number in having]
    found = backbone.forward(pixels, hook_points)
    with _watching([mlp for mlp, _ in having.values()], "output") as given:
        backbone.adapter.visual(pixels)
    differences = []
    for hook_point, (mlp, down) in zip(hook_points, having.values(), strict=True):
        weight, acts = down.weight.flatten(1), found[hook_point]
        expected = _rows(given[mlp], backbone.layer(hook_point.layer).grid, len(weight))
        is_of_this_width = acts.shape[-1] == weight.shape[1]
        projected = acts @ weight.T + (0 if down.bias is None else down.bias) if is_of_this_width else None
        differences.append(float("inf") if projected is None else _difference(projected, expected))
    return _layers_check(name, "the MLP's output once projected", hook_points, differences)


def image_vector(backbone: Backbone, pixels: Tensor) -> Check:
    """The vector of the whole image against the image tower's own forward pass."""
    found = backbone.forward(pixels, [backbone.image_hook_point])[backbone.image_hook_point][:, 0]
    own = backbone.adapter.visual(pixels)
    own = F.normalize(own[0] if isinstance(own, tuple) else own, dim=1)
    difference = _difference(found, own)
    return Check(
        "Image vector",
        difference <= TOLERANCE,
        f"against the image tower's own forward pass: largest relative difference {difference:.2g}",
    )


def activation_function(backbone: Backbone, pixels: Tensor, said: Stated) -> Check:
    """What open_clip's own blocks make of their MLPs' inputs against the function stated, in both towers."""
    name, network = "Activation", backbone.network
    visual: Any = backbone.adapter.visual
    in_image = _native_mlps(visual)
    in_text = [mlp for mlp in _native_mlps(network) if mlp not in in_image]
    if not in_image and not in_text:
        return Check(name, None, "no block of open_clip's own, whose activation function a tag decides")
    network_any: Any = network
    before, after = [mlp.c_fc for mlp in in_image + in_text], [mlp.c_proj for mlp in in_image + in_text]
    with _watching(before, "output") as raw, _watching(after, "input") as active:
        visual(pixels)
        if in_text:
            network_any.encode_text(torch.ones(1, network_any.context_length, dtype=torch.long))
    worst = 0.0
    for mlp in in_image + in_text:
        approximate = said.image_approximate if mlp in in_image else said.text_approximate
        values = raw[mlp.c_fc]
        expected = (
            values * torch.sigmoid(1.702 * values) if said.quick_gelu else F.gelu(values, approximate=approximate)
        )
        worst = max(worst, _difference(active[mlp.c_proj], expected))
    function = "QuickGELU" if said.quick_gelu else "GELU"
    return Check(
        name,
        worst <= TOLERANCE,
        f"{len(in_image)} image and {len(in_text)} text blocks against {function}, as {said.source} says: largest "
        f"relative difference {worst:.2g}",
    )


def seconds_per_image(backbone: Backbone, image: InputImage, n_times: int = 5) -> float:
    """Median time that preparing an image and one forward pass of it take, with the recommended layers and the text."""
    recommended = backbone.recommended
    hook_points = {HookPoint(layer, recommended.site) for layer in recommended.layers} | backbone.text_hook_points
    taken = []
    for _ in range(n_times + 1):
        start = time.perf_counter()
        backbone.forward(backbone.prepare(image)[None], hook_points)
        taken.append(time.perf_counter() - start)
    return median(taken[1:])  # the first one also allocates


def _layers_check(name: str, against: str, hook_points: Sequence[HookPoint], differences: Sequence[float]) -> Check:
    wrong = [point.layer for point, value in zip(hook_points, differences, strict=True) if not value <= TOLERANCE]
    measured = f"{len(hook_points)} layers against {against}: largest relative difference {max(differences):.2g}"
    if wrong:
        measured += f", wrong in layers {', '.join(map(str, wrong))}"
    return Check(name, not wrong, measured)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the greatest value expected; infinite where there is nothing to compare.

    That is: where shapes differ, a number is not finite, or nothing but 0 is expected.
    """
    if found.shape != expected.shape or not bool(torch.isfinite(found).all() and expected.any()):
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


def _rows(raw: Tensor, grid: PatchGrid, width: int) -> Tensor:
    """(batch, patches, width) of tokens, of maps with channels first or last; finer maps are averaged to the grid."""
    if raw.ndim == 3:
        return raw[:, -grid.n_patches :]
    maps = raw if raw.shape[1] == width else raw.permute(0, 3, 1, 2)
    return F.adaptive_avg_pool2d(maps, (grid.rows, grid.cols)).flatten(2).transpose(1, 2)


def _fits(raw: Tensor, grid: PatchGrid, found: Tensor) -> bool:
    """Whether what the next block takes in can be this block's output: nothing in between made it another shape."""
    return raw.ndim == 4 and raw.shape[1] == found.shape[-1] and raw.shape[2] >= grid.rows


def _mlp(block: Any) -> tuple[nn.Module, Any] | None:
    """A block's MLP and its last projection; of an inverted residual its last convolution, which is both."""
    if hasattr(block, "conv_pwl"):
        return block.conv_pwl, block.conv_pwl
    projections = [one for one in getattr(block, "mlp", nn.Identity()).modules() if isinstance(one, _PROJECTIONS)]
    return (block.mlp, projections[-1]) if projections else None


_PROJECTIONS = (nn.Linear, nn.Conv2d)


def _native_mlps(module: nn.Module) -> list[Any]:
    """The MLPs of open_clip's own transformer blocks."""
    return [one for one in module.modules() if hasattr(one, "c_fc") and hasattr(one, "c_proj")]


@contextmanager
def _watching(modules: Sequence[Any], side: Literal["input", "output"]) -> Iterator[dict[Any, Tensor]]:
    """What modules take in or give out while it lasts, copied by plain hooks that are then removed.

    Yields:
        A dictionary that the hooks fill: module -> tensor.
    """
    seen: dict[Any, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensor = inputs[0] if side == "input" else output
        seen[module] = (tensor[0] if isinstance(tensor, tuple) else tensor).clone()

    def keep_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        keep(module, inputs, None)

    handles = [
        module.register_forward_pre_hook(keep_input) if side == "input" else module.register_forward_hook(keep)
        for module in modules
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
