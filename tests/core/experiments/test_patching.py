"""Replacing neurons inside the running network: against hooks written by hand, on every backbone family."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig, TextConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.detector.text import text_directions
from lake_core.errors import BackboneError, ConfigError
from lake_core.experiments.neuron_sets import all_selected
from lake_core.experiments.patching import (
    Source,
    activation_patching,
    causal_ablation,
    evidence_sources,
    max_scoring_patches,
)
from lake_core.experiments.replacing import Targets
from lake_core.sentences import sentence
from lake_core.types import HookPoint
from tests.core.experiments.interventions import NO_DRAWS, early
from tests.core.method import N_NORMALS, agree, naive, site_of
from tests.core.tiny import OpenTiny, Tiny

TOKENS = ("native-vit", "siglip", "eva02", "perception-encoder", "mobileclip-b", "timm-vit")


@pytest.fixture
def lake(tiny: Tiny, causal_lakes: Callable[..., Lake]) -> Lake:
    return causal_lakes(tiny.backbone)


def as_held(backbone: Backbone, name: str, hook_point: HookPoint, raw: Tensor) -> Tensor:
    """(rows, cols, neurons) view of one image's patch tokens, told by the shape of the tensor alone."""
    n_of: dict[Any, int] = dict(backbone.layer(hook_point.layer).n_neurons)
    grid, n_neurons = backbone.grid(hook_point), n_of[hook_point.site]
    one = raw[0]
    if name.startswith(TOKENS):
        return one[-grid.n_patches :].unflatten(0, (grid.rows, grid.cols))
    return one if one.shape[-1] == n_neurons and one.shape[0] != n_neurons else one.permute(1, 2, 0)


@contextmanager
def by_hand(backbone: Backbone, name: str, hook_point: HookPoint, write: Callable[[Tensor], None]) -> Iterator[None]:
    """Hooks of the test's own that write into the patch tokens at a place."""
    hook = backbone.adapter.hooks()[hook_point]

    def written(raw: Tensor) -> Tensor:
        changed = raw.clone()
        write(as_held(backbone, name, hook_point, changed))
        return changed

    if hook.takes == "input":
        handle = hook.module.register_forward_pre_hook(lambda _m, inputs: (written(inputs[0]), *inputs[1:]))
    else:
        handle = hook.module.register_forward_hook(
            lambda _m, _i, out: (written(out[0]), *out[1:]) if isinstance(out, tuple) else written(out)
        )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def without_outgoing_weights(backbone: Backbone, hook_point: HookPoint, neuron: int) -> Iterator[None]:
    """While it lasts, nothing that comes after the neuron reads it."""
    visual = backbone.adapter.visual
    weights: list[Any]
    if hook_point.site == "mlp_hidden":
        weights = [backbone.adapter.hooks()[hook_point].module.weight]
    elif hasattr(visual, "attnpool"):
        weights = [getattr(visual.attnpool, name).weight for name in ("q_proj", "k_proj", "v_proj")]
    elif hasattr(visual.head, "pool"):
        weights = [visual.head.pool.qkv.weight]
    else:
        weights = [visual.head.proj.weight]
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight[:, neuron] = 0
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def mean_over_normals(lake: Lake, hook_point: HookPoint, normals: list[InputImage]) -> np.ndarray:
    """(n_neurons,) float64; images fill the input here."""
    return np.stack([lake.store.get(normal, hook_point).double().numpy() for normal in normals]).mean((0, 1))


# Against hooks written by hand ---------------------------------------------------------------------------------------


def test_mean_ablation_is_what_a_hook_written_by_hand_does(
    tiny: Tiny, lake: Lake, noise_images: list[InputImage]
) -> None:
    backbone, image, layer = tiny.backbone, noise_images[5], early(lake)
    hook_point = backbone.hook_point(layer, lake.config.site)
    neurons, patches = sorted(lake.selection_[layer].neurons[:3].tolist()), [1, 2]
    found = causal_ablation(lake, image, Targets({layer: neurons}, {layer: patches}), draws=NO_DRAWS)
    means, cols = mean_over_normals(lake, hook_point, noise_images[:N_NORMALS]), backbone.grid(hook_point).cols

    def write(patches_rcu: Tensor) -> None:
        for patch in patches:
            for neuron in neurons:
                patches_rcu[patch // cols, patch % cols, neuron] = float(means[neuron])

    pixels = backbone.prepare(image)[None]
    plain = {key: value[0] for key, value in backbone.forward(pixels, backbone.hook_points).items()}
    with by_hand(backbone, tiny.name, hook_point, write):
        # The backbone's own hooks see this place before the test's, so it is written into what they collected.
        expected = {key: value[0] for key, value in backbone.forward(pixels, backbone.hook_points).items()}
    expected[hook_point] = expected[hook_point].clone()
    for patch in patches:
        expected[hook_point][patch, neurons] = torch.from_numpy(means[neurons]).float()
    by_method = naive(lake, noise_images[:N_NORMALS], image, seen=expected)
    assert found.after.score == pytest.approx(by_method.score, rel=5e-4)
    agree(found.after.map.reshape(-1), by_method.fused)
    untouched = naive(lake, noise_images[:N_NORMALS], image)
    assert found.change == pytest.approx(by_method.score - untouched.score, rel=1e-2, abs=2e-5)
    assert abs(found.change) > 1e-4
    assert np.abs(by_method.fused - untouched.fused).max() > 1e-3
    directions = text_directions(backbone.encode_text, lake.config.part(TextConfig))
    axis = (directions.anomalous - directions.normal).double()
    before, after = (float(acts[backbone.image_hook_point][0].double() @ axis) for acts in (plain, expected))
    assert (found.text_before, found.text_after) == pytest.approx((before, after), abs=1e-5)
    assert found.text_change == pytest.approx(after - before, rel=1e-2, abs=1e-6)
    assert [one.layer for one in found.layers] == list(range(layer, len(backbone.layers) + 1))
    for one in found.layers[1:]:
        output = HookPoint(one.layer, "residual_channel")
        change = (expected[output] - plain[output]).double().norm()
        assert one.relative == pytest.approx(float(change / plain[output].double().norm()), rel=1e-3, abs=1e-6)
        grid = backbone.grid(output)
        each = (expected[output] - plain[output]).norm(dim=1) / plain[output].norm(dim=1).mean()
        np.testing.assert_allclose(one.map, each.reshape(grid.rows, grid.cols), rtol=1e-3, atol=1e-5)
    assert found.layers[-1].relative > 1e-4
    assert abs(found.text_change) > 3e-6
    assert found.before.score == pytest.approx(lake.explain(image).score, rel=1e-4)


@pytest.mark.parametrize("name", ["native-vit", "siglip"])
def test_a_blocks_output_changes_by_the_neurons_outgoing_weights(
    open_tiny: OpenTiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage], name: str
) -> None:
    """mlp_out = sum_u a_u W_u + b, so the output of the block moves by (mean - a_u) W_u."""
    backbone = open_tiny(name)
    lake, neuron, hook_point = causal_lakes(backbone), 7, HookPoint(1, "mlp_hidden")
    found = causal_ablation(lake, noise_images[6], Targets({1: [neuron]}), draws=NO_DRAWS).layers[0]
    module: Any = backbone.adapter.hooks()[hook_point].module
    down = module.weight[:, neuron].detach().double()
    acts = lake.store.get(noise_images[6], hook_point).double()[:, neuron]
    mean = float(mean_over_normals(lake, hook_point, noise_images[:N_NORMALS])[neuron])
    output = lake.store.get(noise_images[6], HookPoint(1, "residual_channel")).double()
    expected = (mean - acts).norm() * down.norm() / output.norm()
    assert found.relative == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_allclose(
        found.map.reshape(-1), (mean - acts).abs() * down.norm() / output.norm(dim=1).mean(), rtol=1e-3
    )


# What must and must not change ---------------------------------------------------------------------------------------


def test_a_neuron_that_nothing_reads_changes_nothing(
    tiny: Tiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage]
) -> None:
    backbone = tiny.backbone
    site = site_of(backbone, "mlp_hidden")
    # Not the last one of a ViT: its patch tokens do not reach the whole image any more.
    layer = backbone.layers_with(site)[-2 if site == "mlp_hidden" else -1]
    # The score looks at another layer, or it would see the neuron itself.
    lake = causal_lakes(backbone, layers=backbone.layers_with(site)[-1 if site == "mlp_hidden" else 0 :][:1])
    neuron = int(lake.store.get(noise_images[5], HookPoint(layer, site)).std(0).argmax())
    connected = causal_ablation(lake, noise_images[5], Targets({layer: [neuron]}), draws=NO_DRAWS)
    assert abs(connected.text_change) > 1e-6
    with without_outgoing_weights(backbone, HookPoint(layer, site), neuron):
        loose = causal_ablation(lake, noise_images[5], Targets({layer: [neuron]}), draws=NO_DRAWS)
    assert loose.text_change == 0
    assert loose.change == 0
    assert [one.layer for one in loose.layers] == list(range(layer, len(backbone.layers) + 1))
    if site == "mlp_hidden":
        assert [one.relative for one in loose.layers] == [0] * len(loose.layers)
        assert all(not np.nan_to_num(one.map).any() for one in loose.layers)
    assert (
        causal_ablation(lake, noise_images[5], Targets({layer: [neuron]}), draws=NO_DRAWS).text_change
        == connected.text_change
    )


def test_a_patch_that_gets_its_own_values_stays(lake: Lake, noise_images: list[InputImage]) -> None:
    layer, image = early(lake), noise_images[5]
    own = Source(image, 2)
    neurons = {layer: range(lake.backbone.layer(layer).n_neurons[lake.config.site])}
    found = activation_patching(lake, image, Targets(neurons, {layer: [2]}), {layer: own}, draws=NO_DRAWS)
    assert found.change == pytest.approx(0, abs=1e-4)
    assert found.text_change == pytest.approx(0, abs=1e-6)
    assert max(one.relative for one in found.layers) < 1e-5
    other = activation_patching(
        lake, image, Targets(neurons, {layer: [2]}), {layer: Source(noise_images[0], 2)}, draws=NO_DRAWS
    )
    assert min(one.relative for one in other.layers) > 1e-3


def test_a_patched_patch_has_the_values_of_its_source(open_tiny: OpenTiny) -> None:
    """A whole patch of a layer replaced by its evidence, over all neurons, has distance 0 where nothing is smoothed."""
    rng = np.random.default_rng(1)
    images = [read_image(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(4)]
    backbone = open_tiny("native-vit")
    lake = Lake(backbone, LakeConfig(layers=(2,), site="mlp_hidden", smooth=1, top_k=20, fusion_weight=0.0)).fit(
        images[:3]
    )
    result = lake.explain(images[3])
    found = activation_patching(
        lake,
        images[3],
        Targets(all_selected(lake), max_scoring_patches(result)),
        evidence_sources(lake, result),
        draws=NO_DRAWS,
    )
    assert found.after.patch_scores.layers[0].distance[result.patch] == pytest.approx(0, abs=1e-6)
    others = np.arange(25) != result.patch
    before, after = found.before.patch_scores.layers[0].distance, found.after.patch_scores.layers[0].distance
    np.testing.assert_allclose(after[others], before[others], rtol=1e-4, atol=1e-6)
    assert found.change < 0
    changed = np.flatnonzero(found.layers[0].map.reshape(-1) > 1e-5)
    assert changed.tolist() == [result.patch]


def test_with_all_selected_neurons_at_their_mean_no_patch_differs_from_another(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    found = causal_ablation(lake, noise_images[5], Targets(all_selected(lake)), draws=NO_DRAWS)
    assert np.nanstd(found.before.visual_map) > 1e-2
    assert np.nanmax(found.after.visual_map) - np.nanmin(found.after.visual_map) < 1e-4
    assert not found.score_rank.n_draws
    assert sentence(found.finding).startswith("There are too few other neurons of the same layer")


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(
    open_tiny: OpenTiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage]
) -> None:
    lake = causal_lakes(open_tiny("native-vit"))
    image = noise_images[5]
    with pytest.raises(BackboneError, match="has no mlp_hidden neuron 128; choose 0 to 127"):
        causal_ablation(lake, image, Targets({2: [128]}))
    with pytest.raises(BackboneError, match="has no patch 25; choose 0 to 24 \\(5 x 5\\)"):
        causal_ablation(lake, image, Targets({2: [0]}, {2: [25]}))
    with pytest.raises(BackboneError, match="has no layer 9"):
        causal_ablation(lake, image, Targets({9: [0]}))
    with pytest.raises(ConfigError, match="choose at least one"):
        causal_ablation(lake, image, Targets({2: []}))
    with pytest.raises(ConfigError, match="Layer 2 has no source"):
        activation_patching(lake, image, Targets({2: [0]}), {1: Source(image, 0)})
    with pytest.raises(BackboneError, match="has no patch 99"):
        activation_patching(lake, image, Targets({2: [0]}), {2: Source(image, 99)})
