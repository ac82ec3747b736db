"""The leakage check: covered pixels are a normal image's, and what is not the defect stays to be found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import Placement
from lake_core.config import LakeConfig
from lake_core.data.folders import Entry, index_folder
from lake_core.data.images import read_image
from lake_core.evaluation.leakage import covered_batches, masks_by_image
from lake_core.evaluation.loading import Batch, load_ahead
from lake_core.evaluation.protocol import FewShotProtocol, labelled_tests
from lake_core.evaluation.reading import Loaded, Mask
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import evaluate
from lake_core.metrics.defect_mask import DefectMask
from tests.core.stains import N_BAD, N_GOOD, write_category

PROTOCOL = FewShotProtocol((4,), (0,), ("lake", "all"), leakage_check=True)


def measured(folder: Path, backbone: Backbone) -> EvaluationReport:
    return evaluate([folder], backbone, LakeConfig(top_k=20), PROTOCOL)


def changed(folder: Path, pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in folder.glob(pattern):
        Image.fromarray(change(np.asarray(Image.open(path)).copy())).save(path)


def test_covered_parts_show_a_normal_image_and_the_rest_stays(stained: list[Path], small_cnn: Backbone) -> None:
    tests = labelled_tests(index_folder(stained[0]))
    batches = list(load_ahead(tests, small_cnn, 4, with_masks=True))
    images = [image for batch in batches for image in batch.images]
    before = torch.cat([batch.canvases for batch in batches])
    normal = read_image(stained[0] / "train/good/000.png")
    covered = list(covered_batches(load_ahead(tests, small_cnn, 4, with_masks=False), images, normal))
    after = torch.cat([batch.canvases for batch in covered])
    assert len(after) == len(before) == N_GOOD + N_BAD
    cover = torch.from_numpy(small_cnn.frame.canvas(normal))
    for image, old, new in zip(images, before, after, strict=True):
        differs = (old != new).any(2)
        assert torch.equal(new[differs], cover[differs])
        if image.mask is not None and image.entry.label == "defective":
            red = (old[..., 0].int() - old[..., 1].int()) > 60
            assert red.any()
            assert not (red & ~differs).any()
        assert 0.02 < differs.float().mean() < 0.25
    assert not {image.sha256 for batch in covered for image in batch.images} & {image.sha256 for image in images}


def test_without_their_stains_stained_images_cannot_be_told_from_good_ones(tmp_path: Path, small_cnn: Backbone) -> None:
    report = measured(write_category(tmp_path / "cloth", 0, with_masks=True), small_cnn)
    for row in report.results:
        assert row.image_auroc == 1
        assert row.covered_auroc is not None
        assert row.covered_auroc < 0.9
        assert row.pointing_game is not None
        assert row.pointing_chance is not None
        assert 0 < row.pointing_chance < row.pointing_game


def test_what_gives_defective_images_away_beside_their_defects_is_seen(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "cloth", 0, with_masks=True)
    changed(folder, "test/stain/*.png", lambda rgb: (rgb * 0.6).astype(np.uint8))
    assert [row.covered_auroc for row in measured(folder, small_cnn).results] == [1, 1]


def test_without_masks_nothing_can_be_covered(tmp_path: Path, small_cnn: Backbone) -> None:
    report = measured(write_category(tmp_path / "cloth", 0, with_masks=False), small_cnn)
    assert [row.covered_auroc for row in report.results] == [None, None]
    assert [row.pointing_game for row in report.results] == [None, None]
    assert any("the leakage check needs masks" in problem for problem in report.problems)


@pytest.mark.parametrize("leakage_check", [True, False])
def test_it_is_made_only_where_it_is_asked_for(stained: list[Path], small_cnn: Backbone, leakage_check: bool) -> None:
    protocol = FewShotProtocol((1,), (0,), ("lake",), leakage_check=leakage_check)
    seen: list[tuple[int, int]] = []
    report = evaluate(
        stained[:1],
        small_cnn,
        LakeConfig(top_k=5),
        protocol,
        on_progress=lambda _, done, total: seen.append((done, total)),
    )
    assert (report.results[0].covered_auroc is not None) == leakage_check
    assert seen[-1] == (1 + (N_GOOD + N_BAD) * (1 + leakage_check),) * 2


def mask_of(shape: tuple[int, int], rows: slice, cols: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, cols] = True
    return mask


def in_memory(defects: list[np.ndarray | None], placements: list[Placement]) -> list[Loaded]:
    return [
        Loaded(
            Entry(Path(f"{i}.png"), f"{i}.png", "test", "good" if defect is None else "defective"),
            str(i),
            placement,
            None if defect is None else Mask(DefectMask.of(defect), placement),
        )
        for i, (defect, placement) in enumerate(zip(defects, placements, strict=True))
    ]


def test_good_images_take_masks_of_all_kinds() -> None:
    whole = Placement(64, 64, 0, 0, 64, 64)
    large, small = mask_of((64, 64), slice(0, 40), slice(0, 40)), mask_of((64, 64), slice(0, 4), slice(0, 4))
    images = in_memory([None, None, *[large] * 10, *[small] * 10], [whole] * 22)
    taken = masks_by_image(images)
    assert [taken[str(i)].n_defect for i in (0, 1)] == [1600, 16]


def test_thin_defects_are_covered_and_nothing_beside_the_image() -> None:
    upper = Placement(64, 64, 0, 0, 32, 64)
    whole = Placement(64, 64, 0, 0, 64, 64)
    scratch = mask_of((256, 256), slice(7, 8), slice(40, 200))
    images = in_memory([scratch, None], [whole, upper])
    canvases = torch.full((2, 64, 64, 3), 9, dtype=torch.uint8)
    normal = read_image(np.full((64, 64, 3), 200, np.uint8), "normal")
    (batch,) = covered_batches([Batch(tuple(images), canvases, 2)], images, normal)
    first, second = ((canvas == 200).all(2).numpy() for canvas in batch.canvases)
    assert first[1, 10:50].all()
    assert first.sum() < 64 * 8
    assert second[:3, 10:50].any()
    assert not second[32:].any()
