"""The detector: what it finds, how it learns from normal images, and what it takes."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig, ResolvedConfig
from lake_core.data.images import ImageSource, InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import NotFittedError
from tests.core.detector.lakes import DEFECT, texture, tiny_lake
from tests.core.tiny import OpenTiny


@pytest.fixture(scope="module")
def weave(lake_cnn: Backbone) -> Lake:
    return Lake(lake_cnn, LakeConfig(object_name="woven texture")).fit([texture(seed) for seed in range(4)])


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


def test_one_normal_patch_in_a_hundred_lies_above_one(lake_cnn: Backbone) -> None:
    normals = [example.image for example in load_sample("metal").normals[:4]]
    lake = Lake(lake_cnn, LakeConfig(layers=(15,), fusion_weight=0.0)).fit(normals)
    (layer,) = lake.memory_bank_.layers
    inside = np.stack([layer.grid.inside(lake_cnn.placement(image)) for image in normals])
    own = layer.own_distance.numpy()[inside] / layer.tau
    assert (own > 1).sum() == np.ceil(0.01 * (len(own) - 1)) == 24
    assert own.max() == pytest.approx(lake.normal_scores_.max())
    assert 1.2 < own.max() < 2


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
    assert seen == sorted(set(seen))
    assert seen[-1] == (6, 6)


def test_fitting_again_forgets_what_was_learned(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    again = lake.fit(noise_images[3:6]).explain(noise_images[7]).score
    assert again == pytest.approx(tiny_lake(backbone).fit(noise_images[3:6]).explain(noise_images[7]).score, rel=1e-5)


# In scikit-learn's manner --------------------------------------------------------------------------------------------


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


def test_another_backbone_brings_its_own_recommendations(backbone: Backbone, open_tiny: OpenTiny) -> None:
    other = open_tiny("timm-resnet")
    changed = tiny_lake(backbone).set_params(backbone=other)
    assert changed.config.layers == other.recommended.layers
    assert changed.set_params(top_k=3).config.layers == other.recommended.layers
