"""The leakage check: what is left of the image AUROC once the defects are cut out of the images.

The defective images of a data set may differ from the good ones in more than their defects: light, camera, framing. So
each defect is covered with what a normal image shows at the same place, and each good image is covered in the same way
under the mask of a defective one: then both have seams, and neither has a defect. What still tells them apart is not
the defects. An AUROC near 0.5 speaks for a data set; one near that of the whole images says that it measures something
else, or that the masks leave parts of the defects out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from lake_core.backbones.patch_grid import PatchGrid, Placement, mask_to_patches
from lake_core.data.images import InputImage
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.reading import Loaded
from lake_core.metrics.defect_mask import DefectMask

_MARGIN = 1 / 48
"""Of the input's side, by which the hole reaches beyond the mask: half a patch at 24 patches a side."""


def covered_batches(batches: Iterable[Batch], images: Sequence[Loaded], normal: InputImage) -> Iterator[Batch]:
    """The same batches with the defects covered, and as large a part of each good image.

    Good images take the masks of the defective ones, spread evenly over these, so that all kinds of defects are among
    them. Images without a mask to take are left out.

    Args:
        batches: Of the same images in the same order, read again.
        images: All test images with their masks.
        normal: What the holes show.
    """
    masks = masks_by_image(images)
    cover = cache(partial(_laid_out, normal))
    for batch in batches:
        kept = [i for i, image in enumerate(batch.images) if image.sha256 in masks]
        canvases = batch.canvases[kept].clone()
        for canvas, i in zip(canvases, kept, strict=True):
            placement = batch.images[i].placement
            hole = torch.from_numpy(_hole(masks[batch.images[i].sha256], placement))
            canvas[hole] = torch.from_numpy(cover(placement))[hole]
        # The store knows the images by their hash; these are others.
        covered = tuple(replace(batch.images[i], sha256=f"covered {batch.images[i].sha256}") for i in kept)
        if batch.canvases.is_pinned():
            canvases = canvases.pin_memory()
        yield Batch(covered, canvases, batch.n_entries)


def masks_by_image(images: Sequence[Loaded]) -> dict[str, DefectMask]:
    """Hash of each image that can be covered -> its own mask, or that of a defective one."""
    own = {image.sha256: mask.defects for image in images if image.has_defect and (mask := image.mask) is not None}
    masks = list(own.values())
    good = [image.sha256 for image in images if image.entry.label == "good" and image.sha256 not in own]
    return own | {sha256: masks[i * len(masks) // len(good)] for i, sha256 in enumerate(good)} if masks else {}


def _hole(mask: DefectMask, placement: Placement) -> np.ndarray:
    """(height, width) bool, in the model's input: where an image with that mask would have its defect, and a margin."""
    height, width = placement.input_height, placement.input_width
    pixels = PatchGrid(height, width, height, width)
    hole = mask_to_patches(mask.regions > 0, pixels, placement).reshape(height, width) > 0
    hole = ndimage.distance_transform_edt(~hole) <= max(1, round(_MARGIN * max(height, width)))
    on_image = np.zeros_like(hole)
    on_image[placement.rows, placement.cols] = True
    return np.asarray(hole & on_image)


def _laid_out(image: InputImage, placement: Placement) -> np.ndarray:
    """(height, width, 3) uint8: the image in the model's input where another one lies."""
    canvas = np.zeros((placement.input_height, placement.input_width, 3), np.uint8)
    resized = Image.fromarray(image.rgb).resize((placement.width, placement.height), Image.Resampling.BICUBIC)
    canvas[placement.rows, placement.cols] = np.asarray(resized)
    return canvas
