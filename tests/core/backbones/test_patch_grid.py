"""Pixels, patches and masks stay where they belong, whatever the aspect of the image and the size of the grid."""

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from lake_core.backbones.patch_grid import Frame, PatchGrid, coarse_of_fine, mask_to_patches, placement_in
from lake_core.backbones.preprocessing import normalised
from lake_core.data.images import read_image
from lake_core.errors import ConfigError
from lake_core.visualization.interpolation import map_to_image

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
GRID = PatchGrid(rows=6, cols=8, covered_height=96, covered_width=128)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model_input(array: np.ndarray, frame: Frame) -> torch.Tensor:
    image = read_image(array)
    return normalised(torch.from_numpy(frame.canvas(image))[None], [frame.placement(image)], MEAN, STD)[0]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(70, 50), (200, 311), (96, 128), (17, 600)])
def test_squash_equals_open_clips_own_preprocessing(shape: tuple[int, int], interpolation: str) -> None:
    array = noise(*shape)
    theirs = image_transform(
        (96, 128), is_train=False, resize_mode="squash", interpolation=interpolation, mean=MEAN, std=STD
    )(Image.fromarray(array))
    ours = model_input(array, Frame(96, 128, "squash", interpolation))
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)


def test_letterbox_keeps_the_aspect_and_surrounds_with_the_mean_colour() -> None:
    array = noise(200, 300)
    frame = Frame(384, 384, "letterbox", "bicubic")
    placement = frame.placement(read_image(array))
    assert (placement.top, placement.left, placement.height, placement.width) == (64, 0, 256, 384)
    found = model_input(array, frame)
    assert found.shape == (3, 384, 384)
    assert not found[:, :64].any()
    assert not found[:, 320:].any()
    squashed = image_transform((256, 384), is_train=False, resize_mode="squash", mean=MEAN, std=STD)
    assert torch.equal(found[:, 64:320], squashed(Image.fromarray(array)))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((100, 400), (0, 48, 128, 32)),
        ((64, 64), (0, 0, 128, 128)),
        ((2048, 16), (63, 0, 1, 128)),
        ((301, 200), (21, 0, 85, 128)),
    ],
)
def test_letterbox_boxes(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    placement = placement_in(*size, 128, 128, "letterbox")
    assert (placement.top, placement.left, placement.height, placement.width) == box


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="resize is 'crop'"):
        placement_in(9, 9, 9, 9, "crop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'cubic': use one of bicubic, bilinear"):
        Frame(32, 32, "squash", "cubic").canvas(read_image(noise(20, 20)))


def test_boxes_of_a_squash_tile_the_image() -> None:
    placement = placement_in(320, 120, 96, 128, "squash")
    boxes = np.array([GRID.box(p, placement, (320, 120)) for p in range(GRID.n_patches)])
    assert np.array_equal(GRID.boxes(placement, (320, 120)), boxes)
    assert boxes[9].tolist() == [40, 20, 80, 40]
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == pytest.approx(320 * 120)
    assert GRID.inside(placement).all()
    for wrong in (-1, 48):
        with pytest.raises(ValueError, match="is not on a grid"):
            GRID.box(wrong, placement, (320, 120))


def test_boxes_of_a_letterbox_are_clipped_to_the_image() -> None:
    grid, placement = PatchGrid(4, 4, 128, 128), placement_in(200, 100, 128, 128, "letterbox")  # image in rows 32..96
    assert grid.box(0, placement, (200, 100)) == (0, 0, 50, 0)
    assert grid.box(5, placement, (200, 100)) == (50, 0, 100, 50)
    assert grid.inside(placement).reshape(4, 4).any(axis=1).tolist() == [False, True, True, False]
    shifted = placement_in(200, 130, 128, 128, "letterbox")  # rows 22..105: the outer patches straddle the edge
    assert grid.inside(shifted).reshape(4, 4)[:, 0].tolist() == [False, True, True, False]
    assert grid.box(0, shifted, (200, 130))[3] == pytest.approx(10 * 130 / 83)


def test_an_image_between_the_centres_still_has_patches() -> None:
    placement = placement_in(2048, 16, 128, 128, "letterbox")  # one row of input pixels, 63..64
    inside = PatchGrid(8, 8, 128, 128).inside(placement).reshape(8, 8)
    assert inside.all(axis=1).tolist() == [False, False, False, True, False, False, False, False]


def test_coarse_of_fine_halves_a_grid() -> None:
    coarse = coarse_of_fine(PatchGrid(24, 24, 384, 384), PatchGrid(12, 12, 384, 384))
    assert coarse.dtype == np.int64
    expected = (np.arange(24)[:, None] // 2) * 12 + np.arange(24)[None, :] // 2
    assert np.array_equal(coarse.reshape(24, 24), expected)


def test_coarse_of_fine_where_grids_do_not_divide() -> None:
    # 5 centres at 0.1, 0.3, 0.5, 0.7, 0.9 of the side; 3 columns of a third each; 2 rows with a line through a centre
    coarse = coarse_of_fine(PatchGrid(5, 5, 100, 100), PatchGrid(2, 3, 100, 100)).reshape(5, 5)
    assert coarse[0].tolist() == [0, 0, 1, 2, 2]
    assert coarse[:, 0].tolist() == [0, 0, 3, 3, 3]


def test_coarse_of_fine_respects_unequal_covered_areas() -> None:
    # the coarse grid covers 224 of 250 pixels: the last fine patch's centre, 240, belongs to its last patch
    coarse = coarse_of_fine(PatchGrid(12, 12, 250, 250), PatchGrid(7, 7, 224, 224)).reshape(12, 12)
    centres = (np.arange(12) + 0.5) * 250 / 12
    assert coarse[0].tolist() == np.minimum(centres // 32, 6).astype(int).tolist()
    same = PatchGrid(3, 4, 30, 40)
    assert coarse_of_fine(same, same).tolist() == list(range(12))


def test_mask_shares_are_exact_areas() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:20, 20:25] = True  # patch (1, 2) is rows 10..20, columns 20..30: half of it
    shares = mask_to_patches(mask, GRID, placement_in(80, 60, 96, 128, "squash"))
    assert shares[1 * 8 + 2] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(0.5)
    assert mask_to_patches(np.ones((31, 17), bool), GRID, placement_in(17, 31, 96, 128, "squash")) == pytest.approx(
        np.ones(48)
    )


def test_mask_shares_conserve_area_in_a_letterbox() -> None:
    mask = np.random.default_rng(1).random((77, 211)) > 0.9
    placement = placement_in(211, 77, 96, 128, "letterbox")
    shares = mask_to_patches(mask, GRID, placement)
    assert shares.sum() * 16 * 16 == pytest.approx(mask.mean() * placement.height * placement.width)
    assert not shares.reshape(6, 8)[0].any()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_map_puts_the_hot_patch_where_its_box_is(resize: str, smooth: bool) -> None:
    size = (240, 160)
    placement = placement_in(*size, 96, 128, resize)  # type: ignore[arg-type]
    for hot in np.flatnonzero(GRID.inside(placement)):
        values = np.zeros(48, np.float32)
        values[hot] = 1
        spread = map_to_image(values, GRID, placement, size, smooth)
        left, top, right, bottom = GRID.box(int(hot), placement, size)
        assert spread.shape == (160, 240)
        assert spread.dtype == np.float32
        y, x = np.unravel_index(np.argmax(spread), spread.shape)
        assert left <= x + 0.5 <= right
        assert top <= y + 0.5 <= bottom
        if not smooth:
            rows, cols = np.nonzero(spread)
            assert left <= cols.min() + 0.5 <= cols.max() + 0.5 <= right
            assert top <= rows.min() + 0.5 <= rows.max() + 0.5 <= bottom
            assert len(rows) == pytest.approx((right - left) * (bottom - top), rel=0.1)


def test_smooth_maps_are_linear_between_centres_and_flat_beyond() -> None:
    placement = placement_in(128, 96, 96, 128, "squash")
    spread = map_to_image(np.tile(np.arange(8, 128, 16), 6), GRID, placement, (128, 96), smooth=True)
    assert spread[50] == pytest.approx(np.clip(np.arange(128) + 0.5, 8, 120))
    constant = map_to_image(np.full(48, 0.7), GRID, placement, (50, 31), smooth=True)
    assert constant == pytest.approx(np.full((31, 50), 0.7))


def test_maps_are_empty_where_the_grid_does_not_cover() -> None:
    placement = placement_in(100, 50, 250, 250, "squash")
    for smooth in (False, True):
        spread = map_to_image(np.ones(49), PatchGrid(7, 7, 224, 224), placement, (100, 50), smooth)
        assert np.isnan(spread[:, 90:]).all()
        assert np.isnan(spread[45:]).all()
        assert (spread[:44, :89] == 1).all()


def test_smooth_maps_do_not_take_values_from_beside_the_image() -> None:
    grid, placement = PatchGrid(4, 4, 128, 128), placement_in(200, 130, 128, 128, "letterbox")
    for outside in (99.0, np.nan, -np.inf):
        values = np.where(grid.inside(placement), 1.0, outside)
        spread = map_to_image(values, grid, placement, (200, 130), smooth=True)
        assert spread == pytest.approx(np.ones((130, 200)))
