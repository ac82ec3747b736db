"""The leakage check: what is left of the image AUROC once the defects are cut out of the images.

The defective images of a data set may differ from the good ones in more than their defects: light, camera, framing. So
each defect is covered with what a normal image shows at the same place, and each good image is covered in the same way
under the mask of a defective one: then both have seams, and neither has a defect. What still tells them apart is not
the defects. An AUROC near 0.5 speaks for a data set; one near that of the whole images says that it measures something
else, or that the masks leave parts of the defects out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from lake_core.backbones.backbone import Backbone
from lake_core.data.images import InputImage
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.reading import Loaded, Mask

_MARGIN = 1 / 48
"""Of the input's side, by which the hole reaches beyond the mask: half a patch at 24 patches a side."""


def covered_batches(
    batches: Iterable[Batch], images: Sequence[Loaded], normal: InputImage, backbone: Backbone
) -> Iterator[Batch]:
    """The same batches with the defects covered, and as large a part of each good image.

    Good images take the masks of the defective ones in turn. Images without a mask to take are left out.

    Args:
        batches: Of the same images in the same order, read again.
        images: All test images with their masks.
        normal: What the holes show.
    """
    masks = _masks_by_image(images)
    cover = torch.from_numpy(backbone.frame.canvas(normal))
    for batch in batches:
        kept = [i for i, image in enumerate(batch.images) if image.sha256 in masks]
        canvases = batch.canvases[kept].clone()
        for canvas, i in zip(canvases, kept, strict=True):
            hole = torch.from_numpy(_hole(masks[batch.images[i].sha256], canvas.shape[0], canvas.shape[1]))
            canvas[hole] = cover[hole]
        # The store knows the images by their hash; these are others.
        covered = tuple(replace(batch.images[i], sha256=f"covered {batch.images[i].sha256}") for i in kept)
        if batch.canvases.is_pinned():
            canvases = canvases.pin_memory()
        yield Batch(covered, canvases, len(kept))


def _masks_by_image(images: Sequence[Loaded]) -> dict[str, Mask]:
    """Hash of each image that can be covered -> its own mask, or that of a defective one."""
    own = {one.sha256: mask for one in images if (mask := one.mask) is not None and mask.defects.n_defect}
    masks = list(own.values())
    good = [one.sha256 for one in images if one.entry.label == "good" and one.sha256 not in own]
    return own | {sha256: masks[i % len(masks)] for i, sha256 in enumerate(good)} if masks else {}


def _hole(mask: Mask, height: int, width: int) -> np.ndarray:
    """(height, width) bool, in the model's input: the mask and a margin around it."""
    placement, defects = mask.placement, mask.defects.regions > 0
    rows = (np.arange(height) - placement.top) * defects.shape[0] // placement.height
    cols = (np.arange(width) - placement.left) * defects.shape[1] // placement.width
    on_image = ((rows >= 0) & (rows < defects.shape[0]))[:, None] & ((cols >= 0) & (cols < defects.shape[1]))
    hole = defects[rows.clip(0, defects.shape[0] - 1)][:, cols.clip(0, defects.shape[1] - 1)] & on_image
    margin = max(1, round(_MARGIN * max(height, width)))
    return np.asarray(ndimage.distance_transform_edt(~hole) <= margin)
