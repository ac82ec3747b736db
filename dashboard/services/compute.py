"""The only file with caches: what the pages ask for, computed by the core, each thing once.

Keys are made of sha256 sums and frozen settings, never of pixels: Streamlit hashes large arrays from a sample and would
take two images that differ in a small defect for the same one.
"""

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import streamlit as st
from PIL import Image
from streamlit import runtime

from dashboard.session import Registry, Settings, Workspace
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.registry import SHIPPED, cached_pretrained
from lake_core.config import LakeConfig, ResolvedConfig, TextConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import InputImage, read_image
from lake_core.data.samples import load_sample, sample_names
from lake_core.detector.lake import Lake
from lake_core.detector.reselection import would_select
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import PatchScores
from lake_core.detector.selection import Selection
from lake_core.detector.text import text_directions
from lake_core.experiments.ablation import ablated
from lake_core.metrics.image_metrics import known_auroc
from lake_core.neurons.statistics import Flags, flags
from lake_core.prompts import PromptEnsemble
from lake_core.types import HookPoint, Neurons
from lake_core.visualization.colours import ScoreScale, score_scale, symmetric_limit
from lake_core.visualization.overlays import Style, neuron_overlay, overlay, thumbnail

T = TypeVar("T")
Key = tuple[str, ...]


class ModelKey(NamedTuple):
    """What the features of a image depend on."""

    spec: str
    image_size: int | None


class FitKey(NamedTuple):
    """What a fitted detector depends on; weights of the witnesses are set to their defaults in `config`."""

    model: ModelKey
    config: ResolvedConfig
    normals: Key


@dataclass(frozen=True, eq=False)
class Analysis:
    """One workspace seen with one set of settings.

    Attributes:
        lake: The fitted detector, with the sidebar's weights and the user's threshold.
        key: Of the fit.
        own_threshold: The threshold that the normal images give.
    """

    workspace: Workspace
    lake: Lake
    key: FitKey
    own_threshold: float

    @cached_property
    def scores(self) -> tuple[ImageResult, ...]:
        """One per test image, in the workspace's order; pages that need none don't wait for them."""
        tests = self.workspace.tests
        return tuple(
            map(self.lake.aggregate, measured(self.key, identities(tests), self.workspace.normals, tests).result)
        )

    @cached_property
    def scale(self) -> ScoreScale:
        """The colour scale shared by all score maps."""
        scale = score_scale([score.map for score in self.scores], self.own_threshold)
        return replace(scale, threshold=self.lake.threshold_)

    @property
    def labels(self) -> list[bool] | None:
        """Whether each test image is defective, or None unless all are labelled."""
        found = [example.label for example in self.workspace.tests]
        return [label == "defective" for label in found] if found and all(found) else None

    @property
    def known_labels(self) -> tuple[bool | None, ...]:
        """For each test image True where defective, False where good, None without a label."""
        return tuple(None if e.label is None else e.label == "defective" for e in self.workspace.tests)

    @property
    def images(self) -> list[InputImage]:
        """The test images."""
        return [example.image for example in self.workspace.tests]

    @property
    def result_key(self) -> tuple[Hashable, ...]:
        """What a result depends on that looks at normal and test images and their labels."""
        return self.key, self.lake.config, identities(self.workspace.tests), self.known_labels

    @property
    def auroc(self) -> float | None:
        """Image AUROC over the labelled test images, or None without labels of both sides."""
        return known_auroc(self.known_labels, [score.score for score in self.scores])

    def score_of(self, sha256: str | None) -> ImageResult | None:
        """The score of a test image, or None."""
        return next((score for score in self.scores if score.image.sha256 == sha256), None)


@st.cache_resource
def registry() -> Registry:
    """What this server keeps for its visitors."""
    return Registry(is_connected)


def is_connected(session: str) -> bool:
    """Whether a browser holds a session of Streamlit right now."""
    return runtime.exists() and runtime.get_instance().is_active_session(session)


@st.cache_data(max_entries=1, ttl=60)
def known_specs() -> list[str]:
    """Backbones that open without a network on this machine."""
    return [*SHIPPED, *cached_pretrained()]


def model(key: ModelKey) -> FeatureStore:
    """The backbone of a key, with the activations of all sessions; its own size asked for by number is no other one."""
    if key.image_size is not None:
        own = _model(ModelKey(key.spec, None))
        if own.backbone.input_size == (key.image_size, key.image_size):
            return own
    return _model(key)


@st.cache_resource(max_entries=6, show_spinner="Opening the backbone …")
def _model(key: ModelKey) -> FeatureStore:
    return FeatureStore(open_backbone(key.spec, image_size=key.image_size))


@st.cache_resource(max_entries=4, show_spinner="Reading the sample …")
def sample(name: str) -> Dataset:
    return load_sample(name)


@st.cache_resource
def sample_covers() -> dict[str, Image.Image]:
    """A small defective image of each built-in sample."""
    return {name: _cover(sample(name)) for name in sample_names()}


def _cover(dataset: Dataset) -> Image.Image:
    defective = [example for example in dataset.tests if example.label == "defective"]
    return thumbnail(defective[-1].image, 320)


def config_of(settings: Settings, backbone: Backbone) -> ResolvedConfig:
    """The parameters that the sidebar's settings stand for."""
    config = LakeConfig(
        layers=settings.layers,
        site=settings.site,
        top_k=settings.top_k,
        criterion=settings.criterion,
        fusion_weight=settings.fusion_weight,
        object_name=settings.object_name,
        normalise=settings.normalise,
        smooth=settings.smooth,
        top_q=settings.top_q,
        prompts=settings.prompts or PromptEnsemble(),
    )
    return config.resolved(backbone.recommended)


def filled(settings: Settings) -> Settings:
    """The settings with nothing left to the backbone's recommendation, as the sidebar would give them."""
    backbone = model(ModelKey(settings.spec, settings.image_size)).backbone
    config = config_of(settings, backbone)
    return replace(
        settings,
        image_size=backbone.input_size[0] if backbone.takes_any_size else None,
        layers=config.layers,
        site=config.site,
        top_k=min(config.top_k, max(backbone.layer(layer).n_neurons[config.site] for layer in config.layers)),
        normalise=config.normalise,
        smooth=config.smooth,
    )


def fit_key(settings: Settings, workspace: Workspace) -> FitKey:
    """The key of the detector that settings and normal images stand for."""
    model_key = ModelKey(settings.spec, settings.image_size)
    config = config_of(settings, model(model_key).backbone)
    neutral = replace(config, fusion_weight=0.3, top_q=1)
    return FitKey(model_key, neutral, identities(workspace.normals))


def shas(examples: Sequence[Example]) -> Key:
    """The contents of images: all that an image of them depends on."""
    return tuple(example.image.sha256 for example in examples)


def identities(examples: Sequence[Example]) -> Key:
    """Contents and names: results hold images, and two visitors may bring the same one under names of their own."""
    return tuple(f"{example.image.sha256} {example.image.name}" for example in examples)


def hook_points_to_compute(settings: Settings, workspace: Workspace) -> frozenset[HookPoint]:
    """All places of the backbone where the images' activations fit into memory, so that layers and kinds can be
    changed without another forward pass; else those that the settings need."""
    store = model(ModelKey(settings.spec, settings.image_size))
    lake = Lake(store.backbone, config_of(settings, store.backbone), store)
    return store.hook_points_that_fit(workspace.n_images, lake.hook_points)


def images_of(workspace: Workspace) -> list[InputImage]:
    return [example.image for example in (*workspace.normals, *workspace.tests)]


def without_prompts(key: FitKey) -> FitKey:
    """The same key whatever is asked in words: the visual part does not depend on it."""
    neutral = LakeConfig()
    return key._replace(config=replace(key.config, prompts=neutral.prompts, object_name=neutral.object_name))


class Timed(NamedTuple, Generic[T]):
    """A result and the seconds that it took when it was made."""

    result: T
    seconds: float


@st.cache_resource(max_entries=24, show_spinner=False)
def fitted(key: FitKey, _normals: Sequence[Example]) -> Timed[Lake]:
    """The detector; with other words it is the same but for its text part, which is learned anew at once."""
    store, config = model(key.model), key.config
    plain = (
        None
        if key == without_prompts(key) or store.backbone.joint_hook_point is None
        else fitted(without_prompts(key), _normals)
    )
    # Texts are encoded once for all detectors; the first one that is timed shall not pay for the others.
    text_directions(store.backbone.encode_text, config.part(TextConfig))
    started = time.perf_counter()
    if plain is not None:
        lake, before = plain.result.with_prompts(config.prompts, config.object_name), plain.seconds
    else:
        lake, before = Lake(store.backbone, config, store).fit([example.image for example in _normals]), 0.0
    return Timed(lake, before + time.perf_counter() - started)


@st.cache_resource(max_entries=24, show_spinner=False)
def measured(
    key: FitKey, tests: Key, _normals: Sequence[Example], _tests: Sequence[Example]
) -> Timed[list[PatchScores]]:
    lake = fitted(key, _normals).result
    plain = None
    if key != without_prompts(key) and lake.backbone.joint_hook_point is not None:
        plain = measured(without_prompts(key), tests, _normals, _tests)
    started = time.perf_counter()
    if plain is not None:
        patch_scores, before = [lake.with_own_text(found) for found in plain.result], plain.seconds
    else:
        patch_scores, before = [lake.compute_maps(example.image) for example in _tests], 0.0
    return Timed(patch_scores, before + time.perf_counter() - started)


def analyse(settings: Settings, workspace: Workspace, threshold: float | None) -> Analysis:
    """Everything the pages show, from stored activations.

    Args:
        settings: The sidebar.
        workspace: With at least one normal image, whose activations (and the tests') are in the store.
        threshold: The user's own decision threshold, or None for the normal images'.
    Raises:
        LakeError: one sentence, where nothing can be learned.
    """
    key = fit_key(settings, workspace)
    lake = fitted(key, workspace.normals).result.with_weights(
        fusion_weight=settings.fusion_weight, top_q=settings.top_q
    )
    own_threshold = lake.threshold_
    if threshold is not None:
        lake = lake.with_threshold(threshold)
    return Analysis(workspace, lake, key, own_threshold)


class Results:
    """Results that take a while, kept for all sessions; the ones used longest ago are forgotten first."""

    def __init__(self, max_entries: int = 64) -> None:
        self._max = max_entries
        self._held: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The result of that key, or None."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Hashable, result: Any) -> None:
        with self._lock:
            self._held[key] = result
            while len(self._held) > self._max:
                self._held.popitem(last=False)


@st.cache_resource
def results() -> Results:
    return Results()


def neuron_values(analysis: Analysis, layer: int, neuron: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Activations of one neuron: for each normal and each test image an array (n_patches,), NaN off the image."""
    store = analysis.lake.store
    hook_point = store.backbone.hook_point(layer, analysis.lake.config.site)
    grid = store.backbone.grid(hook_point)

    def values(example: Example) -> np.ndarray:
        inside = grid.inside(store.backbone.placement(example.image))
        return np.where(inside, store.get(example.image, hook_point)[:, neuron].numpy(), np.nan)

    return [values(e) for e in analysis.workspace.normals], [values(e) for e in analysis.workspace.tests]


def all_selections(settings: Settings, workspace: Workspace) -> dict[int, Selection]:
    """What is, or would be, selected in every layer that has the activation site; nothing is fitted for it."""
    key = fit_key(settings, workspace)
    config = key.config
    anything = replace(config, top_k=1, layers=config.layers[:1], prompts=LakeConfig().prompts, object_name="")
    rankings = _rankings(key._replace(config=anything), workspace.normals)
    return {layer: ranked.cut(config.top_k) for layer, ranked in rankings.items()}


@st.cache_resource(max_entries=8, show_spinner=False)
def _rankings(key: FitKey, _normals: Sequence[Example]) -> dict[int, Selection]:
    """Every layer's ranking, whatever K, the layers in the score and the words are."""
    store = model(key.model)
    lake, images = Lake(store.backbone, key.config, store), [example.image for example in _normals]
    return {layer: would_select(lake, layer, images) for layer in store.backbone.layers_with(key.config.site)}


NeuronKey = tuple[tuple[int, tuple[int, ...]], ...]


def neuron_key(neurons: Neurons) -> NeuronKey:
    """Neurons of layers as a key."""
    return tuple((layer, tuple(int(neuron) for neuron in chosen)) for layer, chosen in sorted(neurons.items()))


def without(found: Analysis, neurons: Neurons) -> Lake:
    """The detector without some of its selected neurons, with the sidebar's weights."""
    config = found.lake.config
    lake = _without(found.key, neuron_key(neurons), found.workspace.normals)
    lake = lake.with_weights(fusion_weight=config.fusion_weight, top_q=config.top_q)
    return lake.with_threshold(found.lake.own_threshold)


@st.cache_resource(max_entries=32, show_spinner=False)
def _without(key: FitKey, neurons: NeuronKey, _normals: Sequence[Example]) -> Lake:
    return ablated(fitted(key, _normals).result, dict(neurons))


@st.cache_data(max_entries=600, show_spinner=False)
def score_image(
    sha256: str,
    key: Hashable,
    fusion_weight: float,
    scale: ScoreScale,
    max_side: int,
    opacity: float,
    _score: ImageResult,
) -> bytes:
    """A test image with its fused map, as JPEG; the key stands for all that the map depends on but the weight."""
    found = _score.patch_scores
    reduced = reduced_image(sha256, max_side, found.image)
    return _jpeg(overlay(reduced, _score.map, found.grid, found.placement, scale, Style(opacity, max_side=max_side)))


@st.cache_data(max_entries=600, show_spinner=False)
def neuron_image(
    sha256: str,
    model_key: ModelKey,
    hook_point: HookPoint,
    neuron: int,
    limit: float,
    max_side: int,
    smooth: bool,
    _image: InputImage,
    opacity: float = 0.7,
) -> bytes:
    """A image with one neuron's activation map, as JPEG; the place's activations must be in the store."""
    reduced = reduced_image(sha256, max_side, _image)
    return _neuron_jpeg(model(model_key), hook_point, neuron, limit, _image, reduced, smooth, opacity)


@st.cache_resource(max_entries=64, show_spinner=False)
def neuron_images(
    shas: Key,
    model_key: ModelKey,
    hook_point: HookPoint,
    neuron: int,
    limit: float,
    max_side: int,
    smooth: bool,
    _images: Sequence[InputImage],
    opacity: float = 0.7,
) -> list[bytes]:
    """Many images with one neuron's maps, each as from `neuron_image`, at the cost of one look into the cache."""
    store = model(model_key)
    return [
        _neuron_jpeg(store, hook_point, neuron, limit, image, reduced, smooth, opacity)
        for image, reduced in zip(_images, _reduced_images(shas, max_side, _images), strict=True)
    ]


def _neuron_jpeg(
    store: FeatureStore,
    hook_point: HookPoint,
    neuron: int,
    limit: float,
    image: InputImage,
    reduced: InputImage,
    smooth: bool,
    opacity: float,
) -> bytes:
    values = store.get(image, hook_point)[:, neuron].numpy()
    grid, placement = store.backbone.grid(hook_point), store.backbone.placement(image)
    return _jpeg(neuron_overlay(reduced, values, grid, placement, limit, Style(opacity, smooth, max(reduced.size))))


@st.cache_resource(max_entries=800, show_spinner=False)
def reduced_image(sha256: str, max_side: int, _image: InputImage) -> InputImage:
    """A image with its longest side at most max_side; reducing costs more than drawing a map over it."""
    return replace(_image, rgb=np.asarray(thumbnail(_image, max_side)))


@st.cache_resource(max_entries=16, show_spinner=False)
def _reduced_images(shas: Key, max_side: int, _images: Sequence[InputImage]) -> list[InputImage]:
    return [reduced_image(sha256, max_side, one) for sha256, one in zip(shas, _images, strict=True)]


@st.cache_resource(max_entries=24, show_spinner=False)
def neuron_flags(key: FitKey, layer: int, _lake: Lake) -> Flags:
    """What is odd about the neurons of a layer."""
    return flags(*_lake.normal_patches(layer).numpy())


@st.cache_data(max_entries=1000, show_spinner=False)
def plain_image(sha256: str, max_side: int, _image: InputImage) -> bytes:
    """A image as it is, reduced, as JPEG."""
    return _jpeg(thumbnail(_image, max_side))


@st.cache_resource(max_entries=48, show_spinner=False)
def file_image(path: Path, changed_ns: int) -> InputImage:
    """A image from a file of the server, as it was at that time."""
    return read_image(path, path.name)


def neuron_limit(normals: Sequence[np.ndarray], tests: Sequence[np.ndarray]) -> float:
    """The value of the full colour of a neuron's maps, shared by all images."""
    return symmetric_limit([*normals, *tests], quantile=0.999)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
