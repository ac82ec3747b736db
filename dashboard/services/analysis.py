"""From images and a configuration to results: fitted detectors, scores, rankings. Everything is computed once.

Images are no part of a key, only their contents and names; the examples that go with a key are passed beside it.
"""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dashboard.services.cache import results
from dashboard.services.models import ensure_every_layer, model
from dashboard.settings import ModelKey, Settings
from dashboard.workspace import Contents, Workspace, identities
from lake_core.config import FitConfig, LakeConfig, ResolvedConfig, TextConfig, WeightConfig
from lake_core.data.datasets import Example
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.microscope import good_image_beside
from lake_core.detector.reselection import would_select
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import PatchScores
from lake_core.detector.selection import Selection
from lake_core.detector.text import text_directions
from lake_core.experiments.ablation import ablated
from lake_core.metrics.image_metrics import known_auroc
from lake_core.neurons.statistics import Flags, auroc_notes, flags
from lake_core.types import HookPoint, Neurons, Progress, Site, counted
from lake_core.visualization.colours import ScoreScale, score_scale
from lake_core.visualization.microscope.view import NeuronNote


class Labelled(NamedTuple):
    """Test images whose label is known: whether each is defective, and its result."""

    labels: list[bool]
    results: list[ImageResult]

    @property
    def scores(self) -> list[float]:
        return [result.score for result in self.results]

    @property
    def has_both(self) -> bool:
        """Whether there are good and defective ones."""
        return any(self.labels) and not all(self.labels)

    def counts(self) -> tuple[str, str]:
        """True positives of the defective ones and false positives of the good ones, as "n of m"."""
        defective = np.array(self.labels, dtype=bool)
        above = np.array([result.is_anomalous for result in self.results], dtype=bool)
        first, second = (f"{above[side].sum()} of {side.sum()}" for side in (defective, ~defective))
        return first, second


T = TypeVar("T")
NeuronKey = tuple[tuple[int, tuple[int, ...]], ...]


class FitKey(NamedTuple):
    """What a fitted detector depends on.

    Attributes:
        model: Backbone and input size.
        fit: With nothing left to the backbone's recommendation.
        text: None for the visual part alone, which depends on no prompt.
        normals: Contents and names of the normal images.
    """

    model: ModelKey
    fit: FitConfig
    text: TextConfig | None
    normals: Contents

    @property
    def config(self) -> LakeConfig:
        """The parameters; those that only weigh, and the text side where there is none, are the method's defaults."""
        return LakeConfig(**vars(self.fit), **vars(self.text or TextConfig()))

    @property
    def visual(self) -> "FitKey":
        """The key of the visual part."""
        return self._replace(text=None)


class Timed(NamedTuple, Generic[T]):
    """A result and the seconds that it took when it was made."""

    result: T
    seconds: float


@dataclass(frozen=True, eq=False)
class Analysis:
    """One workspace with one configuration.

    Attributes:
        lake: The fitted detector, with the configuration's weights and the user's threshold.
        key: Of the fit.
        normal_threshold: The threshold that the normal images give.
    """

    workspace: Workspace
    lake: Lake
    key: FitKey
    normal_threshold: float

    @cached_property
    def scores(self) -> tuple[ImageResult, ...]:
        """One per test image, in the workspace's order; pages that need none don't wait for them."""
        return tuple(map(self.lake.aggregate, patch_scores(self.key, self.workspace).result))

    @cached_property
    def by_score(self) -> list[ImageResult]:
        """The same, highest score first."""
        return sorted(self.scores, key=lambda one: -one.score)

    @cached_property
    def scale(self) -> ScoreScale:
        """The colour scale shared by all score maps."""
        scale = score_scale([score.map for score in self.scores], self.normal_threshold)
        return replace(scale, threshold=self.lake.threshold_)

    @property
    def labelled(self) -> Labelled:
        """The labelled test images."""
        known = [
            (label, score) for label, score in zip(self.known_labels, self.scores, strict=True) if label is not None
        ]
        return Labelled([label for label, _ in known], [score for _, score in known])

    @property
    def known_labels(self) -> tuple[bool | None, ...]:
        """For each test image True where defective, False where good, None without a label."""
        return tuple(None if e.label is None else e.label == "defective" for e in self.workspace.tests)

    @property
    def images(self) -> list[InputImage]:
        """The test images."""
        return [example.image for example in self.workspace.tests]

    @property
    def tests_key(self) -> Contents:
        """Contents and names of the test images."""
        return identities(self.workspace.tests)

    @property
    def result_key(self) -> tuple[Hashable, ...]:
        """What a result depends on that looks at normal and test images and their labels."""
        return self.key, self.lake.config, self.tests_key, self.known_labels

    @property
    def auroc(self) -> float | None:
        """Image AUROC over the labelled test images, or None without labels of both sides."""
        return known_auroc(self.known_labels, [score.score for score in self.scores])

    def good_image_beside(self, shown: ImageResult) -> ImageResult | None:
        """The other test image that looks most normal: of those labelled good, else of all, the lowest score."""
        place = next(i for i, one in enumerate(self.scores) if one is shown)
        beside = good_image_beside(place, self.known_labels, [one.score for one in self.scores])
        return None if beside is None else self.scores[beside]

    def score_of(self, sha256: str | None) -> ImageResult | None:
        """The score of a test image, or None."""
        return next((score for score in self.scores if score.image.sha256 == sha256), None)


def resolved(settings: Settings) -> ResolvedConfig:
    """The method's parameters with nothing left to the backbone's recommendation."""
    return settings.config.resolved(model(settings.model).backbone.recommended)


def filled(settings: Settings) -> Settings:
    """The settings with nothing left to the backbone's recommendation, as the sidebar would give them."""
    backbone, config = model(settings.model).backbone, resolved(settings)
    n_neurons = [backbone.layer(layer).n_neurons[config.site] for layer in config.layers]
    ks = tuple(map(min, config.ks, n_neurons if len(config.ks) > 1 else [max(n_neurons)]))
    return Settings(
        settings.spec,
        backbone.input_size[0] if backbone.takes_any_size else None,
        LakeConfig(**vars(config) | {"top_k": ks if len(ks) > 1 else ks[0]}),
    )


def fit_key(settings: Settings, workspace: Workspace) -> FitKey:
    """The key of the detector that settings and normal images stand for."""
    config = resolved(settings)
    has_text = model(settings.model).backbone.joint_hook_point is not None
    text = config.part(TextConfig) if has_text else None
    return FitKey(settings.model, config.part(FitConfig), text, identities(workspace.normals))


class ToCompute(NamedTuple):
    """Hook points that images are run through the network for.

    Attributes:
        needed: What the settings' detector reads.
        all: Those and, where there is room for the images' activations, all others of the backbone, so that layers and
            sites can be changed without another forward pass.
    """

    needed: frozenset[HookPoint]
    all: frozenset[HookPoint]


def hook_points_to_compute(settings: Settings, workspace: Workspace) -> ToCompute:
    """What the images have to be run for."""
    store = model(settings.model)
    needed = Lake(store.backbone, resolved(settings), store).hook_points
    return ToCompute(needed, store.hook_points_that_fit(workspace.n_images, needed))


def fitted(key: FitKey, workspace: Workspace) -> Timed[Lake]:
    """The detector; with other prompts it is the same but for its text part, which is learned anew at once."""
    return results().made(("fitted", key), lambda: _fit(key, workspace.normals))


def _fit(key: FitKey, normals: Sequence[Example]) -> Timed[Lake]:
    store, config = model(key.model), key.config
    # Texts are encoded once for all detectors; the first one that is timed shall not pay for the others.
    text_directions(store.backbone.encode_text, config.part(TextConfig))
    if key.text is None:
        started = time.perf_counter()
        lake = Lake(store.backbone, config, store).fit([example.image for example in normals])
        return Timed(lake, time.perf_counter() - started)
    visual = results().made(("fitted", key.visual), lambda: _fit(key.visual, normals))
    if visual.result.config.part(TextConfig) == key.text:
        return visual
    started = time.perf_counter()
    lake = visual.result.with_prompts(config.prompts, config.object_name)
    return Timed(lake, visual.seconds + time.perf_counter() - started)


def patch_scores_key(key: FitKey, workspace: Workspace) -> Hashable:
    """Of the cache's."""
    return "patch scores", key, identities(workspace.tests)


def patch_scores(key: FitKey, workspace: Workspace, on_progress: Progress | None = None) -> Timed[list[PatchScores]]:
    """Of each test image; with other prompts the visual part is taken over."""
    return results().made(patch_scores_key(key, workspace), lambda: _patch_scores(key, workspace, on_progress))


def _patch_scores(key: FitKey, workspace: Workspace, on_progress: Progress | None) -> Timed[list[PatchScores]]:
    lake = fitted(key, workspace).result
    if key.text is None:
        started = time.perf_counter()
        found = [lake.compute_maps(example.image) for example in counted(workspace.tests, on_progress)]
        return Timed(found, time.perf_counter() - started)
    visual = patch_scores(key.visual, workspace, on_progress)
    if lake is fitted(key.visual, workspace).result:
        return visual
    started = time.perf_counter()
    found = [lake.with_own_text(one) for one in visual.result]
    return Timed(found, visual.seconds + time.perf_counter() - started)


def analyse(settings: Settings, workspace: Workspace, threshold: float | None = None) -> Analysis:
    """Everything the pages show, from stored activations.

    Args:
        workspace: With at least one normal image, whose activations (and the tests') are in the store.
        threshold: The user's own decision threshold, or None for the normal images'.
    Raises:
        LakeError: one sentence, where nothing can be learned.
    """
    key, config = fit_key(settings, workspace), settings.config
    lake = _weighed(fitted(key, workspace).result, config)
    weighed = lake if threshold is None else lake.with_threshold(threshold)
    return Analysis(workspace, weighed, key, normal_threshold=lake.threshold_)


def _weighed(lake: Lake, config: LakeConfig) -> Lake:
    return lake.with_weights(**vars(config.part(WeightConfig)))


def neuron_values(analysis: Analysis, layer: int, neuron: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Activations of one neuron: for each normal and each test image an array (n_patches,), NaN off the image."""
    store = analysis.lake.store
    hook_point = store.backbone.hook_point(layer, analysis.lake.config.site)
    grid = store.backbone.grid(hook_point)

    def values(example: Example) -> np.ndarray:
        inside = grid.inside(store.backbone.placement(example.image))
        return np.where(inside, store.get(example.image, hook_point)[:, neuron].numpy(), np.nan)

    return [values(e) for e in analysis.workspace.normals], [values(e) for e in analysis.workspace.tests]


def neuron_flags(analysis: Analysis, layer: int) -> Flags:
    """What is odd about the neurons of a layer."""
    key, lake = ("flags", analysis.key.visual, layer), analysis.lake
    return results().made(
        key, lambda: flags(*lake.normal_patches(layer).numpy(), has_tokens=lake.backbone.adapter.has_tokens)
    )


def neuron_notes(analysis: Analysis) -> dict[tuple[int, int], NeuronNote]:
    """The AUROC of each selected neuron alone, by layer and neuron; empty without good and defective labels."""
    labels = analysis.known_labels
    key = "aurocs", analysis.key.visual, analysis.tests_key, labels
    return results().made(key, lambda: auroc_notes(analysis.lake, analysis.images, labels))


def all_selections(settings: Settings, workspace: Workspace) -> dict[int, Selection]:
    """What is, or would be, selected in every layer that has the activation site; nothing is fitted for it."""
    config = resolved(settings)
    ranking = config.criterion, config.seed, config.site
    rankings = results().made(
        ("rankings", settings.model, ranking, identities(workspace.normals)),
        lambda: _rankings(settings.model, config, config.site, workspace),
    )
    return {layer: ranked.cut(config.k_of(layer)) for layer, ranked in rankings.items()}


def _rankings(key: ModelKey, config: LakeConfig, site: Site, workspace: Workspace) -> dict[int, Selection]:
    """Every layer's ranking, which depends on the criterion alone."""
    store = model(key)
    lake, images = Lake(store.backbone, config, store), [example.image for example in workspace.normals]
    ensure_every_layer(store, images)
    return {layer: would_select(lake, layer, images) for layer in store.backbone.layers_with(site)}


def neuron_key(neurons: Neurons) -> NeuronKey:
    """Neurons of layers as a key."""
    return tuple((layer, tuple(int(neuron) for neuron in chosen)) for layer, chosen in sorted(neurons.items()))


def without(found: Analysis, neurons: Neurons) -> Lake:
    """The detector without some of its selected neurons, with the same weights."""
    full = fitted(found.key, found.workspace).result
    lake = results().made(("ablated", found.key, neuron_key(neurons)), lambda: ablated(full, neurons))
    return _weighed(lake, found.lake.config).with_threshold(found.lake.own_threshold)
