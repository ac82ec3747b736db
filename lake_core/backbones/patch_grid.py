"""Geometry: an image in the model's input, patches on the input, and patches on the image.

Three coordinate systems, all continuous, from the top left corner: image pixels, input pixels, patches.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from lake_core.data.images import InputImage
from lake_core.errors import ConfigError

Resize = Literal["squash", "letterbox"]

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
    "random": Image.Resampling.BICUBIC,  # in training configurations; open_clip reads it so at inference
}


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the model's input; all in input pixels."""

    input_height: int
    input_width: int
    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """The image's rows of the input."""
        return slice(self.top, self.top + self.height)

    @property
    def cols(self) -> slice:
        """The image's columns of the input."""
        return slice(self.left, self.left + self.width)

    @property
    def fills_input(self) -> bool:
        """Whether no part of the input lies beside the image."""
        return (self.height, self.width) == (self.input_height, self.input_width)


def placement_in(width: int, height: int, input_height: int, input_width: int, resize: Resize) -> Placement:
    """Where an image of width x height pixels lies in the model's input.

    "squash" fills the input and changes the aspect; "letterbox" keeps the aspect and centres the image. Neither
    crops, so a defect at the edge is never lost.

    Raises:
        ConfigError: if `resize` is neither.
    """
    if resize == "squash":
        return Placement(input_height, input_width, 0, 0, input_height, input_width)
    if resize != "letterbox":
        raise ConfigError(f"resize is '{resize}': use 'squash' or 'letterbox'.")
    scale = min(input_width / width, input_height / height)
    box_width = min(input_width, max(1, round(width * scale)))
    box_height = min(input_height, max(1, round(height * scale)))
    top, left = (input_height - box_height) // 2, (input_width - box_width) // 2
    return Placement(input_height, input_width, top, left, box_height, box_width)


@dataclass(frozen=True)
class Frame:
    """The model's input as images are laid into it.

    Attributes:
        height, width: In input pixels.
        resize: "squash" or "letterbox"; see `placement_in`.
        interpolation: "bicubic", "bilinear", "lanczos", "box" or "nearest".
    """

    height: int
    width: int
    resize: Resize
    interpolation: str

    def placement(self, image: InputImage) -> Placement:
        """Where the image lies."""
        return placement_in(image.width, image.height, self.height, self.width, self.resize)

    def canvas(self, image: InputImage) -> np.ndarray:
        """The input with the image in its placement, resized by Pillow with antialiasing; 0 beside it.

        Returns:
            (height, width, 3) uint8.
        Raises:
            ConfigError: if the interpolation is not known.
        """
        if self.interpolation not in _RESAMPLING:
            allowed = ", ".join(key for key in _RESAMPLING if key != "random")
            raise ConfigError(f"interpolation is '{self.interpolation}': use one of {allowed}.")
        placement = self.placement(image)
        size = (placement.width, placement.height)
        resized = Image.fromarray(image.rgb).resize(size, _RESAMPLING[self.interpolation])
        canvas = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        canvas[placement.rows, placement.cols] = np.asarray(resized)
        return canvas


@dataclass(frozen=True)
class PatchGrid:
    """The patches of one layer, numbered row by row from the top left corner.

    Attributes:
        rows, cols: Patches along each axis.
        covered_height, covered_width: Input pixels that the grid covers, from the top left corner; less than the
            input where the patch size does not divide it.
    """

    rows: int
    cols: int
    covered_height: int
    covered_width: int

    @property
    def n_patches(self) -> int:
        return self.rows * self.cols

    def box(self, patch: int, placement: Placement, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """A patch's box (left, top, right, bottom) in image pixels, clipped to the image.

        Args:
            image_size: (width, height).
        """
        if not 0 <= patch < self.n_patches:
            raise ValueError(f"patch {patch} is not on a grid of {self.rows} x {self.cols}")
        row, col = divmod(patch, self.cols)
        y_edges, x_edges = self._edges(placement, (image_size[1], image_size[0]))
        return float(x_edges[col]), float(y_edges[row]), float(x_edges[col + 1]), float(y_edges[row + 1])

    def boxes(self, placement: Placement, image_size: tuple[int, int]) -> np.ndarray:
        """(n_patches, 4) float64: the boxes of all patches, each as from `box`."""
        y_edges, x_edges = self._edges(placement, (image_size[1], image_size[0]))
        left, top = np.meshgrid(x_edges[:-1], y_edges[:-1])
        right, bottom = np.meshgrid(x_edges[1:], y_edges[1:])
        return np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4)

    def inside(self, placement: Placement) -> np.ndarray:
        """(n_patches,) bool: whether each patch's centre lies on the image; all True for a squash.

        An image so narrow in its letterbox that it slips between the centres has the patches along its middle.
        """
        on_rows = _cells_on(self.rows, self.covered_height, placement.top, placement.height)
        on_cols = _cells_on(self.cols, self.covered_width, placement.left, placement.width)
        is_inside: np.ndarray = on_rows[:, None] & on_cols
        return is_inside.reshape(-1)

    def _edges(self, placement: Placement, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The grid's lines (rows + 1,) and (cols + 1,) in pixels of an array that fills the placement's box."""
        y = np.arange(self.rows + 1) * (self.covered_height / self.rows)
        x = np.arange(self.cols + 1) * (self.covered_width / self.cols)
        height, width = shape
        y_edges = np.clip((y - placement.top) * height / placement.height, 0, height)
        x_edges = np.clip((x - placement.left) * width / placement.width, 0, width)
        return y_edges, x_edges


def coarse_of_fine(fine: PatchGrid, coarse: PatchGrid) -> np.ndarray:
    """(fine.n_patches,) int64: for each fine patch the coarse patch that contains its centre.

    A centre on a line between two coarse patches belongs to the later one; one beyond the coarse grid's covered area
    to the nearest coarse patch. Whole-number arithmetic, so that rounding decides nothing.
    """
    row = (2 * np.arange(fine.rows) + 1) * fine.covered_height * coarse.rows // (2 * fine.rows * coarse.covered_height)
    col = (2 * np.arange(fine.cols) + 1) * fine.covered_width * coarse.cols // (2 * fine.cols * coarse.covered_width)
    row, col = np.minimum(row, coarse.rows - 1), np.minimum(col, coarse.cols - 1)
    return (row[:, None] * coarse.cols + col[None, :]).reshape(-1).astype(np.int64)


def mask_to_patches(mask: np.ndarray, grid: PatchGrid, placement: Placement) -> np.ndarray:
    """The share of each patch's area that is defect.

    Args:
        mask: (h, w) bool over the whole image, of any resolution.
    Returns:
        (n_patches,) float64 in [0, 1]; area outside of the image counts as not defect.
    """
    height, width = mask.shape
    in_rows, in_cols = _overlaps_of(grid, placement, (height, width))
    area_rc: np.ndarray = in_rows @ mask.astype(np.float64) @ in_cols.T
    patch_height = grid.covered_height / grid.rows * height / placement.height
    patch_width = grid.covered_width / grid.cols * width / placement.width
    share_rc: np.ndarray = np.clip(area_rc / (patch_height * patch_width), 0.0, 1.0)
    return share_rc.reshape(-1)


@lru_cache(maxsize=64)  # the images of a data set mostly have one size
def _overlaps_of(grid: PatchGrid, placement: Placement, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How much of each row and column of pixels lies in each row and column of patches."""
    y_edges, x_edges = grid._edges(placement, shape)
    return _overlaps(y_edges, shape[0]), _overlaps(x_edges, shape[1])


def _cells_on(n_cells: int, covered: int, start: int, length: int) -> np.ndarray:
    """(n_cells,) bool: whether each cell's centre lies in [start, start + length); at least one is True."""
    centres = (np.arange(n_cells) + 0.5) * (covered / n_cells)
    is_on = (centres >= start) & (centres < start + length)
    if not is_on.any():
        is_on[np.abs(centres - (start + length / 2)).argmin()] = True
    return is_on


def _overlaps(edges: np.ndarray, n_pixels: int) -> np.ndarray:
    """(n_edges - 1, n_pixels): the length of each pixel that lies in each interval."""
    pixel = np.arange(n_pixels)
    lengths: np.ndarray = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return lengths.clip(min=0)
