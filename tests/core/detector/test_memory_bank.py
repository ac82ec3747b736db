"""Memory banks, nearest neighbours and calibration, against brute force in double precision."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import FitConfig, Normalise
from lake_core.detector import memory_bank, search
from lake_core.detector.memory_bank import LayerMemoryBank, finest, fit_layer, learn_layer
from lake_core.detector.search import FloatBank, Geometry, Neighbours, subspace
from lake_core.detector.selection import select
from lake_core.detector.text import TextDirections, calibrated, fit_text, margins
from tests.core.method import brute, naive_subspace

GRID = PatchGrid(4, 5, 64, 80)


def rng_tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nearest_normal(patches: torch.Tensor, rows: torch.Tensor, excluded: torch.Tensor | None = None) -> Neighbours:
    bank = FloatBank(rows, Geometry(GRID, 1, "none"))
    return bank.nearest(bank.as_vectors(patches), excluded)


def check(found: Neighbours, patches: torch.Tensor, bank: torch.Tensor, rtol: float = 1e-5) -> None:
    expected = brute(patches.numpy(), bank.numpy())
    np.testing.assert_allclose(found.distance.numpy(), expected, rtol=rtol, atol=1e-6 * max(1.0, expected.max()))
    own = ((patches.double() - bank[found.row].double()) ** 2).sum(1)
    np.testing.assert_allclose(found.distance.numpy(), own.numpy(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 1024])
@pytest.mark.parametrize(("n", "m", "k"), [(50, 30, 8), (1, 1, 1), (30, 50, 100)])
def test_nearest_normal_agrees_with_brute_force(
    monkeypatch: pytest.MonkeyPatch, chunk: int, n: int, m: int, k: int
) -> None:
    monkeypatch.setattr(search, "_MAX_COMPARED", chunk * m)
    patches, bank = rng_tensor(n, k, seed=1), rng_tensor(m, k, seed=2)
    found = nearest_normal(patches, bank)
    check(found, patches, bank)
    assert found.row.dtype == torch.int64


def test_nearest_normal_is_right_far_from_the_origin() -> None:
    """Residual streams have neurons with a large constant part, which must not drown the distances."""
    offset = torch.tensor([2000.0, -500.0, 0.0, 30.0])
    patches, bank = rng_tensor(60, 4, seed=1) + offset, rng_tensor(200, 4, seed=2) + offset
    check(nearest_normal(patches, bank), patches, bank, rtol=1e-3)


def test_a_patch_of_the_memory_bank_is_at_distance_zero() -> None:
    bank = rng_tensor(40, 6) * 50
    found = nearest_normal(bank, bank)
    assert float(found.distance.max()) == 0.0
    assert found.row.tolist() == list(range(40))


def test_excluded_patches_are_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_COMPARED", 9 * 30)
    patches, bank = rng_tensor(50, 8, seed=1), rng_tensor(30, 8, seed=2)
    excluded = torch.rand(50, 30, generator=torch.Generator().manual_seed(3)) < 0.7
    excluded[:, 4] = False
    found = nearest_normal(patches, bank, excluded)
    assert not excluded[torch.arange(50), found.row].any()
    np.testing.assert_allclose(found.distance.numpy(), brute(patches.numpy(), bank.numpy(), ~excluded.numpy()), 1e-5)


def test_shapes_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        nearest_normal(torch.zeros(3, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="at least one normal patch"):
        nearest_normal(torch.zeros(3, 4), torch.zeros(0, 4))


# The vectors that distances see --------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [1, 3, 5])
@pytest.mark.parametrize("normalise", ["unit", "none"])
def test_subspace_selects_smooths_and_scales(smooth: int, normalise: Normalise) -> None:
    acts, neurons = rng_tensor(3, 20, 12), np.array([7, 0, 11, 3])
    found = subspace(acts, neurons, Geometry(GRID, smooth, normalise))
    np.testing.assert_allclose(
        found, naive_subspace(acts.numpy(), neurons, GRID, smooth, normalise), rtol=1e-4, atol=1e-5
    )


def test_smoothing_at_a_corner_averages_over_the_patches_that_exist() -> None:
    acts = torch.zeros(1, 20, 1)
    acts[0, 0, 0] = 12.0
    found = subspace(acts, np.array([0]), Geometry(GRID, 3, "none"))[0, :, 0].reshape(4, 5)
    assert found[0, 0] == pytest.approx(12 / 4)
    assert found[0, 1] == pytest.approx(12 / 6)
    assert found[1, 1] == pytest.approx(12 / 9)
    assert found[2].abs().sum() == 0


def test_a_zero_vector_stays_zero_when_scaled() -> None:
    acts = torch.zeros(1, 20, 2)
    acts[0, 3] = torch.tensor([3.0, 4.0])
    found = subspace(acts, np.array([0, 1]), Geometry(GRID, 1, "unit"))
    torch.testing.assert_close(found[0, 3], torch.tensor([0.6, 0.8]))
    assert torch.isfinite(found).all()
    assert found.abs().sum() == pytest.approx(1.4)


# Calibration ---------------------------------------------------------------------------------------------------------


def fitted(
    acts: torch.Tensor, inside: torch.Tensor, quantile: float = 0.99, smooth: int = 1, grid: PatchGrid = GRID
) -> LayerMemoryBank:
    selection = select(acts, inside, 3, "mlp_hidden", "variance", 6)
    return fit_layer(acts, inside, selection, Geometry(grid, smooth, "none"), FitConfig(calibration_quantile=quantile))


@pytest.mark.parametrize("n_images", [2, 3, 5])
@pytest.mark.parametrize("smooth", [1, 3])
def test_each_normal_image_is_measured_against_the_others(n_images: int, smooth: int) -> None:
    acts = rng_tensor(n_images, 20, 10)
    layer = fitted(acts, torch.ones(n_images, 20, dtype=torch.bool), smooth=smooth)
    vectors = naive_subspace(acts.numpy(), layer.selection.neurons, GRID, smooth, "none")
    for i in range(n_images):
        others = np.concatenate([vectors[j] for j in range(n_images) if j != i])
        np.testing.assert_allclose(layer.own_distance[i], brute(vectors[i], others), rtol=1e-4)


@pytest.mark.parametrize(("smooth", "steps"), [(1, 2), (3, 4)])
def test_a_single_image_is_measured_against_patches_that_share_no_cell_with_them(smooth: int, steps: int) -> None:
    grid = PatchGrid(8, 9, 64, 72)
    acts = rng_tensor(1, 72, 10)
    layer = fitted(acts, torch.ones(1, 72, dtype=torch.bool), smooth=smooth, grid=grid)
    vectors = naive_subspace(acts.numpy(), layer.selection.neurons, grid, smooth, "none")[0]
    allowed = np.zeros((72, 72), bool)
    for p, q in itertools.product(range(72), range(72)):
        allowed[p, q] = abs(p // 9 - q // 9) >= steps or abs(p % 9 - q % 9) >= steps
    np.testing.assert_allclose(layer.own_distance[0], brute(vectors, vectors, allowed), rtol=1e-4)
    assert (layer.own_distance > 0).all()


def test_on_a_small_grid_patches_are_as_far_as_each_has_one() -> None:
    """From the middle of 5 x 5 patches the farthest are two steps away; four would leave it none."""
    grid = PatchGrid(5, 5, 40, 40)
    acts = rng_tensor(1, 25, 10)
    layer = fitted(acts, torch.ones(1, 25, dtype=torch.bool), smooth=3, grid=grid)
    vectors = naive_subspace(acts.numpy(), layer.selection.neurons, grid, 3, "none")[0]
    allowed = np.array([[max(abs(p // 5 - q // 5), abs(p % 5 - q % 5)) >= 2 for q in range(25)] for p in range(25)])
    np.testing.assert_allclose(layer.own_distance[0], brute(vectors, vectors, allowed), rtol=1e-4)


@pytest.mark.parametrize("side", [2, 3])
def test_a_grid_without_distant_patches_leaves_out_only_the_patch_itself(side: int) -> None:
    grid = PatchGrid(side, side, 32, 32)
    acts = rng_tensor(1, side**2, 10)
    layer = fitted(acts, torch.ones(1, side**2, dtype=torch.bool), grid=grid)
    vectors = acts[0][:, torch.from_numpy(layer.selection.neurons)].numpy()
    np.testing.assert_allclose(layer.own_distance[0], brute(vectors, vectors, ~np.eye(side**2, dtype=bool)), rtol=1e-4)


def test_a_narrow_single_image_in_its_letterbox_never_compares_with_itself() -> None:
    """Three patches in a row: the middle one has none two steps away on the image, though the grid has."""
    inside = torch.zeros(1, 20, dtype=torch.bool)
    inside[0, [6, 7, 8]] = True
    acts = rng_tensor(1, 20, 10)
    layer = fitted(acts, inside)
    vectors = acts[0][:, torch.from_numpy(layer.selection.neurons)].numpy()[[6, 7, 8]]
    np.testing.assert_allclose(layer.own_distance[0, 6:9], brute(vectors, vectors, ~np.eye(3, dtype=bool)), rtol=1e-4)
    assert layer.tau > 0


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 1.0])
def test_tau_is_the_quantile_of_the_leave_one_out_distances(quantile: float) -> None:
    acts = rng_tensor(3, 20, 10)
    inside = torch.ones(3, 20, dtype=torch.bool)
    inside[1, 7:] = False
    layer = fitted(acts, inside, quantile)
    distances = np.sort(layer.own_distance[inside].double().numpy())
    position = quantile * (len(distances) - 1)
    low, high = int(np.floor(position)), int(np.ceil(position))
    expected = distances[low] + (position - low) * (distances[high] - distances[low])
    assert layer.tau == pytest.approx(expected, rel=1e-5)


def test_patches_off_the_image_are_neither_in_the_memory_bank_nor_in_the_calibration() -> None:
    acts = rng_tensor(3, 20, 10)
    inside = torch.zeros(3, 20, dtype=torch.bool)
    inside[:, 5:15] = True
    acts[~inside] = 1e4
    layer = fitted(acts, inside)
    assert len(layer.bank) == 30
    assert float(layer.bank.abs().max()) < 100
    assert layer.tau < 1000
    pairs = set(zip(layer.bank_image.tolist(), layer.bank_patch.tolist(), strict=True))
    assert pairs == {(i, p) for i in range(3) for p in range(5, 15)}


def test_memory_bank_rows_say_where_they_came_from() -> None:
    acts = rng_tensor(3, 20, 10)
    inside = torch.rand(3, 20, generator=torch.Generator().manual_seed(1)) < 0.6
    layer = fitted(acts, inside)
    neurons = torch.from_numpy(layer.selection.neurons)
    torch.testing.assert_close(layer.bank, acts[layer.bank_image, layer.bank_patch][:, neurons])


def test_permuting_the_normal_images_permutes_their_distances() -> None:
    acts, inside = rng_tensor(4, 20, 10), torch.ones(4, 20, dtype=torch.bool)
    order = torch.tensor([2, 0, 3, 1])
    one, other = fitted(acts, inside), fitted(acts[order], inside)
    torch.testing.assert_close(other.own_distance, one.own_distance[order])
    assert other.tau == pytest.approx(one.tau)


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_images_that_differ_by_rounding_only_have_tau_zero(rounding: float) -> None:
    acts = rng_tensor(1, 20, 10).expand(3, 20, 10) * 300 * (1 + rounding * rng_tensor(3, 20, 10, seed=1))
    inside = torch.ones(3, 20, dtype=torch.bool)
    assert fitted(acts, inside).tau == 0.0
    assert fitted(acts * (1 + 1e-3 * rng_tensor(3, 20, 10, seed=2)), inside).tau > 0


# The text part ------------------------------------------------------------------------------------------------


def of_length_one(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(tensor, dim=-1)


def test_margins_are_differences_of_cosines() -> None:
    joint, directions = of_length_one(rng_tensor(2, 20, 8)), TextDirections(*of_length_one(rng_tensor(2, 8, seed=1)))
    found = margins(joint, directions)
    a, b = (joint.double().numpy() @ d.double().numpy() for d in (directions.anomalous, directions.normal))
    np.testing.assert_allclose(found, a - b, atol=1e-6)


@pytest.mark.parametrize("quantile", [0.9, 0.99, 1.0])
def test_margins_are_calibrated_by_median_and_quantile_on_the_image(quantile: float) -> None:
    joint, directions = of_length_one(rng_tensor(3, 20, 8)), TextDirections(*of_length_one(rng_tensor(2, 8, seed=1)))
    inside = torch.ones(3, 20, dtype=torch.bool)
    inside[2, 4:] = False
    text = fit_text(joint, inside, directions, GRID, quantile)
    assert text is not None
    own = margins(joint, directions)[inside].double().numpy()
    assert text.m50 == pytest.approx(np.quantile(own, 0.5), abs=1e-6)
    assert text.m99 == pytest.approx(np.quantile(own, quantile), abs=1e-6)
    assert text.own_margin.shape == (3, 20)
    margin = torch.tensor([text.m50 - 1, text.m50, text.m99, 2 * text.m99 - text.m50])
    np.testing.assert_allclose(calibrated(margin, text.m50, text.m99), [0, 0, 1, 2], atol=1e-5)


def test_margins_that_differ_by_rounding_only_count_as_the_same() -> None:
    joint = of_length_one(rng_tensor(1, 1, 8).expand(3, 20, 8) * (1 + 1e-6 * rng_tensor(3, 20, 8, seed=1)))
    directions = TextDirections(*of_length_one(rng_tensor(2, 8)))
    assert fit_text(joint, torch.ones(3, 20, dtype=torch.bool), directions, GRID, 0.99) is None


def test_the_finest_grid_has_most_patches() -> None:
    grids = [PatchGrid(2, 2, 64, 64), PatchGrid(8, 8, 64, 64), PatchGrid(4, 4, 64, 64), PatchGrid(8, 8, 60, 60)]
    assert finest(grids) is grids[1]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 0.9997, 1.0])
@pytest.mark.parametrize("kind", ["noise", "smooth", "the same"])
def test_tau_without_all_distances_is_the_same(monkeypatch: pytest.MonkeyPatch, kind: str, quantile: float) -> None:
    monkeypatch.setattr(memory_bank, "_FEW_PATCHES", 0)
    side = 21
    grid = PatchGrid(side, side, 336, 336)
    acts = rng_tensor(4, side * side, 12)
    inside = torch.ones(4, side * side, dtype=torch.bool)
    inside[1, 300:] = False
    if kind == "the same":
        acts = acts[:1].expand(4, -1, -1)
    selection = select(acts, inside, 3, "mlp_hidden", "variance", 9)
    geometry = Geometry(grid, 1 if kind == "noise" else 5, "unit")
    config = FitConfig(calibration_quantile=quantile)
    whole, quick = (learn(acts, inside, selection, geometry, config) for learn in (fit_layer, learn_layer))
    assert quick.tau == pytest.approx(whole.tau, rel=1e-6)
    assert (whole.tau == 0) is (kind == "the same")
    torch.testing.assert_close(quick.bank, whole.bank, rtol=0, atol=0)
    assert torch.equal(quick.bank_image, whole.bank_image)
    assert torch.equal(quick.bank_patch, whole.bank_patch)


def test_for_tau_a_fraction_of_the_distances_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images whose neighbouring patches are alike, as those of real ones are."""
    monkeypatch.setattr(memory_bank, "_FEW_PATCHES", 0)
    side, n_images = 32, 6
    acts = rng_tensor(n_images, side * side, 12)
    selection = select(acts, torch.ones(n_images, side * side, dtype=torch.bool), 3, "mlp_hidden", "variance", 12)
    compared = []
    own_tables = memory_bank._OwnSearch._tables

    def counting(*args: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for part, table in own_tables(*args):
            compared.append(table.numel())
            yield part, table

    monkeypatch.setattr(memory_bank._OwnSearch, "_tables", counting)
    inside = torch.ones(n_images, side * side, dtype=torch.bool)
    learn_layer(acts, inside, selection, Geometry(PatchGrid(side, side, 512, 512), 7, "unit"), FitConfig())
    assert 0 < sum(compared) < 0.6 * (n_images * side * side) ** 2


def test_the_first_of_the_least_is_found_in_long_rows() -> None:
    for n_columns in (3, 128, 255, 256, 300, 1024):
        table = torch.randint(0, 40, (50, n_columns), generator=torch.Generator().manual_seed(n_columns)).float()
        assert torch.equal(search._least(table), torch.from_numpy(table.numpy().argmin(1)))
