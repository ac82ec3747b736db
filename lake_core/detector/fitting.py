"""Learning from normal images: each layer's selection and memory bank, and the text part (docs/method.md, 1 to 3)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import FitConfig, ResolvedConfig, TextConfig
from lake_core.criteria import criteria
from lake_core.data.images import InputImage
from lake_core.detector.memory_bank import LearnedLayer, MemoryBank, finest, fit_layer, learn_layer
from lake_core.detector.search import Geometry
from lake_core.detector.selection import Selection, select
from lake_core.detector.text import TextCalibration, fit_text, text_directions
from lake_core.errors import LakeError
from lake_core.findings.fits import LayerLeftOut, TextLeftOut
from lake_core.types import HookPoint

Layer = TypeVar("Layer", bound=LearnedLayer)


def learned(store: FeatureStore, config: ResolvedConfig, images: Sequence[InputImage]) -> MemoryBank:
    """What normal images teach.

    Args:
        store: Holds their activations.
        config: Parameters of the method.
        images: At least one, each once.
    Raises:
        LakeError: if nothing in them varies.
    """
    hook_points = [store.backbone.hook_point(layer, config.site) for layer in config.layers]
    fitted = {hook_point.layer: _layer(store, config, images, hook_point, fit_layer) for hook_point in hook_points}
    layers = tuple(layer for layer in fitted.values() if layer is not None)
    if not layers:
        raise LakeError(_why_nothing_varies(config))
    left_out = tuple(LayerLeftOut(number) for number, layer in fitted.items() if layer is None)
    memory_bank = MemoryBank(layers, None, finest([layer.grid for layer in layers]), left_out)
    return with_text(memory_bank, store, config, images)


def learned_alone(
    store: FeatureStore, config: ResolvedConfig, images: Sequence[InputImage], layer: int
) -> LearnedLayer | None:
    """What a detector of one layer alone would learn there; None where its selected neurons do not vary.

    Args:
        store, config, images: As for `learned`; the configuration may have other layers.
        layer: Any that has the activation site.
    """
    return _layer(store, config, images, store.backbone.hook_point(layer, config.site), learn_layer)


def with_text(
    memory_bank: MemoryBank, store: FeatureStore, config: ResolvedConfig, images: Sequence[InputImage]
) -> MemoryBank:
    """The same with its text part learned anew in the configuration's prompts; a warning says where it is left out."""
    text = _text(store, config, images)
    warnings = tuple(one for one in memory_bank.warnings if not isinstance(one, TextLeftOut))
    if isinstance(text, TextLeftOut):
        return replace(memory_bank, text=None, warnings=(*warnings, text))
    return replace(memory_bank, text=text, warnings=warnings)


def _layer(
    store: FeatureStore,
    config: ResolvedConfig,
    images: Sequence[InputImage],
    hook_point: HookPoint,
    learn: Callable[[Tensor, Tensor, Selection, Geometry, FitConfig], Layer],
) -> Layer | None:
    """What is learned of a layer, or None where its selected neurons do not vary."""
    backbone = store.backbone
    acts_ipn, inside_ip = (values.to(backbone.device) for values in store.patches(images, hook_point))
    number, top_k = hook_point.layer, config.k_of(hook_point.layer)
    selection = select(acts_ipn, inside_ip, number, config.site, config.criterion, top_k, config.seed)
    geometry = Geometry(backbone.grid(hook_point), config.smooth, config.normalise)
    layer = learn(acts_ipn, inside_ip, selection, geometry, config)
    return layer if layer.tau > 0 else None


def _text(store: FeatureStore, config: ResolvedConfig, images: Sequence[InputImage]) -> TextCalibration | TextLeftOut:
    """What is learned for the text map, or why it is left out."""
    backbone = store.backbone
    hook_point = backbone.joint_hook_point
    if hook_point is None:
        return TextLeftOut("no patch directions", backbone.spec)
    patches = store.patches(images, hook_point)
    text = fit_text(
        patches.acts_ipn.cpu(),
        patches.inside_ip,
        text_directions(backbone.encode_text, config.part(TextConfig)),
        backbone.grid(hook_point),
        config.calibration_quantile,
    )
    return TextLeftOut("no contrast", backbone.spec) if text is None else text


def _why_nothing_varies(config: ResolvedConfig) -> str:
    if config.normalise == "unit" and config.top_k == 1 and not criteria()[config.criterion].keeps_all:
        return (
            "One neuron of a layer alone, scaled to length 1, is the same everywhere; keep at least 2 (top K), or "
            "take its value as it is."
        )
    return "Nothing varies in the normal images in the chosen layers; add a normal image with some structure."
