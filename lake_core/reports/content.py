"""What a report holds: numbers that were computed before, and images made as small as they are shown."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.layer_matches import Evidence
from lake_core.detector.microscope import scored_image
from lake_core.detector.result import ImageResult
from lake_core.experiments.controls import RandomControl
from lake_core.types import Label
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.crops import crop_with_box
from lake_core.visualization.microscope.payload import encode
from lake_core.visualization.microscope.view import NeuronNote
from lake_core.visualization.overlays import Style, overlay, thumbnail

MOST_SHOWN = 48
"""Test images in the gallery."""
MOST_NORMALS = 24
"""Normal images that are shown."""
MOST_EXPLAINED = 3
"""Test images that come with their microscope."""
MOST_ROWS = 500
"""Test images in the table."""
MOST_CONTROLLED = 60
"""Test images that the random control looks at: it holds their activations, and the others are as good."""
N_NEURONS = 5
"""Neurons named for each layer of an image."""

Notes: TypeAlias = Mapping[tuple[int, int], NeuronNote]
"""(layer, neuron) -> what else is known of it."""

_CARD, _STILL, _COMPARED, _QUALITY = 320, 448, 256, 80


@dataclass(frozen=True)
class Row:
    """The numbers of one test image.

    Attributes:
        path: Its name.
        label: None where nobody knows.
    """

    path: str
    score: float
    visual: float
    text: float
    is_anomalous: bool
    label: Label | None = None

    @property
    def is_defective(self) -> bool | None:
        """Whether it is labelled defective; None without a label."""
        return None if self.label is None else self.label == "defective"


class Shown(NamedTuple):
    """A test image in the gallery: its numbers, and a JPEG of it with its map."""

    row: Row
    jpeg: bytes


class Neighbour(NamedTuple):
    """The nearest normal patch in a layer: JPEGs of the patch's surroundings and of those of the normal one."""

    layer: int
    here: bytes
    normal: bytes
    normal_name: str


class NeuronPart(NamedTuple):
    """A neuron among those that add most to an image's score.

    Attributes:
        here, normal: Its values in the max-scoring and in the nearest normal patch.
        auroc: Its AUROC alone; None where labels do not tell.
    """

    layer: int
    neuron: int
    here: float
    normal: float
    contribution: float
    auroc: float | None


class Compared(NamedTuple):
    """The image that another is compared with: its numbers, and a JPEG of it with its map."""

    path: str
    score: float
    drawn: bytes


@dataclass(frozen=True, eq=False)
class Explained:
    """A test image in full.

    Attributes:
        row: Its numbers.
        payload: What its microscope shows.
        plain, drawn: JPEGs of the image as it is and with its map.
        parts: (part, contribution), which add up to the score.
        neurons: Of each layer those that add most.
        neighbours: One for each layer.
        compared: The image that looks most normal; None where there is no other.
    """

    row: Row
    payload: bytes = field(repr=False)
    plain: bytes = field(repr=False)
    drawn: bytes = field(repr=False)
    parts: tuple[tuple[str, float], ...]
    neurons: tuple[NeuronPart, ...]
    neighbours: tuple[Neighbour, ...] = field(repr=False)
    compared: Compared | None = field(repr=False)


class Control(NamedTuple):
    """The random control of the selection, and the number of test images that it was measured on."""

    found: RandomControl
    n_images: int


class Folders(NamedTuple):
    """The folders of the images, as commands name them.

    Attributes:
        below: The folder that the images' names begin in: None where normal images' begin in `normal` and test images'
            in `test`.
    """

    normal: str = "normal"
    test: str = "test"
    below: str | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """A whole analysis.

    Attributes:
        lake: The fitted detector that gave the scores.
        rows: All test images, in the order in which they were given.
        gallery: Those with the highest scores, highest first.
        explained: The first of them, in full.
        scale: The colour scale of all maps.
        control: Of the selection; None without a test image.
        when: The time at which it was made.
        folders: Where the images are.
        notes: What else was said of this run, one sentence each.
    """

    lake: Lake = field(repr=False)
    rows: Sequence[Row] = field(repr=False)
    gallery: Sequence[Shown] = field(repr=False)
    explained: Sequence[Explained] = field(repr=False)
    scale: ScoreScale
    control: Control | None
    when: datetime
    folders: Folders
    notes: Sequence[str] = ()

    @property
    def by_score(self) -> list[Row]:
        """The test images, highest score first."""
        return sorted(self.rows, key=lambda row: -row.score)

    @property
    def labelled(self) -> list[Row]:
        """The test images whose label is known."""
        return [row for row in self.rows if row.label is not None]


def row_of(result: ImageResult, label: Label | None = None) -> Row:
    """The numbers of a result."""
    return Row(result.image.name, result.score, result.visual, result.text, bool(result.is_anomalous), label)


def shown(result: ImageResult, row: Row, scale: ScoreScale) -> Shown:
    """A test image as the gallery shows it."""
    return Shown(row, _drawn(result, scale, _CARD))


def explained(result: ImageResult, row: Row, scale: ScoreScale, other: ImageResult | None, notes: Notes) -> Explained:
    """A test image in full.

    Args:
        other: Result of the image to compare it with, from `good_image_beside`; or None.
        notes: From `auroc_notes`.
    Raises:
        LakeError: if all neurons of the score are ablated.
    """
    by_layer = result.contributions(level="layer").to_dict("records")
    numbers = [number for number in (one["layer"] for one in by_layer) if isinstance(number, int | np.integer)]
    return Explained(
        row,
        encode(scored_image(result, notes=notes, other=other, vmax=scale.vmax)),
        jpeg_of(thumbnail(result.image, _STILL)),
        _drawn(result, scale, _STILL),
        tuple((_part_name(one["part"], one["layer"]), float(one["contribution"])) for one in by_layer),
        tuple(part for number in numbers for part in _neurons(result, int(number), notes)),
        tuple(_neighbour(result, found) for found in result.evidence()),
        None if other is None else Compared(other.image.name, other.score, _drawn(other, scale, _COMPARED)),
    )


def normal_thumbnail(image: InputImage) -> bytes:
    """A normal image as the report shows it, a JPEG."""
    return jpeg_of(thumbnail(image, _CARD // 2))


def jpeg_of(image: Image.Image) -> bytes:
    """An image as the report's other images: a JPEG of fair quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _drawn(result: ImageResult, scale: ScoreScale, side: int) -> bytes:
    scores = result.patch_scores
    return jpeg_of(overlay(result.image, result.map, scores.grid, scores.placement, scale, Style(max_side=side)))


def _part_name(part: str, layer: object) -> str:
    return f"visual, layer {layer}" if part == "visual" else part


def _neurons(result: ImageResult, layer: int, notes: Notes) -> list[NeuronPart]:
    rows = result.top_neurons(None, layer, N_NEURONS).to_dict("records")
    aurocs = [notes.get((layer, int(r["neuron"])), NeuronNote()).auroc for r in rows]
    return [
        NeuronPart(layer, int(r["neuron"]), r["here"], r["normal"], r["contribution"], auroc)
        for r, auroc in zip(rows, aurocs, strict=True)
    ]


def _neighbour(result: ImageResult, found: Evidence) -> Neighbour:
    """The patch that the score is from, and the normal one beside it."""
    grid = next(
        matches.memory_bank.grid
        for matches in result.patch_scores.layers
        if matches.memory_bank.selection.layer == found.layer
    )
    normal, placement = result.reference.normals[found.normal_image]
    here = crop_with_box(result.image, grid.box(found.patch, result.patch_scores.placement, result.image.size))
    there = crop_with_box(normal, grid.box(found.normal_patch, placement, normal.size))
    return Neighbour(found.layer, jpeg_of(here), jpeg_of(there), normal.name)
