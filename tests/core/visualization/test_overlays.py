"""A clean part looks clean, one value has one colour on every image, and no meaning hangs on colour alone."""

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.patch_grid import PatchGrid, Placement, placement_in
from lake_core.data.images import InputImage, read_image
from lake_core.visualization.colours import (
    ScoreScale,
    ValueScale,
    activation_scale,
    nice_ceiling,
    score_scale,
    symmetric_limit,
    value_colours,
)
from lake_core.visualization.crops import crop_with_box, mark_box
from lake_core.visualization.legends import colour_bar, value_colour_bar
from lake_core.visualization.overlays import Style, neuron_overlay, overlay, thumbnail

GRID = PatchGrid(rows=8, cols=8, covered_height=128, covered_width=128)
SQUASHED = placement_in(128, 128, 128, 128, "squash")
SCALE = ScoreScale(vmax=4.0, threshold=1.0)


def image(height: int = 128, width: int = 128) -> InputImage:
    return read_image(np.random.default_rng(7).integers(40, 200, (height, width, 3), dtype=np.uint8))


def grey(height: int = 128, width: int = 128) -> InputImage:
    return read_image(np.full((height, width, 3), 120, dtype=np.uint8))


def with_peak(value: float, row: int = 2, col: int = 5, rest: float = 0.0) -> np.ndarray:
    values = np.full((8, 8), rest, dtype=np.float32)
    values[row, col] = value
    return values


def changed(image: Image.Image, shown: InputImage) -> np.ndarray:
    """(height, width) int: how far each pixel is from the image's own."""
    return np.abs(np.asarray(image).astype(int) - np.asarray(thumbnail(shown)).astype(int)).max(axis=2)


def white_line(image: Image.Image) -> np.ndarray:
    return np.asarray((np.asarray(image) > 250).all(axis=2))


@pytest.mark.parametrize(
    ("value", "ceiling"),
    [(0.93, 1.0), (1.0, 1.0), (1.01, 1.2), (2.27, 2.5), (2.5, 2.5), (7.1, 8.0), (9.0, 10.0), (0.031, 0.04), (430, 500)],
)
def test_the_nice_ceiling_is_round_and_not_below(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == ceiling


def test_the_scale_covers_every_map_and_twice_the_threshold() -> None:
    maps = [with_peak(1.7), with_peak(np.nan), with_peak(3.3), np.full((2, 2), np.nan)]
    assert score_scale(maps, 1.1) == ScoreScale(4.0, 1.1)
    assert score_scale(maps, 2.9) == ScoreScale(6.0, 2.9)
    assert score_scale([0.4, 1.9], 0.2) == ScoreScale(1.0, 0.2, is_open=True)
    assert score_scale([0.4, 1.9], 0.4) == ScoreScale(2.0, 0.4)
    assert score_scale([], 0.0) == ScoreScale(1.0, 0.0)


@pytest.mark.parametrize("smooth", [True, False])
def test_a_value_of_zero_leaves_the_image_as_it_is(smooth: bool) -> None:
    shown = image()
    assert not changed(overlay(shown, with_peak(0.0), GRID, SQUASHED, SCALE, Style(smooth=smooth)), shown).any()
    low = overlay(shown, with_peak(0.5, rest=0.5), GRID, SQUASHED, SCALE, Style(smooth=smooth))
    assert not changed(low, shown).any()


def test_a_value_below_the_threshold_shows_less_than_one_above() -> None:
    shown = image()
    means = [
        changed(overlay(shown, with_peak(v, rest=v), GRID, SQUASHED, SCALE, Style(contour=False)), shown).mean()
        for v in (0.5, 0.7, 0.9, 1.1, 2.0)
    ]
    assert means == sorted(means)
    assert means[0] == 0 < means[1] < 0.4 * means[3]


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_the_hottest_pixels_lie_in_the_box_of_the_hottest_patch(smooth: bool, resize: str) -> None:
    shown = grey(96, 240)
    placement = placement_in(240, 96, 128, 128, "squash" if resize == "squash" else "letterbox")
    values = with_peak(3.9, row=3, col=6)
    image = overlay(shown, values, GRID, placement, SCALE, Style(smooth=smooth, contour=False))
    rows, cols = np.nonzero(changed(image, shown) == changed(image, shown).max())
    left, top, right, bottom = GRID.box(3 * 8 + 6, placement, shown.size)
    assert left <= cols.mean() + 0.5 <= right
    assert top <= rows.mean() + 0.5 <= bottom
    outside = np.ones((96, 240), dtype=bool)
    reach = (right - left) if smooth else 0
    outside[max(0, int(top - reach)) : int(bottom + reach) + 1, max(0, int(left - reach)) : int(right + reach) + 1] = (
        False
    )
    assert not changed(image, shown)[outside].any()


@pytest.mark.parametrize("smooth", [True, False])
def test_the_same_value_has_the_same_colour_whatever_else_is_on_the_image(smooth: bool) -> None:
    weak = overlay(grey(), with_peak(1.5), GRID, SQUASHED, SCALE, Style(smooth=smooth))
    strong_values = with_peak(1.5)
    strong_values[6, 1] = 4.0
    strong = overlay(grey(), strong_values, GRID, SQUASHED, SCALE, Style(smooth=smooth))
    part = (slice(24, 56), slice(72, 104))
    assert np.array_equal(np.asarray(weak)[part], np.asarray(strong)[part])
    assert not np.array_equal(np.asarray(weak), np.asarray(strong))


@pytest.mark.parametrize("smooth", [True, False])
def test_where_there_is_no_value_the_image_stays(smooth: bool) -> None:
    shown = image()
    values = np.full((8, 8), 3.0, dtype=np.float32)
    values[:, :4] = np.nan
    far = changed(overlay(shown, values, GRID, SQUASHED, SCALE, Style(smooth=smooth, contour=False)), shown)
    assert not far[:, :64].any()
    assert far[:, 64:].mean() > 20


@pytest.mark.parametrize("smooth", [True, False])
def test_a_line_surrounds_what_is_above_the_threshold_and_nothing_else(smooth: bool) -> None:
    below = overlay(grey(256, 256), with_peak(0.999, rest=0.9), GRID, SQUASHED, SCALE, Style(smooth=smooth))
    assert not white_line(below).any()
    equal = overlay(grey(256, 256), with_peak(1.0), GRID, SQUASHED, SCALE, Style(smooth=smooth))
    assert not white_line(equal).any()
    barely = overlay(grey(256, 256), with_peak(1.001, rest=0.2), GRID, SQUASHED, SCALE, Style(smooth=smooth))
    rows, cols = np.nonzero(white_line(barely))
    left, top, right, bottom = GRID.box(2 * 8 + 5, SQUASHED, (256, 256))
    assert len(rows) > 10
    assert left - 2 <= cols.min() <= (left + right) / 2 <= cols.max() <= right + 2
    assert top - 2 <= rows.min() <= (top + bottom) / 2 <= rows.max() <= bottom + 2
    assert not white_line(overlay(grey(), with_peak(3.0), GRID, SQUASHED, SCALE, Style(contour=False))).any()


def test_the_line_has_a_dark_casing_so_that_it_shows_on_white() -> None:
    white = read_image(np.full((256, 256, 3), 255, dtype=np.uint8))
    drawn = overlay(white, with_peak(3.0), GRID, SQUASHED, SCALE, Style(smooth=False))
    image = np.asarray(drawn.convert("L")).astype(int)
    left, top, _, bottom = (int(edge) for edge in GRID.box(2 * 8 + 5, SQUASHED, (256, 256)))
    across = image[(top + bottom) // 2, left - 5 : left + 5]
    assert across.max() >= 250
    assert across.min() < 100


def test_an_image_that_is_above_the_threshold_everywhere_has_a_line_along_its_border() -> None:
    image = overlay(grey(), with_peak(3.0, rest=3.0), GRID, SQUASHED, SCALE)
    line = white_line(image)
    assert line[0].all()
    assert line[:, -1].all()
    assert not line[8:-8, 8:-8].any()


def test_patches_off_the_image_draw_no_line() -> None:
    placement = placement_in(128, 64, 128, 128, "letterbox")
    values = with_peak(9.0, row=0, col=3)
    shown = image(64, 128)
    assert not changed(overlay(shown, values, GRID, placement, SCALE), shown).any()


@pytest.mark.parametrize("threshold", [0.0, -1.0, 50.0])
def test_odd_thresholds_give_an_image(threshold: float) -> None:
    scale = score_scale([with_peak(3.0)], threshold)
    assert overlay(grey(), with_peak(3.0), GRID, SQUASHED, scale).size == (128, 128)
    assert colour_bar(scale).size == (360, 56)


def test_large_images_are_reduced_and_small_ones_not_enlarged() -> None:
    large = overlay(
        image(300, 600), with_peak(3.0), GRID, placement_in(600, 300, 128, 128, "squash"), SCALE, Style(max_side=256)
    )
    assert large.size == (256, 128)
    assert overlay(image(), with_peak(3.0), GRID, SQUASHED, SCALE, Style(max_side=256)).size == (128, 128)


def test_signed_values_are_blue_below_zero_and_red_above_on_one_limit() -> None:
    values = with_peak(2.0, row=1, col=1)
    values[6, 6] = -2.0
    image = np.asarray(neuron_overlay(grey(), values, GRID, SQUASHED, ValueScale(2.0))).astype(int)
    red, _, blue = image[24, 24]
    assert red > blue + 60
    red, _, blue = image[104, 104]
    assert blue > red + 60
    assert (image[64, 64] == 120).all()
    half = np.asarray(neuron_overlay(grey(), values, GRID, SQUASHED, ValueScale(4.0))).astype(int)
    assert not np.array_equal(half[24, 24], image[24, 24])
    with pytest.raises(ValueError, match="limit"):
        ValueScale(0.0)


def test_activations_have_two_colours_only_where_one_is_negative() -> None:
    assert activation_scale([with_peak(5.4), np.array([np.nan, 0.0])]) == ValueScale(6.0, is_signed=False)
    assert activation_scale([with_peak(5.4), with_peak(-0.2)]) == ValueScale(6.0)
    assert activation_scale([np.zeros(3)]) == ValueScale(1.0, is_signed=False)
    brightness = value_colours(np.linspace(0, 6, 50), ValueScale(6.0, is_signed=False)).astype(int) @ [299, 587, 114]
    assert (np.diff(brightness) >= 0).all()
    assert brightness[-1] > 3 * brightness[0]
    assert (value_colours(np.array([-2.0, 0.0, 9.0]), ValueScale(6.0, is_signed=False))[:2] == [71, 19, 101]).all()


def test_the_symmetric_limit_covers_both_signs() -> None:
    assert symmetric_limit([with_peak(1.3), with_peak(-2.2), np.array([np.nan])]) == 2.5
    assert symmetric_limit([]) == 1.0


def test_the_bar_runs_from_dark_to_light_with_the_threshold_marked() -> None:
    bar = np.asarray(colour_bar(ScoreScale(4.0, 1.0), width=400, height=56)).astype(int)
    assert bar.shape == (56, 400, 4)
    luminance = bar[4, :, :3].sum(axis=1)
    plain = np.delete(luminance, range(92, 110))
    assert (np.diff(plain) >= -3).all()
    assert luminance[98:102].max() == 765
    assert luminance[96:104].min() == 0
    assert (bar[40:, 60:140, 3] > 0).any()


def test_the_bars_colours_are_those_of_the_images() -> None:
    bar = np.asarray(colour_bar(SCALE, width=401)).astype(int)
    image = np.asarray(overlay(grey(), with_peak(3.0, rest=3.0), GRID, SQUASHED, SCALE, Style(opacity=1.0))).astype(int)
    assert np.abs(image[64, 64] - bar[4, 300, :3]).max() <= 1
    assert value_colour_bar(ValueScale(2.0)).size == (360, 56)
    plain, signed = (np.asarray(value_colour_bar(ValueScale(2.0, is_signed))) for is_signed in (False, True))
    assert not np.array_equal(plain[40:], signed[40:])  # the numbers beneath: 0 and 2, not -2, 0 and +2


@pytest.mark.parametrize("box", [(40.0, 40.0, 60.0, 60.0), (0.0, 0.0, 16.0, 16.0), (112.0, 100.0, 128.0, 110.5)])
def test_a_crop_shows_the_patch_within_its_box(box: tuple[float, float, float, float]) -> None:
    array = np.full((128, 128, 3), 90, dtype=np.uint8)
    left, top, right, bottom = (round(edge) for edge in box)
    array[top:bottom, left:right] = (200, 30, 30)
    crop = crop_with_box(read_image(array), box, context=3.0, side=160)
    assert crop.size == (160, 160)
    pixels = np.asarray(crop).astype(int)
    reddish = (pixels[..., 0] > 150) & (pixels[..., 1] < 60)
    zoom = 160 / (3 * max(box[2] - box[0], box[3] - box[1]))
    expected = (box[2] - box[0]) * (box[3] - box[1]) * zoom**2
    assert 0.75 * expected < reddish.sum() < 1.15 * expected
    assert white_line(crop).sum() > 60
    rows, cols = np.nonzero(white_line(crop))
    red_rows, red_cols = np.nonzero(reddish)
    assert abs((rows.min() + rows.max()) - (red_rows.min() + red_rows.max())) <= 8
    assert abs((cols.min() + cols.max()) - (red_cols.min() + red_cols.max())) <= 8


def test_a_crop_larger_than_the_image_keeps_the_aspect() -> None:
    crop = np.asarray(crop_with_box(grey(32, 128), (50.0, 4.0, 70.0, 24.0), context=5.0, side=100))
    assert crop.shape == (100, 100, 3)
    assert (crop[:33] == 128).all()
    assert (crop[36, :20] == 120).all()


def test_a_marked_box_leaves_the_given_image_alone_and_stays_on_it() -> None:
    image = Image.new("RGB", (50, 40), (10, 120, 10))
    marked = mark_box(image, (-5.0, 30.0, 12.0, 60.0))
    assert marked.size == (50, 40)
    assert np.asarray(image).max() == 120
    assert white_line(marked).any()
    inner = np.asarray(mark_box(image, (20.0, 10.0, 30.0, 20.0)))[10:20, 20:30]
    assert (inner == (10, 120, 10)).all()


def test_a_covered_area_smaller_than_the_input_leaves_the_rim() -> None:
    grid = PatchGrid(rows=7, cols=7, covered_height=112, covered_width=112)
    shown = image()
    far = changed(
        overlay(shown, np.full((7, 7), 3.0), grid, Placement(128, 128, 0, 0, 128, 128), SCALE, Style(contour=False)),
        shown,
    )
    assert not far[112:].any()
    assert far[:112, :112].mean() > 20
