"""Images as the pages show them, most of them as JPEG: reduced, with a map over them, or plain."""

import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dashboard.services.analysis import Analysis, neuron_notes
from dashboard.services.cache import results
from dashboard.services.models import model
from dashboard.settings import ModelKey
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.detector.layer_matches import Evidence
from lake_core.detector.microscope import scored_image
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import PatchScores
from lake_core.types import HookPoint
from lake_core.visualization.colours import ScoreScale, ValueScale, activation_scale
from lake_core.visualization.crops import Box
from lake_core.visualization.microscope.payload import encode
from lake_core.visualization.overlays import Style, neuron_overlay, overlay, thumbnail

QUALITY = 88
FRAMES_IN_A_ROW = 20
FRAME_SIDES = ((60, 80), (200, 56))
"""(most images, side of each in pixels) of a sprite, so that it stays small."""
SMALLEST_FRAME = 40
FRAME_GROUND = (128, 134, 140)
MAP_OPACITY, NEURON_OPACITY = 0.6, 0.7
PREVIEW = 176
"""Longest side of a preview in pixels."""


@dataclass(frozen=True)
class NeuronMap:
    """How one neuron's maps are drawn.

    Attributes:
        model, hook_point, neuron: Which neuron; the hook point's activations must be in the store.
        scale: Its colours.
        max_side: Longest side of the drawing in pixels.
        smooth: Interpolates between patches for display.
        opacity: Of the map, in [0, 1].
    """

    model: ModelKey
    hook_point: HookPoint
    neuron: int
    scale: ValueScale
    max_side: int
    smooth: bool = True
    opacity: float = NEURON_OPACITY


class PatchMap(NamedTuple):
    """A map (n_patches,), NaN off the image, with its grid and where the image lies in the model's input."""

    values: np.ndarray
    grid: PatchGrid
    placement: Placement


class Sprite(NamedTuple):
    """Many small images as one JPEG, row by row, each in a square of its own."""

    jpeg: bytes
    columns: int
    n_rows: int


def score_image(
    found: Analysis,
    score: ImageResult,
    max_side: int,
    *,
    opacity: float = MAP_OPACITY,
    scale: ScoreScale | None = None,
    key: Hashable = None,
) -> bytes:
    """A test image with its fused map, as JPEG.

    Args:
        scale: Where it is not the analysis's own.
        key: What the map depends on, where it is not the analysis's own.
    """
    scale = scale or found.scale
    image, patch_scores = score.image, score.patch_scores

    def draw() -> bytes:
        small = reduced_image(image, max_side)
        grid, placement = patch_scores.grid, patch_scores.placement
        return _jpeg(overlay(small, score.map, grid, placement, scale, Style(opacity, max_side=max_side)))

    depends_on = found.key if key is None else key
    cache_key = "score map", image.sha256, depends_on, score.fusion_weight, scale, max_side, opacity
    return results().made(cache_key, draw)


def map_image(image: InputImage, drawn: PatchMap, scale: ScoreScale, max_side: int, key: Hashable) -> bytes:
    """A test image with the map of a method that has no threshold, as JPEG.

    Args:
        key: What the map depends on besides the image.
    """

    def draw() -> bytes:
        small = reduced_image(image, max_side)
        style = Style(MAP_OPACITY, max_side=max_side, contour=False)
        return _jpeg(overlay(small, drawn.values, drawn.grid, drawn.placement, scale, style))

    return results().made(("map", image.sha256, key, scale, max_side), draw)


def microscope_payload(
    found: Analysis,
    score: ImageResult,
    watched: Sequence[PatchScores] | None,
    outside: Sequence[int],
    fixed: int | None = None,
) -> bytes:
    """What the microscope shows of a test image, as bytes for the browser.

    Args:
        watched: The image's maps by the layers outside of the score; None while they are computed.
        outside: The numbers of those layers.
        fixed: The patch that is fixed from the start, or None.
    """
    weights = score.fusion_weight, score.threshold, tuple(score.patches.tolist())
    images = score.image.sha256, found.tests_key, found.known_labels
    key = "microscope", found.key, images, weights, watched is not None, fixed, found.scale.vmax
    other = found.good_image_beside(score)
    pending = outside if watched is None else ()

    def made() -> bytes:
        notes = neuron_notes(found)
        return encode(scored_image(score, watched or (), notes, fixed, other, pending, found.scale.vmax))

    return results().made(key, made)


def neuron_image(image: InputImage, drawn: NeuronMap) -> bytes:
    """An image with one neuron's activation map, as JPEG."""
    key = "neuron map", image.sha256, drawn
    return results().made(key, lambda: _neuron_jpeg(model(drawn.model), image, drawn))


def neuron_images(images: Sequence[InputImage], drawn: NeuronMap) -> list[bytes]:
    """Many images with one neuron's maps, each as from `neuron_image`, at the cost of one look into the cache."""
    store = model(drawn.model)
    key = "neuron maps", tuple(image.sha256 for image in images), drawn
    return results().made(key, lambda: [_neuron_jpeg(store, image, drawn) for image in images])


def neuron_preview(image: InputImage, beside: Sequence[InputImage], drawn: tuple[ModelKey, HookPoint, int]) -> bytes:
    """A small image with one neuron's map, as JPEG, on a scale that covers its activations on other images, too."""
    key, hook_point, neuron = drawn

    def draw() -> bytes:
        store = model(key)
        values = [store.get(one, hook_point)[:, neuron].numpy() for one in (image, *beside)]
        return _neuron_jpeg(store, image, NeuronMap(key, hook_point, neuron, activation_scale(values), PREVIEW))

    return results().made(("preview", image.sha256, tuple(one.sha256 for one in beside), drawn), draw)


def plain_image(image: InputImage, max_side: int) -> bytes:
    """An image as it is, reduced, as JPEG."""
    return results().made(("plain", image.sha256, max_side), lambda: _jpeg(thumbnail(image, max_side)))


def sprite(images: Sequence[InputImage]) -> Sprite:
    """Small copies of images side by side, so that a browser loads and decodes one file."""
    shown = tuple(image.sha256 for image in images)

    def drawn() -> Sprite:
        side = next((side for most, side in FRAME_SIDES if len(images) <= most), SMALLEST_FRAME)
        columns = min(FRAMES_IN_A_ROW, len(images))
        n_rows = -(-len(images) // columns)
        sheet = Image.new("RGB", (columns * side, n_rows * side), FRAME_GROUND)
        for i, image in enumerate(images):
            small = thumbnail(image, side)
            left, top = (side - small.width) // 2, (side - small.height) // 2
            sheet.paste(small, (i % columns * side + left, i // columns * side + top))
        return Sprite(_jpeg(sheet), columns, n_rows)

    return results().made(("sprite", shown), drawn)


def reduced_image(image: InputImage, max_side: int) -> InputImage:
    """An image with its longest side at most max_side; reducing costs more than drawing a map over it."""
    rgb = results().made(("reduced", image.sha256, max_side), lambda: np.asarray(thumbnail(image, max_side)))
    return replace(image, rgb=rgb)


def nearest_normal(lake: Lake, found: Evidence) -> tuple[InputImage, Box]:
    """The normal image of a nearest normal patch, and the patch's box in it."""
    normal, grid = lake.normals_[found.normal_image], lake.backbone.layer(found.layer).grid
    return normal, grid.box(found.normal_patch, lake.backbone.placement(normal), normal.size)


def file_image(path: Path) -> InputImage:
    """An image from a file of the server, as the file is now.

    Raises:
        OSError: if there is no such file.
        LakeError: if it cannot be read as an image.
    """
    key = "file", path, path.stat().st_mtime_ns
    return results().made(key, lambda: read_image(path, path.name), lambda image: image.rgb.nbytes)


def _neuron_jpeg(store: FeatureStore, image: InputImage, drawn: NeuronMap) -> bytes:
    small = reduced_image(image, drawn.max_side)
    values = store.get(image, drawn.hook_point)[:, drawn.neuron].numpy()
    grid, placement = store.backbone.grid(drawn.hook_point), store.backbone.placement(image)
    side = max(small.size)
    return _jpeg(neuron_overlay(small, values, grid, placement, drawn.scale, Style(drawn.opacity, drawn.smooth, side)))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
