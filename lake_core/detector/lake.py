"""Lake: fit on a few normal pictures, score any number of others. The one object most users need."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore, Progress
from lake_core.backbones.hooks import Place
from lake_core.config import LakeConfig
from lake_core.data.images import Picture, PictureSource, read_picture
from lake_core.detector.memory_bank import LayerNormality, Normality, TextNormality, finest, fit_layer, fit_text
from lake_core.detector.scoring import (
    ImageScore,
    Witnesses,
    cross_modal_map,
    fused_map,
    measure,
    top_patches,
    visual_map,
)
from lake_core.detector.selection import Selection, select
from lake_core.errors import ConfigError, LakeError, NotFittedError
from lake_core.neurons.statistics import Tested, UnitTable, unit_table
from lake_core.prompts import TextDirections, text_directions

TEXT_LEFT_OUT = "The cross-modal part is left out"
"""How a warning of `fit` about the cross-modal part begins."""
_WEIGHING = {"text_weight", "top_q", "threshold_quantile"}


class Lake:
    """LAKE's detector, after scikit-learn's manner: parameters in the constructor, learned things end in `_`.

    Source of the method: Li et al., "Latent Anomaly Knowledge Excavation", arXiv 2604.07802; what it leaves open is
    decided in this project's own definitions (README, "What is computed").

    Args:
        backbone: From `open_backbone`.
        config: Parameters; what it leaves open (None) is taken from `backbone.recommended`.
        store: Shared activations, so that several detectors run the model once per picture; by default its own.

    Attributes:
        config: Resolved parameters.
        selection_: Layer number -> `Selection`.
        normality_: Galleries and calibration.
        normals_: The normal pictures that were learned from, each once.
        normal_scores_: (n_normals,) float64, their own leave-one-out scores.
        threshold_: The decision threshold.
        own_threshold: What `with_threshold` was given; None where the threshold is the normal pictures'.
    """

    selection_: dict[int, Selection]
    normality_: Normality
    normals_: tuple[Picture, ...]
    normal_scores_: np.ndarray
    threshold_: float
    own_threshold: float | None = None

    def __init__(self, backbone: Backbone, config: LakeConfig | None = None, store: FeatureStore | None = None) -> None:
        self.backbone = backbone
        self.config = (config or LakeConfig()).resolved(backbone.recommended)
        self.store = store if store is not None else FeatureStore(backbone)
        if self.store.backbone is not backbone:
            raise ConfigError("The feature store belongs to another backbone; make one for this backbone.")
        self._layer_places = [backbone.place(layer, self.config.kind) for layer in self.config.layers]

    @property
    def places(self) -> frozenset[Place]:
        """The places of the network that this detector reads."""
        return frozenset(self._layer_places) | self.backbone.text_places

    def fit(self, normals: Sequence[PictureSource], on_progress: Progress | None = None) -> "Lake":
        """Learns what normal looks like.

        Args:
            normals: At least one normal picture: paths, bytes, PIL pictures, uint8 arrays or `Picture`s. Pictures
                with the same bytes count once.
            on_progress: Called with pictures done and in all while the model runs; may raise to cancel.
        Returns:
            self.
        Raises:
            ImageError: if a picture cannot be read.
            LakeError: if there is no picture, or nothing in them varies.
        """
        pictures = list({picture.sha256: picture for picture in map(read_picture, normals)}.values())
        if not pictures:
            raise LakeError("There is no normal picture to learn from; give at least one.")
        self.store.ensure(pictures, self.places, on_progress)
        config, warnings = self.config, list[str]()
        layers = self._fit_layers(pictures, warnings)
        text = self._fit_text(pictures, warnings)
        if not layers:
            if config.normalise == "unit" and config.top_k == 1 and config.criterion != "all":
                raise LakeError(
                    "One neuron of a layer alone, scaled to length 1, is the same everywhere; keep at least 2 (top K), "
                    "or take its value as it is."
                )
            raise LakeError(
                "Nothing varies in the normal pictures in the chosen layers; add a normal picture with some structure."
            )
        self.normality_ = Normality(tuple(layers), text, finest([layer.grid for layer in layers]), tuple(warnings))
        self.selection_ = {layer.selection.layer: layer.selection for layer in layers}
        self.normals_ = tuple(pictures)
        self._weigh()
        return self

    def score(self, picture: PictureSource) -> ImageScore:
        """Scores one picture.

        Raises:
            ImageError: if it cannot be read.
            NotFittedError: before `fit`.
        """
        return self.fuse(self.measure(read_picture(picture)))

    def score_all(self, pictures: Sequence[PictureSource], on_progress: Progress | None = None) -> list[ImageScore]:
        """Scores pictures, running the model on those not seen before in batches."""
        read = [read_picture(picture) for picture in pictures]
        self.store.ensure(read, self.places, on_progress)
        return [self.score(picture) for picture in read]

    def measure(self, picture: Picture) -> Witnesses:
        """What both witnesses say of a picture, whatever their weights."""
        self._fitted()
        self.store.ensure([picture], self.places)
        return self.measure_activations(picture, {place: self.store.get(picture, place) for place in self.places})

    def measure_activations(self, picture: Picture, acts: Mapping[Place, torch.Tensor]) -> Witnesses:
        """What both witnesses say of given activations, which need not be those that the network has for a picture.

        Nothing is read from the store or written to it: experiments that change the network or the pixels are
        measured with this.

        Args:
            picture: Which picture they stand for; it gives the placement and the name.
            acts: For each of `places`, (n_patches, n_units) float32.
        """
        normality = self._fitted()
        text, joint_place = normality.text, self.backbone.joint_place
        return measure(
            picture,
            self.backbone.placement(picture),
            normality,
            self.config,
            {place.layer: acts[place] for place in self._layer_places},
            None if text is None or joint_place is None else acts[joint_place],
            None if text is None else self._image_probability(acts[self.backbone.image_place][0], text.directions),
        )

    def fuse(self, witnesses: Witnesses) -> ImageScore:
        """The image score of what the witnesses said, with this detector's weights and threshold."""
        self._fitted()
        return ImageScore(witnesses, self.config.text_weight, self.config.top_q, self.threshold_)

    def reweighed(self, **changes: Any) -> "Lake":
        """A detector that learned the same and weighs it differently; costs next to nothing.

        Args:
            changes: Any of text_weight, top_q, threshold_quantile.
        """
        if not changes.keys() <= _WEIGHING:
            raise ConfigError(f"Only {', '.join(sorted(_WEIGHING))} can be changed without fitting again.")
        self._fitted()
        other = copy(self)
        other.config = replace(self.config, **changes)
        other._weigh()
        return other

    def with_threshold(self, threshold: float | None) -> "Lake":
        """A detector that learned the same and decides by that threshold, as do all that are made of it.

        Args:
            threshold: Of image scores; None takes the normal pictures'.
        """
        self._fitted()
        other = copy(self)
        other.own_threshold = threshold
        other._weigh()
        return other

    def with_normality(self, normality: Normality) -> "Lake":
        """A detector with the same parameters and normal pictures that has learned `normality`.

        Its threshold follows, unless it was set by hand.

        Args:
            normality: Of the same normal pictures, for instance with fewer units.
        """
        self._fitted()
        other = copy(self)
        other.normality_ = normality
        other.selection_ = {layer.selection.layer: layer.selection for layer in normality.layers}
        other._weigh()
        return other

    def units(
        self,
        layer: int,
        tests: Sequence[Tested] | None = None,
        describe: bool = False,
        top: int | None = None,
        on_progress: Progress | None = None,
    ) -> UnitTable:
        """The units of a layer, most sensitive first; see `lake_core.neurons.statistics.unit_table`."""
        self._fitted()
        return unit_table(self, layer, tests, describe, top, on_progress=on_progress)

    def _fitted(self) -> Normality:
        if not hasattr(self, "normality_"):
            raise NotFittedError("This detector has seen no normal picture yet; call fit first.")
        return self.normality_

    def _inside(self, pictures: Sequence[Picture], place: Place) -> torch.Tensor:
        grid = self.backbone.grid(place)
        return torch.from_numpy(np.stack([grid.inside(self.backbone.placement(picture)) for picture in pictures]))

    def _fit_layers(self, pictures: Sequence[Picture], warnings: list[str]) -> list[LayerNormality]:
        config = self.config
        layers = []
        for place in self._layer_places:
            acts_ipu = self.store.stack(pictures, place).to(self.backbone.device)
            inside_ip = self._inside(pictures, place).to(self.backbone.device)
            selection = select(
                acts_ipu[inside_ip], place.layer, config.kind, config.criterion, config.top_k, config.seed
            )
            grid = self.backbone.grid(place)
            layer = fit_layer(
                acts_ipu,
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
                warnings.append(f"Layer {place.layer} is left out: its neurons do not vary over the normal pictures.")
        return layers

    def _fit_text(self, pictures: Sequence[Picture], warnings: list[str]) -> TextNormality | None:
        place = self.backbone.joint_place
        if place is None:
            warnings.append(f"{TEXT_LEFT_OUT}: the head of {self.backbone.spec} does not act on single patches.")
            return None
        text = fit_text(
            self.store.stack(pictures, place).cpu(),
            self._inside(pictures, place),
            text_directions(self.backbone.encode_text, self.config.prompts, self.config.object_name),
            self.backbone.grid(place),
            self.config.calibration_quantile,
        )
        if text.m99 > text.m50:
            return text
        warnings.append(f"{TEXT_LEFT_OUT}: all normal patches sound the same to it.")
        return None

    def _weigh(self) -> None:
        """Scores the normal pictures by leaving each one out, and sets the decision threshold."""
        normality = self._fitted()
        visual = visual_map(normality, {layer.selection.layer: layer.own_distance for layer in normality.layers})
        cross = None if normality.text is None else cross_modal_map(normality, normality.text.own_margin)
        fused = fused_map(visual, cross, self.config.text_weight)
        inside = np.stack([normality.grid.inside(self.backbone.placement(picture)) for picture in self.normals_])
        own_scores = [
            own[top_patches(own, on_picture, self.config.top_q)].mean()
            for own, on_picture in zip(fused, inside, strict=True)
        ]
        self.normal_scores_ = np.array(own_scores)
        learned = float(np.quantile(self.normal_scores_, self.config.threshold_quantile))
        self.threshold_ = learned if self.own_threshold is None else self.own_threshold

    def _image_probability(self, image: torch.Tensor, directions: TextDirections) -> float:
        logits = self.backbone.logit_scale * (image @ torch.stack([directions.normal, directions.anomalous]).T)
        return float(logits.softmax(0)[1])
