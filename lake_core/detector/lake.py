"""Lake: fit on a few normal images, explain any number of others. The one object most users need."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore, Patches
from lake_core.config import LakeConfig, Recommended, WeightConfig
from lake_core.data.images import ImageSource, InputImage, read_image
from lake_core.detector.fitting import learned, with_text
from lake_core.detector.memory_bank import MemoryBank
from lake_core.detector.notebook import lake_html
from lake_core.detector.result import ImageResult, Reference
from lake_core.detector.scoring import PatchScores, compute_maps, fused_maps, pooled, text_maps, visual_maps
from lake_core.detector.selection import Selection
from lake_core.detector.text import TextDirections, margins
from lake_core.errors import ConfigError, LakeError, NotFittedError
from lake_core.prompts import PromptEnsemble
from lake_core.types import HookPoint, Progress


class Lake:
    """LAKE's detector, in scikit-learn's manner: parameters in the constructor, learned things end in `_`.

    Source of the method: Li et al., "Latent Anomaly Knowledge Excavation", arXiv 2604.07802; what it leaves open is
    decided in docs/method.md.

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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, as in scikit-learn: the constructor's, and with `deep` those of the configuration."""
        own = {"backbone": self.backbone, "config": self.config, "store": self.store}
        return own | ({f.name: getattr(self.config, f.name) for f in fields(LakeConfig)} if deep else {})

    def set_params(self, **params: Any) -> "Lake":
        """Changes parameters by name, as in scikit-learn; what was learned is forgotten.

        Args:
            params: Those of the constructor, or of the configuration, such as top_k=50.
        Returns:
            self.
        Raises:
            ConfigError: if a name is unknown or a value is not allowed.
        """
        own = {name: params.pop(name) for name in ("backbone", "config", "store") if name in params}
        unknown = sorted(params.keys() - {f.name for f in fields(LakeConfig)})
        if unknown:
            raise ConfigError(f"Unknown parameter {unknown[0]!r}; the parameters are {', '.join(self.get_params())}.")
        backbone = own.get("backbone", self.backbone)
        store = own.get("store", self.store if backbone is self.backbone else None)
        config = own.get("config", self.config)
        if backbone is not self.backbone and "config" not in own:  # what is recommended for one need not suit another
            config = replace(config, **{f.name: None for f in fields(Recommended)})
        changed = Lake(backbone, replace(config, **params), store)
        self.__dict__.clear()
        self.__dict__.update(changed.__dict__)
        return self

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return lake_html(self)

    @property
    def hook_points(self) -> frozenset[HookPoint]:
        """The hook points that this detector reads."""
        return frozenset(self._layer_hook_points) | self.backbone.text_hook_points

    def fit(self, normals: Sequence[ImageSource], on_progress: Progress | None = None) -> "Lake":
        """Learns what normal looks like.

        Args:
            normals: At least one normal image: paths, bytes, PIL images, uint8 arrays or `InputImage`s. Images with
                the same bytes count once.
            on_progress: Called with images done and in all while the model runs; may raise to cancel.
        Returns:
            self.
        Raises:
            ImageError: if an image cannot be read.
            LakeError: if there is no image, or nothing in them varies.
        """
        images = list({image.sha256: image for image in map(read_image, normals)}.values())
        if not images:
            raise LakeError("There is no normal image to learn from; give at least one.")
        self.store.ensure(images, self.hook_points, on_progress)
        self._learn(learned(self.store, self.config, images), tuple(images))
        return self

    def explain(self, image: ImageSource) -> ImageResult:
        """Scores one image and keeps all that explains the score.

        Raises:
            ImageError: if it cannot be read.
            NotFittedError: before `fit`.
        """
        return self.aggregate(self.compute_maps(read_image(image)))

    def explain_all(self, images: Sequence[ImageSource], on_progress: Progress | None = None) -> list[ImageResult]:
        """Explains images, running the model on those not seen before in batches.

        Raises:
            ImageError: if one cannot be read.
            NotFittedError: before `fit`.
        """
        self.fitted()
        read = [read_image(image) for image in images]
        self.store.ensure(read, self.hook_points, on_progress)
        return [self.explain(image) for image in read]

    def score_samples(self, images: Sequence[ImageSource]) -> np.ndarray:
        """(n_images,) float64 image scores; higher is more anomalous."""
        return np.array([result.score for result in self.explain_all(images)], dtype=np.float64)

    def predict(self, images: Sequence[ImageSource]) -> np.ndarray:
        """(n_images,) bool, True where the image score is greater than the threshold."""
        return np.array([result.is_anomalous for result in self.explain_all(images)], dtype=bool)

    def compute_maps(self, image: InputImage) -> PatchScores:
        """The visual and the text map of an image, before they are weighed."""
        self.fitted()
        self.store.ensure([image], self.hook_points)
        return self.compute_maps_from(
            image, {hook_point: self.store.get(image, hook_point) for hook_point in self.hook_points}
        )

    def compute_maps_from(self, image: InputImage, acts: Mapping[HookPoint, Tensor]) -> PatchScores:
        """The two maps of given activations, which need not be those that the network has for an image.

        Nothing is read from the store or written to it: experiments that change the network or the pixels use this.

        Args:
            image: Which image they stand for; it gives the placement and the name.
            acts: For each of `hook_points`, (n_patches, n_neurons) float32.
        """
        memory_bank = self.fitted()
        text, joint = memory_bank.text, self.backbone.joint_hook_point
        return compute_maps(
            memory_bank,
            image,
            self.backbone.placement(image),
            {hook_point.layer: acts[hook_point] for hook_point in self._layer_hook_points},
            None if text is None or joint is None else acts[joint],
            None if text is None else self.image_probability(acts[self.backbone.image_hook_point][0], text.directions),
        )

    def aggregate(self, patch_scores: PatchScores) -> ImageResult:
        """The result of an image's two maps, with this detector's weights and threshold."""
        self.fitted()
        reference = Reference(self.normals_, self.backbone.placement, self.config.calibration_percentile)
        return ImageResult(patch_scores, self.config.fusion_weight, self.config.top_q, self.threshold_, reference)

    def with_weights(self, **changes: Any) -> "Lake":
        """A detector that learned the same and weighs it differently; costs next to nothing.

        Args:
            changes: Any of fusion_weight, top_q, threshold_quantile.
        """
        allowed = {f.name for f in fields(WeightConfig)}
        if not changes.keys() <= allowed:
            raise ConfigError(f"Only {', '.join(sorted(allowed))} can be changed without fitting again.")
        return self._like(config=replace(self.config, **changes))

    def with_threshold(self, threshold: float | None) -> "Lake":
        """A detector that learned the same and decides by that threshold, as do all that are made of it.

        Args:
            threshold: Of image scores; None takes the normal images'.
        """
        return self._like(own_threshold=threshold)

    def with_memory_bank(self, memory_bank: MemoryBank) -> "Lake":
        """A detector with the same parameters and normal images that has learned `memory_bank`.

        Its threshold follows, unless it was set by hand.

        Args:
            memory_bank: Of the same normal images, for instance with fewer neurons.
        """
        return self._like(memory_bank_=memory_bank)

    def with_prompts(self, prompts: PromptEnsemble | None = None, object_name: str | None = None) -> "Lake":
        """A detector that learned the same from other prompts; equal to one fitted with them.

        Memory banks and selections are shared; only the text part is learned anew, from the normal images' stored
        patch directions.

        Args:
            prompts: Other prompts; None keeps them.
            object_name: Another name of what the images show; None keeps it.
        """
        memory_bank, other = self.fitted(), copy(self)
        other.config = replace(
            self.config,
            prompts=self.config.prompts if prompts is None else prompts,
            object_name=self.config.object_name if object_name is None else object_name,
        )
        return other.with_memory_bank(with_text(memory_bank, self.store, other.config, self.normals_))

    def with_own_text(self, patch_scores: PatchScores) -> PatchScores:
        """An image's maps with the text map computed anew in this detector's prompts; the visual map stays.

        Args:
            patch_scores: Of the detector from which this one was made by `with_prompts`, for the image itself.
        """
        memory_bank, joint = self.fitted(), self.backbone.joint_hook_point
        if memory_bank.text is None or joint is None:
            return replace(patch_scores, text=None, margin=None, image_probability=None)
        directions = memory_bank.text.directions
        margin = margins(self.store.get(patch_scores.image, joint), directions)
        whole = self.store.get(patch_scores.image, self.backbone.image_hook_point)[0]
        return replace(
            patch_scores,
            text=text_maps(memory_bank, margin).numpy(),
            margin=margin.numpy(),
            image_probability=self.image_probability(whole, directions),
        )

    def normal_patches(self, layer: int) -> Patches:
        """Activations of the normal images at a layer, at this detector's site."""
        self.fitted()
        return self.store.patches(self.normals_, self.backbone.hook_point(layer, self.config.site))

    def normal_maps(self) -> tuple[Tensor, Tensor]:
        """Visual maps of the normal images, each left out, and their patches that lie on the image.

        Returns:
            (n_normals, n_patches) float32 and bool, on the fused grid.
        """
        memory_bank = self.fitted()
        visual = visual_maps(memory_bank, {layer.selection.layer: layer.own_distance for layer in memory_bank.layers})
        inside = [memory_bank.grid.inside(self.backbone.placement(image)) for image in self.normals_]
        return visual, torch.from_numpy(np.stack(inside))

    def fitted(self) -> MemoryBank:
        """What was learned.

        Raises:
            NotFittedError: before `fit`.
        """
        if not hasattr(self, "memory_bank_"):
            raise NotFittedError("This detector has seen no normal image yet; call fit first.")
        return self.memory_bank_

    def image_probability(self, vector: Tensor, directions: TextDirections) -> float:
        """Softmax probability of "anomalous" for a vector (joint,) of length 1; never part of a score."""
        logits = self.backbone.logit_scale * (vector @ torch.stack([directions.normal, directions.anomalous]).T)
        return float(logits.softmax(0)[1])

    def _like(self, **changes: Any) -> "Lake":
        """A copy with other attributes, weighed again."""
        self.fitted()
        other = copy(self)
        other.__dict__.update(changes)
        other._learn(other.memory_bank_, other.normals_)
        return other

    def _learn(self, memory_bank: MemoryBank, normals: tuple[InputImage, ...]) -> None:
        """Takes over what was learned; scores the normal images, each left out, and sets the decision threshold."""
        self.memory_bank_, self.normals_ = memory_bank, normals
        self.selection_ = {layer.selection.layer: layer.selection for layer in memory_bank.layers}
        visual, inside = self.normal_maps()
        text = None if memory_bank.text is None else text_maps(memory_bank, memory_bank.text.own_margin)
        fused = fused_maps(visual, text, self.config.fusion_weight)
        self.normal_scores_ = pooled(fused, inside, self.config.top_q).score.numpy()
        learned = float(np.quantile(self.normal_scores_, self.config.threshold_quantile))
        self.threshold_ = learned if self.own_threshold is None else self.own_threshold
