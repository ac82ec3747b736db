"""Sections 1 to 5 of the method written again from scratch in double precision, and the cases it is compared in."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import finest
from lake_core.types import HookPoint, Site

N_NORMALS = 3

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "channel, neuron, letterbox": ("letterbox", {"site": "residual_channel", "top_k": 9}),
    "hidden, none, top 5": (
        "squash",
        {"site": "mlp_hidden", "normalise": "none", "smooth": 1, "top_q": 5, "top_k": 7, "fusion_weight": 1.0},
    ),
    "hidden, text off": (
        "squash",
        {"site": "mlp_hidden", "fusion_weight": 0.0, "smooth": 3, "normalise": "unit", "top_k": 1000},
    ),
    "channel, none, smooth 5": (
        "letterbox",
        {
            "site": "residual_channel",
            "normalise": "none",
            "smooth": 5,
            "calibration_quantile": 0.8,
            "object_name": "metal plate",
        },
    ),
}


def layers_of(backbone: Backbone, site: Site, finest: int) -> tuple[int, ...]:
    """The layers that have the activation site, on grids of at most `finest` patches a side."""
    return tuple(i for i in backbone.layers_with(site) if backbone.layer(i).grid.rows <= finest)


def site_of(backbone: Backbone, site: Site) -> Site:
    return site if backbone.layers_with(site) else "residual_channel"


def brute(patches: np.ndarray, bank: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """(n,) float64: squared distance to the nearest allowed memory bank patch, pair by pair."""
    distances = ((patches[:, None].astype(np.float64) - bank[None].astype(np.float64)) ** 2).sum(2)
    if allowed is not None:
        distances[~allowed] = np.inf
    return distances.min(1)


def naive_subspace(acts: np.ndarray, neurons: np.ndarray, grid: PatchGrid, smooth: int, normalise: str) -> np.ndarray:
    """(images, patches, k) float64, patch by patch."""
    maps = acts[:, :, neurons].astype(np.float64).reshape(len(acts), grid.rows, grid.cols, len(neurons))
    result, reach = np.zeros_like(maps), smooth // 2
    for row, col in product(range(grid.rows), range(grid.cols)):
        around = maps[:, max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]
        result[:, row, col] = around.mean((1, 2))
    if normalise == "unit":
        length = np.linalg.norm(result, axis=3, keepdims=True)
        result = np.divide(result, length, out=np.zeros_like(result), where=length > 0)
    return result.reshape(len(acts), grid.n_patches, len(neurons))


@dataclass
class Naive:
    """What the method gives for one image, all float64, maps flattened on the finest grid."""

    visual: np.ndarray
    text_part: np.ndarray | None
    fused: np.ndarray
    inside: np.ndarray
    score: float
    winners: list[int]
    shares: dict[int, dict[tuple[int, int], float]]
    """Patch -> (layer, neuron) -> contribution before the weight."""


def lies_inside(grid: PatchGrid, backbone: Backbone, image: InputImage) -> np.ndarray:
    """(n_patches,) bool, for images that are wider than high in a square input."""
    if backbone.resize == "squash":
        return np.ones(grid.n_patches, bool)
    side = backbone.input_size[0]
    height = round(image.height * side / image.width)
    top = (side - height) // 2
    centres = (np.arange(grid.rows) + 0.5) * grid.covered_height / grid.rows
    return np.repeat((centres >= top) & (centres < top + height), grid.cols)


def under(fine: PatchGrid, coarse: PatchGrid) -> np.ndarray:
    """For each fine patch the coarse patch under its centre."""
    found = []
    for row, col in product(range(fine.rows), range(fine.cols)):
        y, x = (row + 0.5) * fine.covered_height / fine.rows, (col + 0.5) * fine.covered_width / fine.cols
        found.append(
            int(y * coarse.rows / coarse.covered_height) * coarse.cols + int(x * coarse.cols / coarse.covered_width)
        )
    return np.array(found)


def naive(
    lake: Lake,
    normals: list[InputImage],
    image: InputImage,
    off: dict[int, list[int]] | None = None,
    seen: Mapping[HookPoint, Tensor] | None = None,
) -> Naive:
    """Sections 1 to 5, from the raw activations of the store and the prompts alone.

    Neurons in `off` are taken out of the selection; a layer without any has no distance to anything. `seen` has other
    activations (n_patches, n_neurons) of the image than the store's.
    """
    config, backbone, store = lake.config, lake.backbone, lake.store
    per_layer = []
    for number in config.layers:
        hook_point, grid = backbone.hook_point(number, config.site), backbone.layer(number).grid
        acts = np.stack([store.get(normal, hook_point).double().numpy() for normal in normals])
        test = (store.get(image, hook_point) if seen is None else seen[hook_point]).double().numpy()[None]
        inside = np.stack([lies_inside(grid, backbone, normal) for normal in normals])
        neurons = np.argsort(-acts[inside].var(0, ddof=1), kind="stable")[: config.top_k]
        neurons = np.array([neuron for neuron in neurons if neuron not in (off or {}).get(number, [])], int)
        if not len(neurons):
            nothing = np.zeros(grid.n_patches)
            per_layer.append((number, grid, neurons, 1.0, nothing, nothing[:, None][:, :0]))
            continue
        vectors = naive_subspace(acts, neurons, grid, config.smooth, config.normalise)
        probe = naive_subspace(test, neurons, grid, config.smooth, config.normalise)[0]
        own = []
        for i in range(len(normals)):
            others = np.concatenate([vectors[j][inside[j]] for j in range(len(normals)) if j != i])
            own.append(brute(vectors[i], others)[inside[i]])
        tau = np.quantile(np.concatenate(own), config.calibration_quantile)
        bank = vectors[inside]
        pairs = ((probe[:, None] - bank[None]) ** 2).sum(2)
        per_layer.append((number, grid, neurons, tau, pairs.min(1), (probe - bank[pairs.argmin(1)]) ** 2))

    grid = max((entry[1] for entry in per_layer), key=lambda grid: grid.n_patches)
    inside = lies_inside(grid, backbone, image)
    visual = np.mean([distance[under(grid, own)] / tau for _, own, _, tau, distance, _ in per_layer], axis=0)
    shares: dict[int, dict[tuple[int, int], float]] = {}
    for patch in range(grid.n_patches):
        shares[patch] = {
            (number, int(neuron)): square / tau / len(per_layer)
            for number, own, neurons, tau, _, squares in per_layer
            for neuron, square in zip(neurons, squares[under(grid, own)[patch]], strict=True)
        }
    text_part = naive_text_map(lake, normals, image, grid, seen)
    weight = config.fusion_weight if text_part is not None else 0.0
    fused = (1 - weight) * visual + (weight * text_part if text_part is not None else 0)
    winners = sorted(np.flatnonzero(inside).tolist(), key=lambda p: -fused[p])[: config.top_q]
    return Naive(visual, text_part, fused, inside, float(np.mean(fused[winners])), winners, shares)


def naive_text_map(
    lake: Lake,
    normals: list[InputImage],
    image: InputImage,
    grid: PatchGrid,
    seen: Mapping[HookPoint, Tensor] | None = None,
) -> np.ndarray | None:
    backbone, config = lake.backbone, lake.config
    hook_point = backbone.joint_hook_point
    if hook_point is None:
        return None
    directions = {}
    for state, phrases in (("n", config.prompts.normal_states), ("a", config.prompts.anomalous_states)):
        texts = [t.format(phrase.format(config.object_name)) for phrase in phrases for t in config.prompts.templates]
        mean = backbone.encode_text(texts).double().numpy().mean(0)
        directions[state] = mean / np.linalg.norm(mean)

    def margin(joint: Tensor) -> np.ndarray:
        return joint.double().numpy() @ (directions["a"] - directions["n"])

    joint_grid = backbone.grid(hook_point)
    own = [(margin(lake.store.get(one, hook_point)), lies_inside(joint_grid, backbone, one)) for one in normals]
    on_image = [margins[inside] for margins, inside in own]
    m50, m99 = np.quantile(np.concatenate(on_image), [0.5, config.calibration_quantile])
    tested = margin(lake.store.get(image, hook_point) if seen is None else seen[hook_point])
    return np.maximum(0, (tested - m50) / (m99 - m50))[under(grid, joint_grid)]


def naive_normal_scores(lake: Lake, normals: list[InputImage], off: dict[int, list[int]]) -> list[float]:
    """The normal images' leave-one-out scores (sections 2 to 4), float64, without the neurons in `off`."""
    config, backbone = lake.config, lake.backbone
    grid = finest([backbone.layer(number).grid for number in config.layers])
    visual = np.zeros((len(normals), grid.n_patches))
    for number in config.layers:
        own, hook_point = backbone.layer(number).grid, backbone.hook_point(number, config.site)
        acts = np.stack([lake.store.get(normal, hook_point).double().numpy() for normal in normals])
        inside = np.stack([lies_inside(own, backbone, normal) for normal in normals])
        neurons = np.argsort(-acts[inside].var(0, ddof=1), kind="stable")[: config.top_k]
        neurons = np.array([neuron for neuron in neurons if neuron not in off.get(number, [])], int)
        if not len(neurons):
            continue
        vectors = naive_subspace(acts, neurons, own, config.smooth, config.normalise)
        found = np.stack(
            [
                brute(vectors[i], np.concatenate([vectors[j][inside[j]] for j in range(len(normals)) if j != i]))
                for i in range(len(normals))
            ]
        )
        tau = np.quantile(found[inside], config.calibration_quantile)
        visual += found[:, under(grid, own)] / tau / len(config.layers)
    scores = []
    for i, normal in enumerate(normals):
        # The text map of a normal image is its own; `naive` gives it beside a visual map that is not wanted.
        text_part = naive(lake, normals, normal).text_part
        fused = (
            visual[i]
            if text_part is None
            else (1 - config.fusion_weight) * visual[i] + config.fusion_weight * text_part
        )
        inside_i = lies_inside(grid, backbone, normal)
        scores.append(float(np.sort(fused[inside_i])[-min(config.top_q, inside_i.sum()) :].mean()))
    return scores


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=5e-4, atol=5e-4)


def total(contributions: pd.DataFrame) -> float:
    return float(contributions["contribution"].sum())
