"""Facts about neurons: flags that mean what they say, and a table whose numbers numpy finds again."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import NotFittedError
from lake_core.neurons.statistics import COLUMNS, extreme_patches, flags, neuron_aurocs, neuron_table, peaks
from lake_core.types import HookPoint
from tests.core.tiny import OpenTiny

N_IMAGES, N_PATCHES = 6, 25
EVERYWHERE = np.ones((N_IMAGES, N_PATCHES), dtype=bool)


def noise(n_neurons: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N_IMAGES, N_PATCHES, n_neurons)).astype(np.float32)


def test_a_neuron_that_peaks_on_the_same_patches_of_all_images_is_register_like() -> None:
    acts = noise(4)
    acts[:, 7, 1] = 50
    acts[np.arange(N_IMAGES), np.array([3, 4, 5, 3, 4, 5]), 2] = 50
    acts[np.arange(N_IMAGES), np.arange(N_IMAGES), 3] = 50
    assert flags(acts, EVERYWHERE, True).register_like.tolist() == [False, True, True, False]


def test_a_neuron_that_follows_a_part_that_stays_in_place_is_no_register() -> None:
    acts = noise(2)
    acts[:, 7, :] = 3.5
    assert not flags(acts, EVERYWHERE, True).register_like.any()
    acts[:, 7, 1] = 12
    assert flags(acts, EVERYWHERE, True).register_like.tolist() == [False, True]


@pytest.mark.parametrize(("family", "is_flagged"), [("native-vit", True), ("convnext", False)])
def test_only_a_tower_of_tokens_has_registers(
    family: str, is_flagged: bool, open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    lake = Lake(open_tiny(family)).fit(noise_images[:4])
    layer = lake.config.layers[-1]
    hook_point = lake.backbone.hook_point(layer, lake.config.site)
    for image in noise_images[:4]:
        held = lake.store.held(image.sha256, {hook_point})
        assert held is not None
        held[hook_point][3, 1] = 1000
    found = neuron_table(lake, layer).set_index("neuron")["flags"]
    assert (found.loc[1] == "register_like") is is_flagged
    assert found.str.contains("register_like").any() == is_flagged


def test_one_image_tells_no_register() -> None:
    assert not flags(noise(3)[:1], EVERYWHERE[:1], True).register_like.any()


def test_a_peak_off_the_image_does_not_count() -> None:
    acts, inside = noise(1), EVERYWHERE.copy()
    acts[:, 24] = 99
    inside[:, 24] = False
    assert not flags(acts, inside, True).register_like.any()
    assert peaks(acts, inside).max() < 99
    found = extreme_patches(acts[:, :, 0], inside, 1000)
    assert len(found) == N_IMAGES * (N_PATCHES - 1)
    assert all(one.patch != 24 for one in found)


def test_dead_and_saturated() -> None:
    acts = noise(4).clip(0, 6)
    acts[:, :, 1] = 3.5
    acts[:, :, 2] = (8 * acts[:, :, 2]).clip(0, 6)
    found = flags(acts, EVERYWHERE, True)
    assert found.dead.tolist() == [False, True, False, False]
    assert found.saturated.tolist() == [False, False, True, False]
    assert found.of(1) == ("dead",)
    assert found.of(0) == ()


def test_the_neuron_alone_as_a_detector() -> None:
    values = noise(5)[:, 0]
    values[2, 1] = values[4, 1]
    labels = np.array([True, False, True, False, False, True])
    found = neuron_aurocs(values, labels)
    np.testing.assert_allclose(found, [roc_auc_score(labels, values[:, u]) for u in range(5)])
    assert np.isnan(neuron_aurocs(values, np.ones(N_IMAGES, dtype=bool))).all()


@pytest.mark.parametrize("lowest", [False, True])
def test_extreme_patches_are_the_extreme_ones(lowest: bool) -> None:
    acts = noise(1)[:, :, 0]
    found = extreme_patches(acts, EVERYWHERE, 5, lowest)
    wanted = np.sort(acts, axis=None)[:5] if lowest else np.sort(acts, axis=None)[::-1][:5]
    assert [one.value for one in found] == wanted.tolist()
    assert all(acts[one.image, one.patch] == one.value for one in found)
    few = extreme_patches(acts, EVERYWHERE, 100, lowest, per_image=2)
    assert len(few) == 2 * N_IMAGES


@pytest.mark.parametrize("name", ["native-vit", "efficientnet"])
def test_the_table_says_what_numpy_finds(open_tiny: OpenTiny, noise_images: list[InputImage], name: str) -> None:
    backbone = open_tiny(name, resize="letterbox")
    lake = Lake(backbone, LakeConfig(layers=(2,), site="residual_channel", top_k=5)).fit(noise_images[:4])
    tests = [Example(image, "defective" if i % 2 else "good") for i, image in enumerate(noise_images[4:])]
    for layer in (1, 2):
        hook_point = HookPoint(layer, "residual_channel")
        inside = np.concatenate([backbone.grid(hook_point).inside(backbone.placement(p)) for p in lake.normals_])
        acts = lake.store.stack(lake.normals_, hook_point).flatten(0, 1).numpy()[inside]
        table = neuron_table(lake, layer, tests)
        assert tuple(table.columns) == COLUMNS
        assert sorted(table["neuron"]) == list(range(acts.shape[1]))
        by_neuron = table.sort_values("neuron")
        np.testing.assert_allclose(by_neuron["sensitivity"], acts.var(0, ddof=1), rtol=1e-4)
        np.testing.assert_allclose(by_neuron["std"], acts.astype(np.float64).std(0, ddof=1), rtol=1e-6)
        np.testing.assert_allclose(by_neuron["mean"], acts.mean(0, dtype=np.float64), rtol=1e-6)
        assert table["selected"].tolist() == [True] * 5 + [False] * (len(table) - 5)
        assert table["sensitivity"].is_monotonic_decreasing
        assert (table["concepts"] == "").all()
        labels = [one.label == "defective" for one in tests]
        highest = np.stack(
            [
                lake.store.get(one.image, hook_point)
                .numpy()[backbone.grid(hook_point).inside(backbone.placement(one.image))]
                .max(0)
                for one in tests
            ]
        )
        wanted = [roc_auc_score(labels, highest[:, neuron]) for neuron in table["neuron"]]
        np.testing.assert_allclose(table["auroc"], wanted)
        pdt = neuron_table(lake, layer, tests, top=3)
        assert pdt.equals(table.head(3))


def test_before_fit_there_is_no_table(open_tiny: OpenTiny) -> None:
    with pytest.raises(NotFittedError):
        neuron_table(Lake(open_tiny("native-vit")), 1)


def test_without_labels_there_is_no_auroc(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    lake = Lake(open_tiny("native-vit")).fit(noise_images[:2])
    assert neuron_table(lake, 2, noise_images[2:4])["auroc"].isna().all()
