"""Neurons across test images, against the stored activations, and kinds of image against chance."""

import numpy as np
import pytest

from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.neurons.by_kind import across_images, contrasts, kind_of
from lake_core.neurons.statistics import selection_of


@pytest.fixture(scope="module")
def metal() -> list[Example]:
    return list(load_sample("metal").tests[:4])


@pytest.fixture(scope="module")
def lake(cnn_store: FeatureStore) -> Lake:
    normals = [example.image for example in load_sample("metal").normals[:3]]
    return Lake(cnn_store.backbone, LakeConfig(top_k=20), cnn_store).fit(normals)


@pytest.fixture(scope="module")
def scored(lake: Lake, metal: list[Example]) -> list[ImageResult]:
    return [lake.explain(example.image) for example in metal]


def test_activations_are_the_stored_ones_at_the_max_scoring_patch_and_its_nearest_normal_patch(
    lake: Lake, scored: list[ImageResult]
) -> None:
    found = across_images(lake, scored, 15, 8)
    assert found.here_in.shape == (4, 8)
    assert found.normal_in is not None
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    for row, result in enumerate(scored):
        nearest = result.evidence()[0]
        here = lake.store.get(result.image, hook_point)[nearest.patch, found.neurons]
        normal = lake.store.get(lake.normals_[nearest.normal_image], hook_point)[nearest.normal_patch, found.neurons]
        assert found.here_in[row].tolist() == here.tolist()
        assert found.normal_in[row].tolist() == normal.tolist()
    assert (found.here_in != found.normal_in).any()


def test_the_neurons_are_those_that_add_most_to_all_scores(lake: Lake, scored: list[ImageResult]) -> None:
    total: dict[int, float] = {}
    for result in scored:
        rows = result.contributions()
        for row in rows[rows["part"] == "visual"].to_dict("records"):
            total[row["neuron"]] = total.get(row["neuron"], 0.0) + row["contribution"]
    expected = sorted(total, key=lambda neuron: -total[neuron])[:8]
    assert across_images(lake, scored, 15, 8).neurons.tolist() == expected


def test_outside_of_the_score_the_most_sensitive_neurons_are_taken_and_nothing_is_normal(
    lake: Lake, scored: list[ImageResult]
) -> None:
    found = across_images(lake, scored, 13, 5)
    assert found.neurons.tolist() == selection_of(lake, 13).neurons[:5].tolist()
    assert found.normal_in is None
    hook_point = lake.backbone.hook_point(13, "mlp_hidden")
    assert lake.backbone.grid(hook_point).n_patches == scored[0].patch_scores.grid.n_patches
    assert (
        found.here_in[0].tolist()
        == lake.store.get(scored[0].image, hook_point)[scored[0].patch, found.neurons].tolist()
    )


def test_a_kind_that_differs_is_found_and_the_p_value_counts_all_neurons() -> None:
    rng = np.random.default_rng(0)
    kinds = ["good"] * 8 + ["rust"] * 6 + ["dent"] * 6
    values = rng.normal(size=(20, 30))
    values[8:14, 3] += 9
    values[:, 5] = 2
    found = contrasts(values, kinds)
    assert list(found) == ["good", "rust", "dent"]
    rust = found["rust"]
    assert rust.difference[3] == pytest.approx(values[8:14, 3].mean() - np.delete(values[:, 3], range(8, 14)).mean())
    assert int(np.abs(rust.standardised).argmax()) == 3
    assert rust.p_value[3] <= 0.005
    assert rust.standardised[5] == 0
    assert rust.p_value[5] == 1
    assert np.delete(found["dent"].p_value, 3).min() > 0.05


def test_chance_alone_seldom_gives_a_small_p_value() -> None:
    rng, kinds = np.random.default_rng(1), ["good"] * 10 + ["rust"] * 6
    least = [contrasts(rng.normal(size=(16, 24)), kinds, n_draws=199)["rust"].p_value.min() for _ in range(100)]
    assert np.mean(np.array(least) <= 0.05) <= 0.1


def test_one_kind_alone_has_nothing_to_differ_from() -> None:
    assert contrasts(np.ones((3, 2)), ["rust"] * 3) == {}


def test_images_without_a_kind_are_grouped_by_their_label(metal: list[Example]) -> None:
    image = metal[0].image
    assert kind_of(Example(image, "defective", "rust")) == "rust"
    assert kind_of(Example(image, "defective")) == "defective"
    assert kind_of(Example(image, "good")) == "good"
    assert kind_of(Example(image)) == "no label"
    assert kind_of(Example(image, None, "rust")) == "no label", "whose label the visitor has taken away"
