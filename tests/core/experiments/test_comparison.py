"""Differences of contributions: they add up, and agree with the two accounts written again in float64."""

import pytest

from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.experiments.comparison import compare_contributions
from tests.core.method import layers_of, naive, site_of
from tests.core.tiny import OpenTiny, each_shape

N_NORMALS = 3


@pytest.fixture(params=each_shape((1, 3)), scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_images: list[InputImage]) -> Lake:
    name, top_q = request.param
    backbone = open_tiny(name)
    site = site_of(backbone, "mlp_hidden")
    config = LakeConfig(site=site, layers=layers_of(backbone, site, 8), top_k=9, fusion_weight=0.4, top_q=top_q)
    return Lake(backbone, config).fit(noise_images[:N_NORMALS])


@pytest.mark.parametrize("level", ["neuron", "layer", "part"])
def test_differences_add_up_to_the_difference_of_the_scores(
    lake: Lake, noise_images: list[InputImage], level: str
) -> None:
    a, b = lake.explain(noise_images[4]), lake.explain(noise_images[5])
    table = compare_contributions(a, b, level)  # type: ignore[arg-type]
    assert table["difference"].sum() == pytest.approx(a.score - b.score, rel=1e-3, abs=1e-4)
    assert table["contribution_a"].sum() == pytest.approx(a.score, rel=1e-4)
    assert table["contribution_b"].sum() == pytest.approx(b.score, rel=1e-4)
    assert table["difference"].abs().is_monotonic_decreasing
    assert len(table) == len(a.contributions(level=level))  # type: ignore[arg-type]
    keys = {"neuron": ["part", "layer", "neuron"], "layer": ["part", "layer"], "part": ["part"]}[level]
    assert list(table.columns) == [*keys, "contribution_a", "contribution_b", "difference"]


def test_each_neuron_has_the_two_contributions_that_the_method_gives_it(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    pair = noise_images[4], noise_images[5]
    a, b = map(lake.explain, pair)
    naive_a, naive_b = (naive(lake, noise_images[:N_NORMALS], image) for image in pair)
    table = compare_contributions(a, b)
    visual = table[table["part"] == "visual"]
    for row in visual.itertuples():
        key = int(row.layer), int(row.neuron)  # type: ignore[arg-type]
        for found, expected, result in ((row.contribution_a, naive_a, a), (row.contribution_b, naive_b, b)):
            mean = sum(expected.shares[int(patch)][key] for patch in result.patches) / len(result.patches)
            assert found == pytest.approx((1 - result.fusion_weight) * mean, rel=5e-3, abs=1e-6)


def test_detectors_with_other_neurons_and_without_text_are_compared_all_the_same(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    backbone, normals = open_tiny("siglip"), noise_images[:N_NORMALS]
    one = Lake(backbone, LakeConfig(layers=(1,), site="mlp_hidden", top_k=5)).fit(normals).explain(noise_images[5])
    two = Lake(backbone, LakeConfig(layers=(1, 2), site="mlp_hidden", top_k=9)).fit(normals).explain(noise_images[5])
    table = compare_contributions(one, two)
    assert table["difference"].sum() == pytest.approx(one.score - two.score, rel=1e-4)
    assert (table.loc[table["layer"] == 2, "contribution_a"] == 0).all()
    assert (table["part"] == "text").sum() == 1
    assert len(table) == 9 + 9 + 1


def test_regions_can_be_compared(lake: Lake, noise_images: list[InputImage]) -> None:
    a, b = lake.explain(noise_images[4]), lake.explain(noise_images[5])
    table = compare_contributions(a, b, "part", patch_a=[0, 1], patch_b=2)
    flat_a, flat_b = a.map.reshape(-1), b.map.reshape(-1)
    assert table["difference"].sum() == pytest.approx(float(flat_a[:2].mean() - flat_b[2]), rel=1e-3, abs=1e-4)
