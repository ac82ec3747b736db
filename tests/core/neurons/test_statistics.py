"""Facts about units: flags that mean what they say, and a table whose numbers numpy finds again."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lake_core.backbones.hooks import Place
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.errors import NotFittedError
from lake_core.neurons.statistics import COLUMNS, extreme_patches, flags, peaks, quantiles, unit_aurocs
from tests.core.tiny import OpenTiny

N_PICTURES, N_PATCHES = 6, 25
EVERYWHERE = np.ones((N_PICTURES, N_PATCHES), dtype=bool)


def noise(n_units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N_PICTURES, N_PATCHES, n_units)).astype(np.float32)


def test_a_unit_that_peaks_on_the_same_patches_of_all_pictures_is_register_like() -> None:
    acts = noise(4)
    acts[:, 7, 1] = 50
    acts[np.arange(N_PICTURES), np.array([3, 4, 5, 3, 4, 5]), 2] = 50
    acts[np.arange(N_PICTURES), np.arange(N_PICTURES), 3] = 50
    assert flags(acts, EVERYWHERE).register_like.tolist() == [False, True, True, False]


def test_a_unit_that_follows_a_part_that_stays_in_place_is_no_register() -> None:
    acts = noise(2)
    acts[:, 7, :] = 3.5
    assert not flags(acts, EVERYWHERE).register_like.any()
    acts[:, 7, 1] = 12
    assert flags(acts, EVERYWHERE).register_like.tolist() == [False, True]


def test_one_picture_tells_no_register() -> None:
    assert not flags(noise(3)[:1], EVERYWHERE[:1]).register_like.any()


def test_a_peak_off_the_picture_does_not_count() -> None:
    acts, inside = noise(1), EVERYWHERE.copy()
    acts[:, 24] = 99
    inside[:, 24] = False
    assert not flags(acts, inside).register_like.any()
    assert peaks(acts, inside).max() < 99
    assert quantiles(acts, inside)[-1, 0] < 99
    assert all(one.patch != 24 for one in extreme_patches(acts[:, :, 0], inside, 1000))


def test_dead_and_saturated() -> None:
    acts = noise(4).clip(0, 6)
    acts[:, :, 1] = 3.5
    acts[:, :, 2] = (8 * acts[:, :, 2]).clip(0, 6)
    found = flags(acts, EVERYWHERE)
    assert found.dead.tolist() == [False, True, False, False]
    assert found.saturated.tolist() == [False, False, True, False]
    assert found.of(1) == ("dead",)
    assert found.of(0) == ()


def test_the_unit_alone_as_a_detector() -> None:
    values = noise(5)[:, 0]
    values[2, 1] = values[4, 1]
    labels = np.array([True, False, True, False, False, True])
    found = unit_aurocs(values, labels)
    np.testing.assert_allclose(found, [roc_auc_score(labels, values[:, u]) for u in range(5)])
    assert np.isnan(unit_aurocs(values, np.ones(N_PICTURES, dtype=bool))).all()


@pytest.mark.parametrize("lowest", [False, True])
def test_extreme_patches_are_the_extreme_ones(lowest: bool) -> None:
    acts = noise(1)[:, :, 0]
    found = extreme_patches(acts, EVERYWHERE, 5, lowest)
    wanted = np.sort(acts, axis=None)[:5] if lowest else np.sort(acts, axis=None)[::-1][:5]
    assert [one.value for one in found] == wanted.tolist()
    assert all(acts[one.picture, one.patch] == one.value for one in found)
    few = extreme_patches(acts, EVERYWHERE, 100, lowest, per_picture=2)
    assert len(few) == 2 * N_PICTURES


@pytest.mark.parametrize("name", ["native-vit", "efficientnet"])
def test_the_table_says_what_numpy_finds(open_tiny: OpenTiny, noise_pictures: list[Picture], name: str) -> None:
    backbone = open_tiny(name, resize="letterbox")
    lake = Lake(backbone, LakeConfig(layers=(2,), kind="channel", top_k=5)).fit(noise_pictures[:4])
    tests = [Example(picture, "defective" if i % 2 else "good") for i, picture in enumerate(noise_pictures[4:])]
    for layer in (1, 2):
        place = Place(layer, "channel")
        inside = np.concatenate([backbone.grid(place).inside(backbone.placement(p)) for p in lake.normals_])
        acts = lake.store.stack(lake.normals_, place).flatten(0, 1).numpy()[inside]
        table = lake.units(layer, tests)
        assert tuple(table.columns) == COLUMNS
        assert sorted(table["unit"]) == list(range(acts.shape[1]))
        by_unit = table.sort_values("unit")
        np.testing.assert_allclose(by_unit["sensitivity"], acts.var(0, ddof=1), rtol=1e-4)
        np.testing.assert_allclose(by_unit["std"], acts.astype(np.float64).std(0, ddof=1), rtol=1e-6)
        np.testing.assert_allclose(by_unit["mean"], acts.mean(0, dtype=np.float64), rtol=1e-6)
        assert table["selected"].tolist() == [True] * 5 + [False] * (len(table) - 5)
        assert table["sensitivity"].is_monotonic_decreasing
        assert (table["words"] == "").all()
        labels = [one.label == "defective" for one in tests]
        highest = np.stack(
            [
                lake.store.get(one.picture, place)
                .numpy()[backbone.grid(place).inside(backbone.placement(one.picture))]
                .max(0)
                for one in tests
            ]
        )
        wanted = [roc_auc_score(labels, highest[:, unit]) for unit in table["unit"]]
        np.testing.assert_allclose(table["auroc"], wanted)
        pdt = lake.units(layer, tests, top=3)
        assert pdt.equals(table.head(3))


def test_before_fit_there_is_no_table(open_tiny: OpenTiny) -> None:
    with pytest.raises(NotFittedError):
        Lake(open_tiny("native-vit")).units(1)


def test_without_labels_there_is_no_auroc(open_tiny: OpenTiny, noise_pictures: list[Picture]) -> None:
    lake = Lake(open_tiny("native-vit")).fit(noise_pictures[:2])
    assert lake.units(2, noise_pictures[2:4])["auroc"].isna().all()
