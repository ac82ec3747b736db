"""Switching units off, against the method written again in double precision, and beside random draws."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import finest
from lake_core.errors import ConfigError
from lake_core.experiments import ablation
from lake_core.experiments.ablation import (
    all_selected,
    selected_among,
    switch_off,
    switch_off_control,
    switch_off_tests,
    switched_off,
    top_of_ledger,
    whole_layer,
)
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.prompt_sensitivity import wording_sensitivity
from lake_core.experiments.random_draws import Rank, is_mixed, matched_draws, rank_among
from lake_core.experiments.robustness import score_stability
from lake_core.metrics.image_metrics import auroc, known_auroc
from tests.core.method import (
    CASES,
    N_NORMALS,
    agree,
    brute,
    kind_or_channel,
    layers_of,
    lies_inside,
    naive,
    naive_subspace,
    total,
    under,
)
from tests.core.running import Cancelled, in_threads
from tests.core.tiny import FAMILIES, OpenTiny

LABELS = [False, True, None, True]
Off = dict[int, list[int]]


@pytest.fixture(scope="module")
def lakes(open_tiny: OpenTiny, noise_pictures: list[Picture]) -> Any:
    """Fitted detectors by family and case of `test_scoring`, each with all pictures in its store."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(name: str, case: str = "channel, unit, letterbox", **changes: Any) -> Lake:
        resize, options = CASES[case]
        backbone = open_tiny(name, resize=resize)
        store = stores.setdefault(backbone, FeatureStore(backbone))
        kind = kind_or_channel(backbone, options["kind"])
        options = options | {"kind": kind, "layers": layers_of(backbone, kind, 8)} | changes
        lake = Lake(backbone, LakeConfig(**options), store).fit(noise_pictures[:N_NORMALS])
        store.ensure(noise_pictures, lake.places)
        return lake

    return make


@pytest.fixture(params=list(product(FAMILIES, list(CASES)[:2])), ids=lambda param: " ".join(param))
def fitted(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """Every family over several layers, in two cases that take both kinds, scalings and resizings between them."""
    return lakes(*request.param).reweighed(text_weight=0.3)


def some(lake: Lake) -> Off:
    """Three units of each layer: the most sensitive, the least of the selected, and one between."""
    return {layer: [int(s.units[0]), int(s.units[3]), int(s.units[-1])] for layer, s in lake.selection_.items()}


def naive_normal_scores(lake: Lake, normals: list[Picture], off: Off) -> list[float]:
    """The normal pictures' leave-one-out scores (sections 2 to 4), float64, without the units in `off`."""
    config, backbone = lake.config, lake.backbone
    grid = finest([backbone.layer(number).grid for number in config.layers])
    visual = np.zeros((len(normals), grid.n_patches))
    for number in config.layers:
        own, place = backbone.layer(number).grid, backbone.place(number, config.kind)
        acts = np.stack([lake.store.get(normal, place).double().numpy() for normal in normals])
        inside = np.stack([lies_inside(own, backbone, normal) for normal in normals])
        units = np.argsort(-acts[inside].var(0, ddof=1), kind="stable")[: config.top_k]
        units = np.array([unit for unit in units if unit not in off.get(number, [])], int)
        if not len(units):
            continue
        vectors = naive_subspace(acts, units, own, config.smooth, config.normalise)
        found = np.stack(
            [
                brute(vectors[i], np.concatenate([vectors[j][inside[j]] for j in range(len(normals)) if j != i]))
                for i in range(len(normals))
            ]
        )
        tau = np.quantile(found[inside], config.calibration_quantile)
        visual += found[:, under(grid, own)] / tau / len(config.layers)
    scores = []
    for i, normal in enumerate(normals):
        # The cross-modal map of a normal picture is its own; `naive` gives it beside a visual map that is not wanted.
        cross = naive(lake, normals, normal).cross
        fused = visual[i] if cross is None else (1 - config.text_weight) * visual[i] + config.text_weight * cross
        inside_i = lies_inside(grid, backbone, normal)
        scores.append(float(np.sort(fused[inside_i])[-min(config.top_q, inside_i.sum()) :].mean()))
    return scores


# Against the naive implementation ------------------------------------------------------------------------------------


def test_switching_off_agrees_with_the_method_written_again(fitted: Lake, noise_pictures: list[Picture]) -> None:
    normals, picture, off = noise_pictures[:N_NORMALS], noise_pictures[5], some(fitted)
    n_before = fitted.store.n_forwards
    found = switch_off(fitted, off, picture)
    assert fitted.store.n_forwards == n_before
    expected = naive(fitted, normals, picture, off)
    grid = found.after.witnesses.grid
    on_picture = np.where(expected.inside, 1, np.nan).reshape(grid.rows, grid.cols)
    agree(found.after.visual_map, expected.visual.reshape(on_picture.shape) * on_picture)
    agree(found.after.map, expected.fused.reshape(on_picture.shape) * on_picture)
    assert found.after.score == pytest.approx(expected.score, rel=5e-4)
    assert found.before.score == pytest.approx(naive(fitted, normals, picture).score, rel=5e-4)
    assert found.change == pytest.approx(expected.score - naive(fitted, normals, picture).score, abs=2e-3)
    assert abs(found.change) > 1e-4
    scores = naive_normal_scores(fitted, normals, off)
    np.testing.assert_allclose(switched_off(fitted, off).normal_scores_, scores, rtol=1e-3)
    assert found.after.threshold == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert found.after.threshold != found.before.threshold


def test_contaminated_normals_agree_with_the_method_written_again(fitted: Lake, noise_pictures: list[Picture]) -> None:
    normals, added, picture = noise_pictures[:N_NORMALS], noise_pictures[6], noise_pictures[5]
    found = contaminate(fitted, [added], [picture, added], [True, False])
    row = found.table.iloc[0]
    assert found.table["picture"].tolist() == [picture.name]
    assert row["before"] == pytest.approx(naive(fitted, normals, picture).score, rel=5e-4)
    assert row["after"] == pytest.approx(naive(fitted, [*normals, added], picture).score, rel=5e-4)
    scores = naive_normal_scores(fitted, [*normals, added], {})
    assert found.threshold_after == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert abs(row["change"]) > 1e-5


def test_the_ledger_still_adds_up_and_lacks_the_units(fitted: Lake, noise_pictures: list[Picture]) -> None:
    off = some(fitted)
    for picture in noise_pictures[3:5]:
        result = switch_off(fitted, off, picture).after
        expected = naive(fitted, noise_pictures[:N_NORMALS], picture, off)
        assert total(result.ledger()) == pytest.approx(result.score, rel=1e-4)
        for patch in np.flatnonzero(result.witnesses.inside):
            ledger = result.ledger(int(patch))
            assert total(ledger) == pytest.approx(float(result.map.reshape(-1)[patch]), rel=1e-4)
            visual = ledger[ledger["part"] == "visual"]
            named = set(zip(visual["layer"], visual["unit"], strict=True))
            assert named == expected.terms[int(patch)].keys()
            assert not named & {(layer, unit) for layer, units in off.items() for unit in units}


def test_all_units_of_all_layers_off_leaves_no_visual_part(fitted: Lake, noise_pictures: list[Picture]) -> None:
    after = switch_off(fitted, all_selected(fitted), noise_pictures[5]).after
    assert after.visual == 0
    scores = naive_normal_scores(fitted, noise_pictures[:N_NORMALS], all_selected(fitted))  # type: ignore[arg-type]
    assert after.threshold == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert (after.visual_map[np.isfinite(after.visual_map)] == 0).all()
    expected = naive(fitted, noise_pictures[:N_NORMALS], noise_pictures[5], all_selected(fitted))  # type: ignore[arg-type]
    assert after.score == pytest.approx(expected.score, rel=5e-4)
    assert after.score == pytest.approx(after.text_weight * after.cross_modal)
    assert total(after.ledger()) == pytest.approx(after.score)
    assert after.evidence() == []
    for level in ("unit", "layer", "part"):
        assert total(after.ledger(level=level)) == pytest.approx(after.score)


def test_a_layer_that_is_off_counts_nothing_and_keeps_its_place_in_the_mean(
    lakes: Any, noise_pictures: list[Picture]
) -> None:
    lake = lakes("native-vit", text_weight=0.0)
    first, *others = lake.selection_
    found = switch_off(lake, whole_layer(lake, first), noise_pictures[5])
    alone = lakes("native-vit", text_weight=0.0, layers=tuple(others)).score(noise_pictures[5])
    np.testing.assert_allclose(found.after.map, alone.map * len(others) / (len(others) + 1), rtol=1e-5)
    assert {e.layer for e in found.after.evidence()} == set(others) == {e.layer for e in found.evidence_before}
    assert first not in set(found.after.ledger()["layer"].dropna())


def test_units_that_do_not_vary_cannot_carry_a_layer_alone(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("native-vit", normalise="none", smooth=1)
    place = lake.backbone.place(2, "channel")
    store = FeatureStore(lake.backbone)
    store.ensure(noise_pictures, lake.places)
    still = [int(unit) for unit in lake.selection_[2].order[:2]]
    for picture in noise_pictures:
        store._held[picture.sha256][place][:, still] = 1.0
    config = replace(lake.config, layers=(2,), criterion="all")
    dead = Lake(lake.backbone, config, store).fit(noise_pictures[:N_NORMALS])
    off = [int(unit) for unit in dead.selection_[2].units if unit not in still]
    found = switch_off(dead, {2: off}, noise_pictures[5])
    assert found.warnings == (
        "The neurons of layer 2 that are left do not vary over the normal pictures; it counts as switched off.",
    )
    assert found.after.visual == 0


def test_nothing_off_changes_nothing(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("siglip")
    several: tuple[dict[int, list[int]], ...] = ({}, {2: []})
    for nothing in several:
        found = switch_off(lake, nothing, noise_pictures[5])
        assert found.change == 0
        assert not found.map_change[np.isfinite(found.map_change)].any()
        assert not found.patch_moved
        assert found.n_units == 0
        assert found.after.threshold == lake.threshold_


def test_the_detector_and_its_store_stay_as_they_were(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("siglip")
    before = lake.score(noise_pictures[5])
    held = {key: {place: t.clone() for place, t in row.items()} for key, row in lake.store._held.items()}
    units = {layer: s.units.copy() for layer, s in lake.selection_.items()}
    switch_off_control(lake, some(lake), noise_pictures[5], noise_pictures[4:], LABELS, n_draws=3)
    after = lake.score(noise_pictures[5])
    assert (after.score, after.threshold) == (before.score, before.threshold)
    assert all(np.array_equal(units[layer], s.units) for layer, s in lake.selection_.items())
    assert held.keys() == lake.store._held.keys()
    for key, row in held.items():
        assert all(bool((t == lake.store._held[key][place]).all()) for place, t in row.items())


# Choosing and words --------------------------------------------------------------------------------------------------


def test_the_top_of_the_ledger_are_its_greatest_contributions(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("convnext")
    result = lake.score(noise_pictures[5])
    for patch in (None, 0 if result.witnesses.inside[0] else int(np.flatnonzero(result.witnesses.inside)[0])):
        chosen = top_of_ledger(result, 5, patch)
        ledger = result.ledger(patch)
        visual = ledger[ledger["part"] == "visual"].sort_values("contribution", ascending=False)
        wanted = {(int(r.layer), int(r.unit)) for r in visual.head(5).itertuples()}
        assert {(layer, int(unit)) for layer, units in chosen.items() for unit in units} == wanted
        off = switch_off(lake, chosen, noise_pictures[5])
        assert off.n_units == 5
    everything = top_of_ledger(result, 10_000)
    assert {layer: len(units) for layer, units in everything.items()} == {
        layer: len(s.units) for layer, s in lake.selection_.items()
    }


def test_only_selected_units_can_be_switched_off(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("native-vit")
    stranger = int(lake.selection_[2].order[-1])
    with pytest.raises(ConfigError, match=f"Unit {stranger} of layer 2 is not selected"):
        switch_off(lake, {2: [stranger]}, noise_pictures[5])
    with pytest.raises(ConfigError, match="Layer 9 takes no part in the score; layers that do: 1, 2, 3"):
        switched_off(lake, {9: [0]})
    own = int(lake.selection_[2].units[1])
    pinned = selected_among(lake, {1: [stranger] * 0, 2: [stranger, own], 9: [0]})
    assert {layer: units.tolist() for layer, units in pinned.items()} == {2: [own]}


def test_the_sentence_tells_scores_decision_and_thresholds(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("native-vit")
    found = switch_off(lake, all_selected(lake), noise_pictures[5])
    assert f"from {found.before.score:.2f} to {found.after.score:.2f}" in found.sentence
    said = "stays" if found.before.is_anomalous == found.after.is_anomalous else "turns from"
    assert said in found.sentence
    assert "Without 27 neurons" in found.sentence
    assert found.is_anomalous_at_kept_threshold == (found.after.score > lake.threshold_)


# Many pictures -------------------------------------------------------------------------------------------------------


def test_the_table_of_tests_is_each_picture_switched_off(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake, pictures, done = lakes("efficientnet"), noise_pictures[4:], []
    off = some(lake)
    found = switch_off_tests(lake, off, pictures, LABELS, lambda *step: done.append(step))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row, picture in zip(found.table.itertuples(), pictures, strict=True):
        one = switch_off(lake, off, picture)
        assert (row.before, row.after) == (one.before.score, one.after.score)
        assert row.change == pytest.approx(one.change)
        assert row.anomalous_after == one.after.is_anomalous
        assert row.anomalous_at_kept_threshold == one.is_anomalous_at_kept_threshold
    known = [0, 1, 3]
    assert found.auroc_after == auroc([False, True, True], found.table["after"].to_numpy()[known])
    assert found.auroc_before == auroc([False, True, True], found.table["before"].to_numpy()[known])
    assert switch_off_tests(lake, off, pictures).auroc_after is None
    assert found.table["label"].isna().tolist() == [False, False, True, False]


# Random draws --------------------------------------------------------------------------------------------------------


def test_draws_are_matched_reproducible_different_and_without_the_chosen_units() -> None:
    units, pools = {3: [1, 5, 9], 7: [0]}, {3: range(20), 7: range(4, 30)}
    draws = matched_draws(units, pools, 40, seed=3)
    assert len(draws) == 40
    for draw in draws:
        assert {layer: len(set(found.tolist())) for layer, found in draw.items()} == {3: 3, 7: 1}
        for layer, found in draw.items():
            assert not set(found.tolist()) & set(units[layer])
            assert set(found.tolist()) <= set(pools[layer])
    again, other = matched_draws(units, pools, 40, seed=3), matched_draws(units, pools, 40, seed=4)
    as_lists = [[draw[3].tolist() + draw[7].tolist() for draw in some] for some in (draws, again, other)]
    assert as_lists[0] == as_lists[1] != as_lists[2]
    assert len({tuple(row) for row in as_lists[0]}) == 40
    drawn = np.bincount(np.concatenate([draw[3] for draw in matched_draws(units, pools, 300)]), minlength=20)
    assert (drawn > 0).sum() == 17


def test_there_are_as_many_draws_as_differ() -> None:
    assert len(matched_draws({1: [0]}, {1: range(6)}, 20)) == 5
    assert len(matched_draws({1: [0, 1]}, {1: range(6)}, 6)) == 6
    assert matched_draws({1: range(6)}, {1: range(6)}, 20) == []
    assert matched_draws({1: [0, 1]}, {1: [5]}, 20) == []
    assert matched_draws({1: []}, {1: range(6)}, 20) == []


def test_a_threshold_that_was_set_is_kept_by_all_that_is_made_of_the_detector(
    lakes: Any, noise_pictures: list[Picture]
) -> None:
    lake = lakes("siglip", top_k=12)
    mine, off = lake.with_threshold(7.5), all_selected(lake)
    few = {layer: units[:2] for layer, units in off.items()}
    assert lake.own_threshold is None
    assert lake.threshold_ != 7.5
    assert {mine.threshold_, mine.reweighed(text_weight=0.9).threshold_, switched_off(mine, few).threshold_} == {7.5}
    assert mine.with_threshold(None).threshold_ == lake.threshold_
    outcome = switch_off(mine, few, noise_pictures[5])
    assert not outcome.before.is_anomalous
    assert outcome.sentence.endswith("the picture stays normal (threshold 7.50).")
    changed = contaminate(mine, [noise_pictures[6]], [noise_pictures[5]])
    assert (changed.threshold_before, changed.threshold_after) == (7.5, 7.5)
    assert "the threshold stays 7.50" in changed.sentence
    if lake.backbone.joint_place is not None:
        found = wording_sensitivity(mine, noise_pictures[5])
        assert set(found.table["threshold"]) == {7.5}
        assert not found.table["is_anomalous"].any()
    steady = score_stability(mine, noise_pictures[5])
    assert set(steady.table["threshold"]) == {7.5}


def test_nothing_is_ranked_where_nothing_changed() -> None:
    assert rank_among(0.0, [0.0, 0.1]).sentence() == (
        "The chosen neurons have not changed the score, so there is nothing to compare."
    )


def test_more_than_half_of_a_layer_is_compared_with_draws_that_hold_chosen_units() -> None:
    units, pools = {1: [0, 1, 2, 3], 2: [7]}, {1: range(6), 2: range(5, 40)}
    draws = matched_draws(units, pools, 20)
    assert len(draws) == 20
    assert is_mixed(units, draws)
    assert not any(draw[1].tolist() == units[1] and draw[2].tolist() == units[2] for draw in draws)
    assert len(matched_draws({1: [0, 1, 2, 3]}, {1: range(6)}, 100)) == 14  # of 15 sets of four one is the chosen
    assert not is_mixed({1: [0, 1]}, matched_draws({1: [0, 1]}, {1: range(9)}, 20))
    said = rank_among(0.5, [0.1, 0.2], mixed=True).sentence()
    assert said == (
        "Of 2 random draws of as many selected neurons (some of yours are among them: too few others are left), "
        "none changed the score at least as much."
    )


def test_a_rank_counts_by_size_and_is_said_in_words() -> None:
    rank = rank_among(-0.5, [0.1, 0.5, -0.7, 0.49])
    assert rank == Rank(4, 2)
    assert rank.p_value == pytest.approx(3 / 5)
    assert rank.sentence() == "Of 4 random draws of as many selected neurons, 2 changed the score at least as much."
    assert Rank(20, 0).sentence().startswith("Of 20 random draws of as many selected neurons, none changed")
    assert Rank(0, 0).p_value is None
    assert "choose fewer" in Rank(0, 0).sentence()


def test_the_control_is_each_draw_switched_off(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake, pictures, done = lakes("siglip", top_k=12), noise_pictures[4:], []
    off = some(lake)
    control = switch_off_control(
        lake, off, pictures[0], pictures, LABELS, n_draws=4, seed=5, on_progress=lambda *step: done.append(step)
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert control.change == pytest.approx(switch_off(lake, off, pictures[0]).change)
    before = switch_off_tests(lake, {}, pictures, LABELS).auroc_before
    assert before is not None
    for draw, change, auroc_change in zip(control.draws, control.changes, control.auroc_changes, strict=True):  # type: ignore[arg-type]
        assert {layer: len(units) for layer, units in draw.items()} == dict.fromkeys(off, 3)
        assert all(not set(units.tolist()) & set(off[layer]) for layer, units in draw.items())
        assert change == pytest.approx(switch_off(lake, draw, pictures[0]).change)
        after = known_auroc(LABELS, [switch_off(lake, draw, picture).after.score for picture in pictures])
        assert auroc_change == pytest.approx(after - before)  # type: ignore[operator]
    assert control.rank == rank_among(control.change, control.changes)
    assert len(set(control.changes)) == 4
    n_changed = 1 + (control.auroc_change != 0)
    assert control.sentence.count("Of 4 random draws of as many selected neurons") == n_changed
    again = switch_off_control(lake, off, pictures[0], n_draws=4, seed=5)
    np.testing.assert_array_equal(again.changes, control.changes)
    assert again.auroc_rank is None
    nothing_left = switch_off_control(lake, all_selected(lake), pictures[0], n_draws=4)
    assert (nothing_left.rank.n_draws, len(nothing_left.changes)) == (0, 0)


def test_what_was_heard_before_is_not_measured_again(
    lakes: Any, noise_pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, pictures = lakes("siglip", top_k=12), noise_pictures[4:]
    off = some(lake)
    table = switch_off_tests(lake, off, pictures, LABELS)
    control = switch_off_control(lake, off, pictures[2], pictures, LABELS, n_draws=3)
    heard, reduced = [lake.measure(picture) for picture in pictures], switched_off(lake, off)
    measured_by: list[Lake] = []

    def measure(self: Lake, picture: Picture, real: Any = Lake.measure) -> Any:
        measured_by.append(self)
        return real(self, picture)

    monkeypatch.setattr(Lake, "measure", measure)
    table_again = switch_off_tests(lake, off, pictures, LABELS, reduced=reduced, heard=heard)
    again = switch_off_control(lake, off, pictures[2], pictures, LABELS, n_draws=3, reduced=reduced, heard=heard)
    assert not any(one is lake for one in measured_by)
    assert len(measured_by) == len(pictures) * (1 + 1 + 3)
    assert table_again.table.equals(table.table)
    assert (table_again.auroc_before, table_again.auroc_after) == (table.auroc_before, table.auroc_after)
    assert (again.change, again.auroc_change) == (control.change, control.auroc_change)
    np.testing.assert_array_equal(again.changes, control.changes)
    np.testing.assert_array_equal(again.auroc_changes, control.auroc_changes)


def test_cancelling_leaves_everything_usable(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("eva02")
    before = switch_off(lake, some(lake), noise_pictures[5]).after.score

    def stop(done: int, _in_all: int) -> None:
        if done == 2:
            raise Cancelled

    for work in (
        lambda: switch_off_tests(lake, some(lake), noise_pictures[3:], on_progress=stop),
        lambda: switch_off_control(lake, some(lake), noise_pictures[5], n_draws=5, on_progress=stop),
    ):
        with pytest.raises(Cancelled):
            work()
    assert switch_off(lake, some(lake), noise_pictures[5]).after.score == before


def test_threads_that_switch_off_different_units_do_not_meet(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("native-vit")
    offs = [{layer: [int(s.units[index])] for layer, s in lake.selection_.items()} for index in range(4)]
    expected = [switch_off(lake, off, noise_pictures[5]).after.score for off in offs]
    assert len(set(expected)) == 4

    def work(index: int) -> None:
        for _ in range(10):
            assert switch_off(lake, offs[index], noise_pictures[5]).after.score == expected[index]

    in_threads(work)


def test_all_experiments_are_in_one_place() -> None:
    kinds = ("ablate", "contaminate", "curve", "faithfulness", "occlusion", "patch_in", "switch_off_control")
    assert set(kinds) <= set(ablation.__all__)
    assert all(callable(getattr(ablation, name)) for name in ablation.__all__)
