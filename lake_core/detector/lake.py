"""Lake: fit on a few normal images, score any number of others. The one object most users need."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore, Patches
from lake_core.config import LakeConfig
from lake_core.data.images import ImageSource, InputImage, read_image
from lake_core.detector.memory_bank import LayerMemoryBank, MemoryBank, TextCalibration, finest, fit_layer, fit_text
from lake_core.detector.scoring import (
    ImageResult,
    PatchScores,
    fused_map,
    measure,
    text_map,
    top_patches,
    visual_map,
)
from lake_core.detector.selection import Selection, select
from lake_core.errors import ConfigError, LakeError, NotFittedError
from lake_core.findings import FitWarning, LayerLeftOut, TextLeftOut
from lake_core.prompts import TextDirections, text_directions
from lake_core.types import HookPoint, Progress

_WEIGHING = {"fusion_weight", "top_q", "threshold_quantile"}


class Lake:
    """LAKE's detector, after scikit-learn's manner: parameters in the constructor, learned things end in `_`.

    Source of the method: Li et al., "Latent Anomaly Knowledge Excavation", arXiv 2604.07802; what it leaves open is
    decided in this project's own definitions (README, "What is computed").

    Args:
        backbone: From `open_backbone`.
        config: Parameters; what it leaves open (None) is taken from `backbone.recommended`.
        store: Shared activations, so that several detectors run the model once per image; by default its own.

    Attributes:
        config: Resolved parameters.
        selection_: Layer number -> `Selection`.
        memory_bank_: Memory banks and calibration.
        normals_: The normal images that were learned from, each once.
        normal_scores_: (n_normals,) float64, their own leave-one-out scores.
        threshold_: The decision threshold.
        own_threshold: What `with_threshold` was given; None where the threshold is the normal images'.
    """

    selection_: dict[int, Selection]
    memory_bank_: MemoryBank
    normals_: tuple[InputImage, ...]
    normal_scores_: np.ndarray
    threshold_: float
    own_threshold: float | None = None

    def __init__(self, backbone: Backbone, config: LakeConfig | None = None, store: FeatureStore | None = None) -> None:
        self.backbone = backbone
        self.config = (config or LakeConfig()).resolved(backbone.recommended)
        self.store = store if store is not None else FeatureStore(backbone)
        if self.store.backbone is not backbone:
            raise ConfigError("The feature store belongs to another backbone; make one for this backbone.")
        self._layer_hook_points = [backbone.hook_point(layer, self.config.site) for layer in self.config.layers]

    @property
    def hook_points(self) -> frozenset[HookPoint]:
        """The places of the network that this detector reads."""
        return frozenset(self._layer_hook_points) | self.backbone.text_hook_points

    def fit(self, normals: Sequence[ImageSource], on_progress: Progress | None = None) -> "Lake":
        """Learns what normal looks like.

        Args:
            normals: At least one normal image: paths, bytes, PIL images, uint8 arrays or `InputImage`s. Images
                with the same bytes count once.
            on_progress: Called with images done and in all while the model runs; may raise to cancel.
        Returns:
            self.
        Raises:
            ImageError: if a image cannot be read.
            LakeError: if there is no image, or nothing in them varies.
        """
        images = list({image.sha256: image for image in map(read_image, normals)}.values())
        if not images:
            raise LakeError("There is no normal image to learn from; give at least one.")
        self.store.ensure(images, self.hook_points, on_progress)
        config, warnings = self.config, list[FitWarning]()
        layers = self._fit_layers(images, warnings)
        text = self._fit_text(images, warnings)
        if not layers:
            if config.normalise == "unit" and config.top_k == 1 and config.criterion != "all":
                raise LakeError(
                    "One neuron of a layer alone, scaled to length 1, is the same everywhere; keep at least 2 (top K), "
                    "or take its value as it is."
                )
            raise LakeError(
                "Nothing varies in the normal images in the chosen layers; add a normal image with some structure."
            )
        self.memory_bank_ = MemoryBank(tuple(layers), text, finest([layer.grid for layer in layers]), tuple(warnings))
        self.selection_ = {layer.selection.layer: layer.selection for layer in layers}
        self.normals_ = tuple(images)
        self._weigh()
        return self

    def explain(self, image: ImageSource) -> ImageResult:
        """Scores one image.

        Raises:
            ImageError: if it cannot be read.
            NotFittedError: before `fit`.
        """
        return self.aggregate(self.measure(read_image(image)))

    def explain_all(self, images: Sequence[ImageSource], on_progress: Progress | None = None) -> list[ImageResult]:
        """Scores images, running the model on those not seen before in batches."""
        read = [read_image(image) for image in images]
        self.store.ensure(read, self.hook_points, on_progress)
        return [self.explain(image) for image in read]

    def measure(self, image: InputImage) -> PatchScores:
        """What both witnesses say of a image, whatever their weights."""
        self.fitted()
        self.store.ensure([image], self.hook_points)
        return self.compute_maps_from(
            image, {hook_point: self.store.get(image, hook_point) for hook_point in self.hook_points}
        )

    def compute_maps_from(self, image: InputImage, acts: Mapping[HookPoint, torch.Tensor]) -> PatchScores:
        """What both witnesses say of given activations, which need not be those that the network has for a image.

        Nothing is read from the store or written to it: experiments that change the network or the pixels are
        measured with this.

        Args:
            image: Which image they stand for; it gives the placement and the name.
            acts: For each of `hook_points`, (n_patches, n_neurons) float32.
        """
        memory_bank = self.fitted()
        text, joint_hook_point = memory_bank.text, self.backbone.joint_hook_point
        return measure(
            image,
            self.backbone.placement(image),
            memory_bank,
            self.config,
            {hook_point.layer: acts[hook_point] for hook_point in self._layer_hook_points},
            None if text is None or joint_hook_point is None else acts[joint_hook_point],
            None if text is None else self.image_probability(acts[self.backbone.image_hook_point][0], text.directions),
        )

    def aggregate(self, patch_scores: PatchScores) -> ImageResult:
        """The image score of what the witnesses said, with this detector's weights and threshold."""
        self.fitted()
        return ImageResult(patch_scores, self.config.fusion_weight, self.config.top_q, self.threshold_)

    def with_weights(self, **changes: Any) -> "Lake":
        """A detector that learned the same and weighs it differently; costs next to nothing.

        Args:
            changes: Any of fusion_weight, top_q, threshold_quantile.
        """
        if not changes.keys() <= _WEIGHING:
            raise ConfigError(f"Only {', '.join(sorted(_WEIGHING))} can be changed without fitting again.")
        self.fitted()
        other = copy(self)
        other.config = replace(self.config, **changes)
        other._weigh()
        return other

    def with_threshold(self, threshold: float | None) -> "Lake":
        """A detector that learned the same and decides by that threshold, as do all that are made of it.

        Args:
            threshold: Of image scores; None takes the normal images'.
        """
        self.fitted()
        other = copy(self)
        other.own_threshold = threshold
        other._weigh()
        return other

    def with_memory_bank(self, memory_bank: MemoryBank) -> "Lake":
        """A detector with the same parameters and normal images that has learned `memory_bank`.

        Its threshold follows, unless it was set by hand.

        Args:
            normality: Of the same normal images, for instance with fewer neurons.
        """
        self.fitted()
        other = copy(self)
        other.memory_bank_ = memory_bank
        other.selection_ = {layer.selection.layer: layer.selection for layer in memory_bank.layers}
        other._weigh()
        return other

    def normal_patches(self, layer: int) -> Patches:
        """Activations of the normal images at a layer, at this detector's site."""
        self.fitted()
        return self.store.patches(self.normals_, self.backbone.hook_point(layer, self.config.site))

    def fitted(self) -> MemoryBank:
        """What was learned.

        Raises:
            NotFittedError: before `fit`.
        """
        if not hasattr(self, "memory_bank_"):
            raise NotFittedError("This detector has seen no normal image yet; call fit first.")
        return self.memory_bank_

    def _fit_layers(self, images: Sequence[InputImage], warnings: list[FitWarning]) -> list[LayerMemoryBank]:
        config = self.config
        layers = []
        for hook_point in self._layer_hook_points:
            acts_ipn, inside_ip = (values.to(self.backbone.device) for values in self.store.patches(images, hook_point))
            selection = select(
                acts_ipn, inside_ip, hook_point.layer, config.site, config.criterion, config.top_k, config.seed
            )
            grid = self.backbone.grid(hook_point)
            layer = fit_layer(
                acts_ipn,
                inside_ip,
                selection,
                grid,
                config.normalise,
                config.smooth,
                config.calibration_quantile,
            )
            if layer.tau > 0:
                layers.append(layer)
            else:
                warnings.append(LayerLeftOut(hook_point.layer))
        return layers

    def _fit_text(self, images: Sequence[InputImage], warnings: list[FitWarning]) -> TextCalibration | None:
        hook_point = self.backbone.joint_hook_point
        if hook_point is None:
            warnings.append(TextLeftOut("no patch directions", self.backbone.spec))
            return None
        text = fit_text(
            self.store.stack(images, hook_point).cpu(),
            self.backbone.inside(images, hook_point),
            text_directions(self.backbone.encode_text, self.config.prompts, self.config.object_name),
            self.backbone.grid(hook_point),
            self.config.calibration_quantile,
        )
        if text.m99 > text.m50:
            return text
        warnings.append(TextLeftOut("no contrast", self.backbone.spec))
        return None

    def _weigh(self) -> None:
        """Scores the normal images by leaving each one out, and sets the decision threshold."""
        memory_bank = self.fitted()
        visual = visual_map(memory_bank, {layer.selection.layer: layer.own_distance for layer in memory_bank.layers})
        text_part = None if memory_bank.text is None else text_map(memory_bank, memory_bank.text.own_margin)
        fused = fused_map(visual, text_part, self.config.fusion_weight)
        inside = np.stack([memory_bank.grid.inside(self.backbone.placement(image)) for image in self.normals_])
        own_scores = [
            own[top_patches(own, on_image, self.config.top_q)].mean()
            for own, on_image in zip(fused, inside, strict=True)
        ]
        self.normal_scores_ = np.array(own_scores)
        learned = float(np.quantile(self.normal_scores_, self.config.threshold_quantile))
        self.threshold_ = learned if self.own_threshold is None else self.own_threshold

    def image_probability(self, image: torch.Tensor, directions: TextDirections) -> float:
        logits = self.backbone.logit_scale * (image @ torch.stack([directions.normal, directions.anomalous]).T)
        return float(logits.softmax(0)[1])
