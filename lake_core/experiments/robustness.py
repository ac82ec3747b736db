"""Robustness of one image's score: fitted on other normal images, and for an image shifted, rotated or compressed."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from PIL import Image

from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.experiments.perturbation_table import AS_IS, COLUMNS, PerturbationTable, perturbation_finding
from lake_core.experiments.selection_overlap import fewer_normals
from lake_core.sentences import quantity
from lake_core.types import Progress, counted

LEAVE_ONE_OUT = "leave one normal out"
FEWER = "number of normals"
SHIFT = "shift"
ROTATION = "rotation"
JPEG = "JPEG quality"

SHIFTS = {"1 px right": (1, 0), "1 px left": (-1, 0), "1 px down": (0, 1), "1 px up": (0, -1)}
ANGLES = (-5.0, -2.0, 2.0, 5.0)
QUALITIES = (95, 75, 50, 30)
_PRIVATE_BYTES = 64 * 1024**2

Run = tuple[str, str, Callable[[], ImageResult]]


def score_stability(
    lake: Lake, image: InputImage, n_seeds: int = 3, on_progress: Progress | None = None
) -> PerturbationTable:
    """An image's score from other normal images, and the scores of slightly changed copies of it.

    Each normal image is left out in turn; 1, 2 and 4 of them (as far as there are more) are drawn `n_seeds` times,
    the same at every call: the detector is fitted again from stored activations, with its own threshold. The image is
    shifted by one pixel, rotated by 2 and 5 degrees and saved as JPEG: each runs the model once, and its activations
    are not kept. The corners of a rotated image are filled by mirroring it at its edges; a seam may itself count as a
    defect, so compare the families before blaming the angle.

    Args:
        lake: As fitted; one with ablated neurons is fitted again with all of them.
        image: Any image.
        n_seeds: Draws for each number of normal images.
        on_progress: Called after each change; may raise to cancel.
    Returns:
        A table with the families "leave one normal out", "number of normals", "shift", "rotation", "JPEG quality".
        The first row, "as it is", is also the one with all normal images.
    """
    before = lake.explain(image)
    runs = [*_other_normals(lake, image, n_seeds), *_perturbed(lake, image)]
    rows = [_row(AS_IS, f"all {quantity(len(lake.normals_), 'normal image')}", before)]
    rows += [_row(family, what, run()) for family, what, run in counted(runs, on_progress)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return PerturbationTable(table, perturbation_finding(table))


def n_changes(n_normals: int, n_seeds: int = 3) -> tuple[int, int]:
    """What `score_stability` takes: detectors that are fitted, and images that go through the network."""
    return len(fewer_normals(n_normals, n_seeds)), len(SHIFTS) + len(ANGLES) + len(QUALITIES)


def shifted(rgb: np.ndarray, right: int, down: int) -> np.ndarray:
    """The image moved by whole pixels, (h, w, 3) uint8; its edges fill what becomes free."""
    height, width = rgb.shape[:2]
    rows = (np.arange(height) - down).clip(0, height - 1)
    cols = (np.arange(width) - right).clip(0, width - 1)
    return np.ascontiguousarray(rgb[rows][:, cols])


def rotated(rgb: np.ndarray, degrees: float) -> np.ndarray:
    """The image rotated counterclockwise about its centre, (h, w, 3) uint8; its mirrored edges fill the corners."""
    height, width = rgb.shape[:2]
    border = int(np.ceil(max(height, width) / 2 * abs(np.sin(np.radians(degrees))))) + 3
    wide = np.pad(rgb, ((border, border), (border, border), (0, 0)), mode="symmetric")
    turned = np.asarray(Image.fromarray(wide).rotate(degrees, Image.Resampling.BICUBIC))
    return np.ascontiguousarray(turned[border : border + height, border : border + width])


def as_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    """The image as it comes out of a JPEG file, (h, w, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def _other_normals(lake: Lake, image: InputImage, n_seeds: int) -> Iterator[Run]:
    for chosen, left_out, seed in fewer_normals(len(lake.normals_), n_seeds):

        def run(chosen: list[int] = chosen) -> ImageResult:
            other = Lake(lake.backbone, lake.config, lake.store)
            other = other.fit([lake.normals_[i] for i in chosen]).with_threshold(lake.own_threshold)
            return other.explain(image)

        if left_out is not None:
            yield LEAVE_ONE_OUT, f"without {lake.normals_[left_out].name}", run
        else:
            yield FEWER, f"{len(chosen)} of {len(lake.normals_)}, seed {seed}", run


def _perturbed(lake: Lake, image: InputImage) -> Iterator[Run]:
    store = FeatureStore(lake.backbone, MemoryBudget(_PRIVATE_BYTES), batch_size=1)

    def run(change: Callable[..., np.ndarray], *amount: float) -> Callable[[], ImageResult]:
        def scored() -> ImageResult:
            changed = read_image(change(image.rgb, *amount), image.name)
            store.ensure([changed], lake.hook_points)
            acts = {hook_point: store.get(changed, hook_point) for hook_point in lake.hook_points}
            return lake.aggregate(lake.compute_maps_from(changed, acts))

        return scored

    for what, (right, down) in SHIFTS.items():
        yield SHIFT, what, run(shifted, right, down)
    for degrees in ANGLES:
        yield ROTATION, f"{degrees:+g}°", run(rotated, degrees)
    for quality in QUALITIES:
        yield JPEG, f"{quality}", run(as_jpeg, quality)


def _row(family: str, what: str, result: ImageResult) -> tuple[str, str, float, float, float, bool]:
    return family, what, result.score, result.text, result.threshold, result.is_anomalous
