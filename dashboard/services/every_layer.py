"""Every layer of the network on one image: each layer's own selection and map, computed ahead, beside the page."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from dashboard.services.analysis import Analysis
from dashboard.services.cache import results
from dashboard.services.images import microscope_payload
from dashboard.services.jobs import Job, jobs
from dashboard.services.models import ensure_every_layer
from lake_core.data.images import InputImage
from lake_core.detector.memory_bank import LearnedLayer
from lake_core.detector.reselection import layer_alone, scores_alone
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import PatchScores
from lake_core.types import Progress, counted

AT_ONCE_SECONDS = 20
"""What is expected to take longer is begun by a button only."""
_PRODUCTS_PER_SECOND = 1.5e10
_SHARE_COMPARED = 0.12
"""Of all pairs of normal patches, where only a quantile of their distances is needed."""


def layers_outside(found: Analysis) -> list[int]:
    """The layers that have the activation site and take no part in the score."""
    lake = found.lake
    return [layer for layer in lake.backbone.layers_with(lake.config.site) if layer not in lake.selection_]


def maps_key(found: Analysis, image: InputImage) -> Hashable:
    return "layer maps", found.key.visual, image.sha256, image.name


def known_maps(found: Analysis, image: InputImage) -> tuple[PatchScores, ...] | None:
    """The image's map by each layer outside of the score, as far as its neurons vary; None while they are unknown."""
    if not layers_outside(found):
        return ()
    held: tuple[PatchScores, ...] | None = results().get(maps_key(found, image))
    return held


def seconds_expected(found: Analysis) -> float:
    """About how long the maps of the first image take."""
    lake, products = found.lake, 0.0
    for layer in layers_outside(found):
        hook_point = lake.backbone.hook_point(layer, lake.config.site)
        n_patches = lake.backbone.grid(hook_point).n_patches
        n_rows = n_patches * len(lake.normals_)
        k = min(lake.config.k_of(layer), lake.backbone.n_neurons(hook_point))
        products += n_rows * k * (n_patches + _SHARE_COMPARED * n_rows)
    return products / _PRODUCTS_PER_SECOND


class Ahead(NamedTuple):
    """What a visitor may look at next.

    Attributes:
        shown: The image on screen.
        following: The image after it, or None.
        with_layers: Whether all layers of the one on screen are wanted.
        fixed: The patch that is fixed on it, or None.
    """

    shown: ImageResult
    following: ImageResult | None
    with_layers: bool
    fixed: int | None


def look_ahead(found: Analysis, ahead: Ahead, owner: str) -> Job:
    """Prepares what a visitor may look at next: the next image's payload, then all layers of the one on screen.

    A visitor has one such job at a time; that of another image takes its place.
    """
    shown, following = ahead.shown, ahead.following
    key = maps_key(found, shown.image)

    def work(show: Progress) -> None:
        outside = layers_outside(found)
        if following is not None:
            microscope_payload(found, following, known_maps(found, following.image), outside)
        if ahead.with_layers:
            maps = results().made(key, lambda: _maps(found, shown.image, show), _n_bytes)
            microscope_payload(found, shown, maps, outside, ahead.fixed)

    asked = key, ahead.with_layers, found.lake.config, found.lake.own_threshold, found.tests_key
    return jobs().beside(owner, asked, "Layers", work, "ahead")


def _maps(found: Analysis, image: InputImage, show: Progress) -> tuple[PatchScores, ...]:
    lake, maps = found.lake, []
    ensure_every_layer(lake.store, [*lake.normals_, image])
    for layer in counted(layers_outside(found), show):
        (learned,) = _learned(found, layer)
        if learned is not None:
            maps.append(scores_alone(lake, learned, image))
    return tuple(maps)


def _learned(found: Analysis, layer: int) -> tuple[LearnedLayer | None]:
    """What is learned of a layer alone, once for all images."""
    key = "layer alone", found.key.visual, layer
    return results().made(key, lambda: (layer_alone(found.lake, layer),))


def _n_bytes(maps: Sequence[PatchScores]) -> int:
    """Without what is learned of the layers, which is held by itself."""
    arrays: list[Any] = [
        array for one in maps for m in one.layers for array in (m.patches, m.distance, m.neighbour, *one.fine_to_layer)
    ]
    return sum(int(array.nbytes) for array in arrays)
