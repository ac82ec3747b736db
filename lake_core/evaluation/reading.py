"""A few images of a data set read, decoded and laid into the model's input, with their masks.

Needs no PyTorch, so that processes that only read begin at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lake_core.backbones.patch_grid import Frame, Placement
from lake_core.data.folders import Entry
from lake_core.data.images import InputImage, read_image
from lake_core.data.masks import united_mask
from lake_core.errors import ImageError
from lake_core.metrics.defect_mask import DefectMask

MAX_PIXEL_SIDE = 256


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask reduced for comparison, and where its image lies in the model's input."""

    defects: DefectMask
    placement: Placement


@dataclass(frozen=True, eq=False)
class Loaded:
    """What is kept of an image once it is laid into the model's input; `mask` is None where none can be compared."""

    entry: Entry
    sha256: str
    placement: Placement
    mask: Mask | None = None

    @property
    def has_defect(self) -> bool:
        """Whether it has a mask that marks at least one pixel."""
        return self.mask is not None and self.mask.defects.n_defect > 0


@dataclass(frozen=True)
class SharedRows:
    """Rows of a uint8 array that lies in a file: several processes map it, and nothing is sent between them.

    Attributes:
        shape: Of these rows.
        offset: Bytes before the first of them.
    """

    path: Path
    shape: tuple[int, ...]
    offset: int

    def mapped(self) -> np.ndarray:
        """The rows, to be written."""
        return np.memmap(self.path, np.uint8, "r+", self.offset, self.shape)


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a batch.

    Attributes:
        images: Those that could be read.
        problems: One sentence for each that could not, and for each mask that could not.
    """

    images: tuple[Loaded, ...]
    problems: tuple[str, ...]


def read_part(entries: Sequence[Entry], frame: Frame, with_masks: bool, rows: np.ndarray | SharedRows) -> Part:
    """Reads images in the order of the entries; one that cannot be used is left out and reported.

    Args:
        entries: Which images.
        frame: What they are laid into.
        with_masks: Also read and reduce masks.
        rows: (n_entries, height, width, 3) uint8; the first of them are written, one for each image that is read.
    """
    canvases = rows.mapped() if isinstance(rows, SharedRows) else rows
    images: list[Loaded] = []
    problems: list[str] = []
    for entry in entries:
        try:
            image = read_image(entry.path, entry.name)
        except ImageError as error:
            problems.append(str(error))
            continue
        mask = None
        if with_masks:
            try:
                mask = _mask_of(entry, image, frame)
            except ImageError as error:
                problems.append(f"{entry.name} is compared without its mask: {error}")
        canvases[len(images)] = frame.canvas(image)
        images.append(Loaded(entry, image.sha256, frame.placement(image), mask))
    return Part(tuple(images), tuple(problems))


def reduced_mask(mask: np.ndarray | None, image: InputImage, placement: Placement) -> Mask:
    """A mask at the size of comparison; None stands for an empty one.

    The image's size is divided by the least whole factor that brings its longest side to MAX_PIXEL_SIDE or below; a
    reduced pixel is defect if any of its pixels is.
    """
    factor = -(-max(image.size) // MAX_PIXEL_SIDE)
    if mask is None:
        return Mask(DefectMask((-(-image.height // factor), -(-image.width // factor))), placement)
    return Mask(DefectMask.of(_any_row(_any_row(mask, factor).T, factor).T), placement)


def _any_row(mask: np.ndarray, factor: int) -> np.ndarray:
    """Each `factor` rows as one, the rest as another: True where any of them is."""
    reduced = mask[::factor].copy()
    for first in range(1, factor):
        rows = mask[first::factor]
        reduced[: len(rows)] |= rows
    return reduced


def _mask_of(entry: Entry, image: InputImage, frame: Frame) -> Mask | None:
    """The mask with which an image is compared; a good image's is empty, a defective one may have none."""
    if entry.label == "good":
        return reduced_mask(None, image, frame.placement(image))
    if not entry.masks:
        return None
    mask = united_mask(entry.masks, image.size, [_below_data_set(mask, entry) for mask in entry.masks])
    return reduced_mask(mask, image, frame.placement(image))


def _below_data_set(path: Path, entry: Entry) -> str:
    """A file's path below the folder that its entry's name starts from; its own name if it lies elsewhere."""
    folder = entry.path.parents[len(Path(entry.name).parts) - 1]
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
