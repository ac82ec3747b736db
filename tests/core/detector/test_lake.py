"""The detector: what it takes, what it refuses, and that it finds a drawn defect."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig, ResolvedConfig
from lake_core.data.images import ImageSource, InputImage, read_image
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError, ConfigError, ImageError, LakeError, NotFittedError
from lake_core.findings import LayerLeftOut, TextLeftOut
from tests.core.tiny import OpenTiny

DEFECT = (150, 90, 190, 120)
"""Left, top, right, bottom of the drawn defect, in pixels of a 256-pixel texture."""


def texture(seed: int, defect: bool = False) -> InputImage:
    """A woven texture with seeded irregularities, 256 x 256, with or without a dark torn spot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256] + rng.uniform(0, 16, 2)[:, None, None]
    weave = 128 + 40 * np.sin(x * np.pi / 8) * np.sin(y * np.pi / 8) + rng.normal(0, 12, (256, 256))
    image = Image.fromarray(np.clip(weave, 0, 255).astype(np.uint8)).convert("RGB").filter(ImageFilter.GaussianBlur(1))
    if defect:
        draw = ImageDraw.Draw(image)
        draw.ellipse(DEFECT, fill=(30, 20, 20))
        draw.line((150, 90, 200, 130), fill=(230, 220, 220), width=4)
    return read_image(image, f"texture {seed}{' with a defect' if defect else ''}")


@pytest.fixture(scope="module")
def weave(lake_cnn: Backbone) -> Lake:
    return Lake(lake_cnn, LakeConfig(object_name="woven texture")).fit([texture(seed) for seed in range(4)])


def tiny_lake(backbone: Backbone, **options: Any) -> Lake:
    given: dict[str, Any] = {"layers": (2,), "site": "mlp_hidden", "top_k": 20} | options
    return Lake(backbone, LakeConfig(**given))


@pytest.fixture
def backbone(open_tiny: OpenTiny) -> Backbone:
    return open_tiny("native-vit")


# What it finds -------------------------------------------------------------------------------------------------------


def test_images_with_a_defect_score_higher_than_clean_ones(weave: Lake) -> None:
    clean = [weave.explain(texture(seed)) for seed in range(10, 14)]
    defective = [weave.explain(texture(seed, defect=True)) for seed in range(10, 14)]
    assert min(r.score for r in defective) > 1.2 * max(r.score for r in clean)
    assert all(result.is_anomalous for result in defective)
    assert 0.5 < np.median([r.score for r in clean]) < 1.3


def test_the_hottest_patch_lies_on_the_defect(weave: Lake) -> None:
    for seed in range(10, 14):
        result = weave.explain(texture(seed, defect=True))
        left, top, right, bottom = result.patch_scores.grid.box(result.patch, result.patch_scores.placement, (256, 256))
        assert left < DEFECT[2] + 11
        assert right > DEFECT[0] - 11
        assert top < DEFECT[3] + 11
        assert bottom > DEFECT[1] - 11
        assert np.unravel_index(np.nanargmax(result.map), result.map.shape) == divmod(result.patch, 24)
        assert result.contributions()["contribution"].sum() == pytest.approx(result.score, rel=1e-4)


def test_one_normal_image_is_enough(weave: Lake, lake_cnn: Backbone) -> None:
    lake = Lake(lake_cnn, LakeConfig(object_name="woven texture"), weave.store).fit([texture(0)])
    assert len(lake.normal_scores_) == 1
    assert lake.memory_bank_.layers[0].tau > 0
    assert lake.explain(texture(10, defect=True)).score > lake.explain(texture(10)).score


def test_resolved_parameters_come_from_the_measured_settings(weave: Lake) -> None:
    assert isinstance(weave.config, ResolvedConfig)
    assert (weave.config.layers, weave.config.site) == ((15,), "mlp_hidden")
    assert (weave.config.normalise, weave.config.smooth) == ("unit", 3)
    assert weave.selection_.keys() == {15}
    assert len(weave.selection_[15].neurons) == 100
    assert weave.memory_bank_.warnings == ()


def test_lake_vit_finds_the_defect_too(lake_vit: Backbone) -> None:
    lake = Lake(lake_vit).fit([texture(seed) for seed in range(4)])
    assert lake.explain(texture(10, defect=True)).score > lake.explain(texture(10)).score


# Leave one out -------------------------------------------------------------------------------------------------------


def test_normal_scores_are_those_of_each_image_against_the_others(
    backbone: Backbone, noise_images: list[InputImage]
) -> None:
    normals = noise_images[:4]
    lake = tiny_lake(backbone, fusion_weight=0.0, criterion="all").fit(normals)
    tau = lake.memory_bank_.layers[0].tau
    for i, image in enumerate(normals):
        others = tiny_lake(backbone, fusion_weight=0.0, criterion="all").fit(normals[:i] + normals[i + 1 :])
        distance = float(others.explain(image).patch_scores.layers[0].distance.max())
        assert lake.normal_scores_[i] == pytest.approx(distance / tau, rel=1e-4)
        assert lake.explain(image).visual == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
def test_the_threshold_is_a_quantile_of_the_normal_scores(
    backbone: Backbone, noise_images: list[InputImage], quantile: float
) -> None:
    lake = tiny_lake(backbone, threshold_quantile=quantile).fit(noise_images[:5])
    ranked = sorted(lake.normal_scores_)
    assert lake.threshold_ == pytest.approx(ranked[{0.0: 0, 0.5: 2, 1.0: 4}[quantile]])
    assert lake.explain(noise_images[6]).threshold == lake.threshold_


def test_permuting_the_normal_images_permutes_their_scores(backbone: Backbone, noise_images: list[InputImage]) -> None:
    order = [2, 0, 3, 1]
    one = tiny_lake(backbone).fit(noise_images[:4])
    other = tiny_lake(backbone).fit([noise_images[i] for i in order])
    np.testing.assert_allclose(other.normal_scores_, one.normal_scores_[order], rtol=1e-4)
    assert other.explain(noise_images[5]).score == pytest.approx(one.explain(noise_images[5]).score, rel=1e-4)


def test_scoring_in_any_company_and_order_gives_the_same(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    together = [result.score for result in lake.explain_all(noise_images[3:])]
    fresh = tiny_lake(backbone).fit(noise_images[:3])
    alone = [fresh.explain(image).score for image in reversed(noise_images[3:])]
    np.testing.assert_allclose(together, alone[::-1], rtol=1e-4)


# What it takes -------------------------------------------------------------------------------------------------------


def test_the_same_bytes_count_once(backbone: Backbone, noise_images: list[InputImage]) -> None:
    twice = tiny_lake(backbone).fit([*noise_images[:3], noise_images[1], noise_images[0]])
    once = tiny_lake(backbone).fit(noise_images[:3])
    assert [p.name for p in twice.normals_] == [p.name for p in once.normals_]
    assert twice.threshold_ == pytest.approx(once.threshold_)
    assert twice.memory_bank_.layers[0].tau > 0


def test_every_source_of_a_image_gives_the_same_score(
    backbone: Backbone, noise_images: list[InputImage], tmp_path: Path
) -> None:
    lake, rgb = tiny_lake(backbone).fit(noise_images[:3]), noise_images[4].rgb
    image, buffer = Image.fromarray(rgb), io.BytesIO()
    image.save(buffer, "PNG")
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    path = tmp_path / "x.png"
    sources: list[ImageSource] = [noise_images[4], rgb, image, buffer.getvalue(), path, str(path)]
    scores = [lake.explain(source).score for source in sources]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    fitted = tiny_lake(backbone).fit([rgb, tmp_path / "x.png", noise_images[2]])
    assert len(fitted.normals_) == 3


def test_fit_returns_the_detector_and_reports_progress(backbone: Backbone, noise_images: list[InputImage]) -> None:
    seen: list[tuple[int, int]] = []
    lake = tiny_lake(backbone)
    assert lake.fit(noise_images[:6], lambda done, total: seen.append((done, total))) is lake
    assert seen == [(4, 6), (6, 6)]


def test_fitting_again_forgets_what_was_learned(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    again = lake.fit(noise_images[3:6]).explain(noise_images[7]).score
    assert again == pytest.approx(tiny_lake(backbone).fit(noise_images[3:6]).explain(noise_images[7]).score, rel=1e-5)


# What it refuses -----------------------------------------------------------------------------------------------------


def test_asking_before_fitting_is_refused(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone)
    for ask in (lake.explain, lake.compute_maps, lambda image: lake.explain_all([image])):
        with pytest.raises(NotFittedError, match="call fit first"):
            ask(noise_images[0])
    with pytest.raises(NotFittedError):
        lake.with_weights(fusion_weight=0.5)


def test_no_image_at_all_is_refused(backbone: Backbone) -> None:
    with pytest.raises(LakeError, match="give at least one"):
        tiny_lake(backbone).fit([])


def test_an_image_that_cannot_be_read_is_refused(backbone: Backbone, noise_images: list[InputImage]) -> None:
    with pytest.raises(ImageError):
        tiny_lake(backbone).fit([noise_images[0], b"no image"])
    with pytest.raises(ImageError):
        tiny_lake(backbone).fit(noise_images[:2]).explain(b"no image")


def test_layers_and_kinds_that_the_backbone_lacks_are_refused(open_tiny: OpenTiny) -> None:
    with pytest.raises(BackboneError, match="no layer 9; its layers are 1 to 3"):
        tiny_lake(open_tiny("native-vit"), layers=(9,))
    with pytest.raises(BackboneError, match="has no mlp_hidden neurons; layers that have: 2, 3, 4, 5"):
        tiny_lake(open_tiny("efficientnet"), layers=(1,))


def test_a_store_of_another_backbone_is_refused(open_tiny: OpenTiny) -> None:
    with pytest.raises(ConfigError, match="another backbone"):
        Lake(open_tiny("native-vit"), None, FeatureStore(open_tiny("siglip")))


def test_only_weights_can_be_changed_without_fitting(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    with pytest.raises(ConfigError, match="fusion_weight, threshold_quantile, top_q"):
        lake.with_weights(top_k=5)
    with pytest.raises(ConfigError, match="fusion_weight"):
        lake.with_weights(fusion_weight=2)


# Constant inputs -----------------------------------------------------------------------------------------------------


def same_pixels_other_bytes(n: int) -> list[bytes]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8))
    found = []
    for level in range(n):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=3 * level)
        found.append(buffer.getvalue())
    return found


def test_images_in_which_nothing_varies_are_refused_with_the_remedy(backbone: Backbone) -> None:
    copies = same_pixels_other_bytes(3)
    assert len(set(copies)) == 3
    for batch_size in (1, 2, 3):  # in another batch the same image differs by rounding
        lake = Lake(backbone, LakeConfig(layers=(1, 3)), FeatureStore(backbone, batch_size=batch_size))
        with pytest.raises(LakeError, match="Nothing varies in the normal images in the chosen layers; add"):
            lake.fit(copies)


def test_one_neuron_of_length_one_is_told_from_images_without_structure(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    # Its channels are 0 or more, so that one alone has length 1 wherever it is active.
    lake = Lake(open_tiny("native-resnet"), LakeConfig(layers=(1,), top_k=1))
    with pytest.raises(LakeError, match=r"One neuron of a layer alone, .* keep at least 2 \(top K\)"):
        lake.fit(noise_images[:3])


def test_a_dead_layer_is_left_out_with_a_warning(
    open_tiny: OpenTiny, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = open_tiny("efficientnet")
    forward = backbone.forward
    dead = backbone.hook_point(3, "mlp_hidden")

    def deadened(pixels: torch.Tensor, hook_points: Any, stay: bool) -> Any:
        return {
            hook_point: t * 0 if hook_point == dead else t
            for hook_point, t in forward(pixels, hook_points, stay=stay).items()
        }

    monkeypatch.setattr(backbone, "forward", deadened)
    lake = tiny_lake(backbone, layers=(3, 4)).fit(noise_images[:3])
    assert lake.memory_bank_.warnings == (LayerLeftOut(3),)
    assert lake.selection_.keys() == {4}
    result = lake.explain(noise_images[5])
    monkeypatch.undo()
    alone = tiny_lake(backbone, layers=(4,)).fit(noise_images[:3]).explain(noise_images[5])
    assert result.score == pytest.approx(alone.score, rel=1e-5)
    assert result.map.shape == (4, 4)
    assert set(result.contributions()["layer"].dropna()) == {4}


def test_one_normal_patch_in_a_hundred_lies_above_one(lake_cnn: Backbone) -> None:
    normals = [example.image for example in load_sample("metal").normals[:4]]
    lake = Lake(lake_cnn, LakeConfig(layers=(15,), fusion_weight=0.0)).fit(normals)
    (layer,) = lake.memory_bank_.layers
    inside = np.stack([layer.grid.inside(lake_cnn.placement(image)) for image in normals])
    own = layer.own_distance.numpy()[inside] / layer.tau
    assert (own > 1).sum() == np.ceil(0.01 * (len(own) - 1)) == 24
    assert own.max() == pytest.approx(lake.normal_scores_.max())
    assert 1.2 < own.max() < 2


@pytest.mark.parametrize("n_normals", [1, 2])
def test_an_image_is_very_unlike_constant_ones_but_not_endlessly(
    n_normals: int, lake_cnn: Backbone, lake_vit: Backbone
) -> None:
    grey = [np.full((64, 64, 3), value, np.uint8) for value in (100, 101)]
    for backbone in (lake_cnn, lake_vit):
        result = Lake(backbone).fit(grey[:n_normals]).explain(texture(0))
        assert np.isfinite(result.map).all()
        assert 5 < result.score < 1e6


def test_the_text_part_is_left_out_where_all_patches_have_the_same_margin(
    backbone: Backbone, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, joint = backbone.forward, backbone.joint_hook_point

    def monotonous(pixels: torch.Tensor, hook_points: Any, stay: bool) -> Any:
        found = forward(pixels, hook_points, stay=stay)
        return {
            hook_point: t[:1, :1].expand_as(t).clone() if hook_point == joint else t for hook_point, t in found.items()
        }

    monkeypatch.setattr(backbone, "forward", monotonous)
    lake = Lake(backbone, LakeConfig(layers=(2,)), FeatureStore(backbone, batch_size=8)).fit(noise_images[:3])
    assert TextLeftOut("no contrast", backbone.spec) in lake.memory_bank_.warnings
    result = lake.explain(noise_images[4])
    assert (result.fusion_weight, result.text) == (0.0, 0.0)
    assert result.score == pytest.approx(result.visual)


# In scikit-learn's manner ---------------------------------------------------------------------------------------------


def test_samples_score_and_decide_as_each_explained(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    results = [lake.explain(image) for image in noise_images[3:7]]
    scores = lake.score_samples(noise_images[3:7])
    assert scores.dtype == np.float64
    assert scores.tolist() == [result.score for result in results]
    halfway = float(np.sort(scores)[1:3].mean())
    decided = lake.with_threshold(halfway)
    assert decided.predict(noise_images[3:7]).tolist() == [score > halfway for score in scores]
    assert decided.predict(noise_images[3:7]).sum() == 2


def test_parameters_are_read_and_changed_by_name(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    params = lake.get_params()
    assert (params["backbone"], params["store"], params["top_k"]) == (backbone, lake.store, lake.config.top_k)
    assert lake.get_params(deep=False).keys() == {"backbone", "config", "store"}
    before = lake.explain(noise_images[4]).score
    assert lake.set_params(top_k=3, fusion_weight=0.0) is lake
    with pytest.raises(NotFittedError):
        lake.explain(noise_images[4])
    lake.fit(noise_images[:3])
    assert all(len(selection.neurons) == 3 for selection in lake.selection_.values())
    again = Lake(backbone, replace(params["config"], top_k=3, fusion_weight=0.0)).fit(noise_images[:3])
    assert lake.explain(noise_images[4]).score == pytest.approx(again.explain(noise_images[4]).score) != before


def test_a_parameter_of_another_name_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="Unknown parameter 'text_weight'"):
        tiny_lake(backbone).set_params(text_weight=0.5)
