"""The registry of ranking criteria, whose members are allowed, offered and used, and each ranking's formula."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import lake_core as lk
from lake_core.backbones.backbone import Backbone
from lake_core.criteria import criteria
from lake_core.criteria.base import Criterion
from lake_core.data.images import InputImage


def test_rankings_come_first_and_the_default_leads() -> None:
    assert list(criteria()) == [
        *("variance", "position_mean", "range", "robust", "snr", "within_image"),
        *("all", "random"),
    ]
    assert [name for name, one in criteria().items() if one.is_control] == ["all", "random"]


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        lk.ConfigError, match=r"criterion is 'kurtosis'; it must be one of variance, position_mean, range"
    ):
        lk.LakeConfig(criterion="kurtosis")


@pytest.fixture
def first_image_only() -> Iterator[None]:
    """While it lasts, there is one criterion more, which looks at images and layers apart."""

    class FirstImageOnly(Criterion):
        name = "first"
        title = "variance over the first image"
        statistic = "variance of the activation"

        def sensitivity(self, acts_ipn: Tensor, inside_ip: Tensor, layer: int) -> np.ndarray:
            return acts_ipn[0][inside_ip[0]].var(0).numpy() * layer

    criteria.cache_clear()
    yield
    del FirstImageOnly
    criteria.cache_clear()


def test_another_criterion_is_used_as_soon_as_its_class_is_there(
    first_image_only: None, lake_cnn: Backbone, noise_images: list[InputImage]
) -> None:
    lake = lk.Lake(lake_cnn, lk.LakeConfig(criterion="first", top_k=5)).fit(noise_images[:2])
    acts_ipn, inside_ip = lake.normal_patches(15)
    expected = acts_ipn[0][inside_ip[0]].var(0).numpy() * 15
    np.testing.assert_allclose(lake.selection_[15].sensitivity, expected, rtol=1e-6)
    assert lake.selection_[15].neurons.tolist() == np.argsort(-expected, kind="stable")[:5].tolist()


# Each ranking against a plain version in double precision ------------------------------------------------------------

Naive = Callable[[np.ndarray, np.ndarray], list[float]]


def columns(acts: np.ndarray) -> Iterator[np.ndarray]:
    """The (image, patch) values of each neuron."""
    yield from np.moveaxis(acts, 2, 0)


def values_at(column: np.ndarray, inside: np.ndarray, n_least: int) -> list[np.ndarray]:
    """The values of one neuron at each position that at least so many images have."""
    found = [column[inside[:, p], p] for p in range(inside.shape[1])]
    return [values for values in found if len(values) >= n_least]


def within_image(acts: np.ndarray, inside: np.ndarray) -> list[float]:
    return [float(np.mean([a[i].var(ddof=1) for a, i in zip(c, inside, strict=True)])) for c in columns(acts)]


def position_mean(acts: np.ndarray, inside: np.ndarray) -> list[float]:
    return [float(np.var([v.mean() for v in values_at(c, inside, 1)], ddof=1)) for c in columns(acts)]


def snr(acts: np.ndarray, inside: np.ndarray) -> list[float]:
    signal = position_mean(acts, inside)
    noise = [[v.var(ddof=1) for v in values_at(c, inside, 2)] for c in columns(acts)]
    floor = 1e-6 * float(np.mean(signal))
    return [s / (float(np.mean(n)) + floor) if n else s / floor for s, n in zip(signal, noise, strict=True)]


def robust(acts: np.ndarray, inside: np.ndarray) -> list[float]:
    pooled = [c[inside] for c in columns(acts)]
    return [float((1.4826 * np.median(np.abs(v - np.median(v)))) ** 2) for v in pooled]


NAIVE: dict[str, Naive] = {
    "variance": lambda acts, inside: [float(c[inside].var(ddof=1)) for c in columns(acts)],
    "position_mean": position_mean,
    "range": lambda acts, inside: [float(np.ptp(np.quantile(c[inside], [0.01, 0.99]))) for c in columns(acts)],
    "robust": robust,
    "snr": snr,
    "within_image": within_image,
}
RANKINGS = [name for name, one in criteria().items() if not one.is_control]


def letterboxed(n_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations (image, 30 patches, 12 neurons) and which patches lie on the images, where some positions are on
    all, one or none of them; those outside hold what would ruin every statistic."""
    rng = np.random.default_rng(3)
    places, images = rng.normal(0, rng.uniform(0.1, 4, 12), (30, 12)), rng.normal(0, 2, (n_images, 1, 12))
    acts = places + images + rng.normal(0, rng.uniform(0.1, 4, 12), (n_images, 30, 12)) + 5
    inside = np.ones((n_images, 30), bool)
    inside[:, 28:] = inside[1:, 0] = inside[0, 5:9] = False
    acts[~inside] = np.nan
    return acts.astype(np.float32), inside


def ranked(name: str, acts: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return criteria()[name].sensitivity(torch.from_numpy(acts), torch.from_numpy(inside), 1)


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("n_images", [1, 2, 5])
def test_each_ranking_is_its_formula_over_the_patches_that_lie_on_the_images(name: str, n_images: int) -> None:
    acts, inside = letterboxed(n_images)
    found = ranked(name, acts, inside)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, NAIVE[name](acts.astype(np.float64), inside), rtol=1e-4)


@pytest.mark.parametrize("name", RANKINGS)
def test_a_neuron_that_never_varies_comes_last_and_nothing_is_infinite(name: str) -> None:
    acts, inside = letterboxed(3)
    acts[:, :, 4] = 7
    found = ranked(name, acts, inside)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found[4] == 0
    assert criteria()[name].order(found, 1, 0)[-1] == 4


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("n_patches", [1, 4])
def test_without_any_variation_every_ranking_is_zero(name: str, n_patches: int) -> None:
    acts, inside = np.ones((1, n_patches, 3), np.float32), np.ones((1, n_patches), bool)
    assert ranked(name, acts, inside).tolist() == [0, 0, 0]


def test_signal_to_noise_of_a_single_image_ranks_as_the_variance_does() -> None:
    acts, inside = letterboxed(1)
    orders = [criteria()[name].order(ranked(name, acts, inside), 1, 0).tolist() for name in ("snr", "variance")]
    assert orders[0] == orders[1]


def test_neurons_without_noise_come_first_by_their_signal() -> None:
    acts, inside = letterboxed(2)
    acts[1, :, [2, 6]] = acts[0, :, [2, 6]]
    inside = np.broadcast_to(inside[0] & inside[1], inside.shape).copy()
    order = criteria()["snr"].order(ranked("snr", acts, inside), 1, 0).tolist()
    signal = position_mean(acts.astype(np.float64), inside)
    assert order[:2] == sorted([2, 6], key=lambda neuron: -signal[neuron])


def test_what_sets_images_apart_counts_for_variance_and_against_signal_to_noise() -> None:
    acts, inside = np.random.default_rng(0).normal(0, 1, (6, 40, 2)).astype(np.float32), np.ones((6, 40), bool)
    acts[:, :, 1] += 10 * np.arange(6)[:, None]
    variance, within, ratio = (ranked(name, acts, inside) for name in ("variance", "within_image", "snr"))
    assert variance[1] > 50 * variance[0]
    assert within[1] == pytest.approx(within[0], rel=0.2)
    assert ratio[1] < ratio[0] / 50
