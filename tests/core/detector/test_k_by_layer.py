"""A K of its own for each layer: every layer keeps what it would keep with that K for all."""

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.reselection import layer_alone, left_out_selections, would_select


@pytest.fixture
def lake(backbone: Backbone, noise_images: list[InputImage]) -> Lake:
    return Lake(backbone, LakeConfig(layers=(3, 1), top_k=(9, 4))).fit(noise_images[:3])


def test_each_layer_keeps_its_own_number_of_neurons(lake: Lake) -> None:
    assert {layer: len(selection.neurons) for layer, selection in lake.selection_.items()} == {1: 4, 3: 9}
    for layer, k in ((1, 4), (3, 9)):
        alone = Lake(lake.backbone, LakeConfig(layers=(layer,), top_k=k), lake.store).fit(lake.normals_)
        np.testing.assert_array_equal(alone.selection_[layer].neurons, lake.selection_[layer].neurons)
        assert [len(neurons) for neurons in left_out_selections(lake, layer)] == [k] * 3


def test_contributions_of_all_layers_add_up_to_the_score(lake: Lake, noise_images: list[InputImage]) -> None:
    result = lake.explain(noise_images[4])
    table = result.contributions()
    assert table["layer"].value_counts().to_dict() == {1: 4, 3: 9}
    assert table["contribution"].sum() == pytest.approx(result.score, rel=1e-4)


def test_a_layer_outside_of_the_configuration_has_the_greatest_k(lake: Lake) -> None:
    assert len(would_select(lake, 2, lake.normals_).neurons) == 9
    learned = layer_alone(lake, 2)
    assert learned is not None
    assert len(learned.selection.neurons) == 9
