"""The table of activations: every image, every neuron, its greatest value on the image and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError
from lake_core.neurons import activations
from lake_core.neurons.activations import neuron_activations
from lake_core.neurons.statistics import neuron_table
from tests.core.images import spotted


def wide(seed: int) -> InputImage:
    """Twice as wide as high: in a letterbox half of the patches lie beside it."""
    return read_image(np.ascontiguousarray(spotted(seed).rgb[:64]), f"wide {seed}")


@pytest.fixture(scope="module")
def lake() -> Lake:
    backbone = open_backbone("lake-cnn", image_size=128, resize="letterbox")
    return Lake(backbone, LakeConfig(layers=(9, 15), top_k=(4, 6))).fit([wide(seed) for seed in range(2)])


@pytest.fixture(scope="module")
def tests() -> list[Example | InputImage]:
    return [Example(wide(5), "defective"), Example(wide(6), "good"), wide(7)]


@pytest.fixture(scope="module")
def table(lake: Lake, tests: list[Example | InputImage]) -> pd.DataFrame:
    return neuron_activations(lake, tests)


def test_a_row_for_each_image_and_a_column_for_each_selected_neuron(lake: Lake, table: pd.DataFrame) -> None:
    names = [f"layer{layer}_neuron{n}" for layer, one in lake.selection_.items() for n in one.neurons.tolist()]
    assert list(table.columns) == ["path", "split", "label", *names]
    assert len(names) == 10
    assert table["path"].tolist() == ["wide 0", "wide 1", "wide 5", "wide 6", "wide 7"]
    assert table["split"].tolist() == ["train"] * 2 + ["test"] * 3
    assert [None if pd.isna(label) else label for label in table["label"]] == [
        "good",
        "good",
        "defective",
        "good",
        None,
    ]


def test_values_are_the_greatest_on_the_image(lake: Lake, tests: list[Example | InputImage]) -> None:
    n_neurons = lake.selection_[15].n_neurons
    table = neuron_activations(lake, tests, {15: np.arange(n_neurons)})
    images = [*lake.normals_, *(one.image if isinstance(one, Example) else one for one in tests)]
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    grid = lake.backbone.grid(hook_point)
    n_beside = 0
    for row, image in enumerate(images):
        acts = lake.store.get(image, hook_point).numpy()
        inside = grid.inside(lake.backbone.placement(image))
        assert 0 < inside.sum() < len(inside)
        assert table.iloc[row, 3:].tolist() == acts[inside].max(0).tolist()
        n_beside += int((acts[~inside].max(0) > acts[inside].max(0)).sum())
    assert n_beside > 0  # else nothing would be left out


def test_it_does_not_depend_on_how_many_are_read_at_once(
    lake: Lake, tests: list[Example | InputImage], table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "_AT_ONCE", 2)
    steps: list[tuple[int, int]] = []
    again = neuron_activations(lake, tests, on_progress=lambda done, total: steps.append((done, total)))
    pd.testing.assert_frame_equal(again, table)
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_aurocs_of_the_table_of_neurons_are_made_of_it(
    lake: Lake, tests: list[Example | InputImage], table: pd.DataFrame
) -> None:
    neurons = neuron_table(lake, 15, tests[:2], top=6)
    for row in neurons.to_dict("records"):
        defective, good = table[f"layer15_neuron{row['neuron']}"][2:4]
        assert row["auroc"] == (defective > good) + 0.5 * (defective == good)


def test_neurons_of_any_layer_in_any_order(lake: Lake) -> None:
    table = neuron_activations(lake, neurons={12: [7, 3]})
    assert list(table.columns)[3:] == ["layer12_neuron7", "layer12_neuron3"]
    assert len(table) == 2
    with pytest.raises(BackboneError, match="no layer 99"):
        neuron_activations(lake, neurons={99: [0]})
