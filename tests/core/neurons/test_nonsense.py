"""The nonsense control: words that mean nothing go the same way, and the test tells meaning from none."""

from math import comb

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lake_core.data.images import InputImage
from lake_core.neurons.concepts import agreement, load_concepts
from lake_core.neurons.labels import LabelConfig, label_concepts, label_with_control
from lake_core.neurons.nonsense import nonsense_finding, nonsense_words
from tests.core.neurons.planted import LAYER, PLANTED, WORDS, RedBackbone, fitted
from tests.core.running import Cancelled


def test_nonsense_words_have_the_shape_of_the_concepts_and_are_none() -> None:
    concepts = load_concepts()
    words = nonsense_words(concepts)
    assert len(words) == len(set(words)) == len(concepts)
    assert [len(word) for word in words] == [len(concept) for concept in concepts]
    assert [word.count(" ") for word in words] == [concept.count(" ") for concept in concepts]
    assert not set(words) & {concept.casefold() for concept in concepts}
    assert nonsense_words(concepts) == words
    assert nonsense_words(concepts, seed=1) != words


def test_where_all_short_strings_are_taken_a_longer_one_is_made() -> None:
    letters = [chr(ord("a") + i) for i in range(26)]
    words = nonsense_words(letters)
    assert len(set(words) | set(letters)) == 52
    assert {len(word) for word in words} == {2}


@pytest.mark.parametrize(("n_real_only", "n_nonsense_only"), [(5, 0), (4, 0), (9, 2), (3, 3), (0, 4), (0, 0)])
def test_the_p_value_is_the_exact_sign_test_of_the_neurons_that_differ(n_real_only: int, n_nonsense_only: int) -> None:
    real = np.array([True] * n_real_only + [False] * n_nonsense_only + [True, True, False])
    nonsense = np.array([False] * n_real_only + [True] * n_nonsense_only + [True, True, False])
    found = nonsense_finding(real, nonsense, 0.05)
    n = n_real_only + n_nonsense_only
    expected = sum(comb(n, k) for k in range(n_real_only, n + 1)) / 2**n
    assert found.p_value == pytest.approx(expected)
    assert found.real_words_win == (expected < 0.05)
    assert (found.n_neurons, found.n_real, found.n_nonsense) == (n + 3, n_real_only + 2, n_nonsense_only + 2)
    assert (found.n_real_only, found.n_nonsense_only) == (n_real_only, n_nonsense_only)
    assert found.n_by_chance == pytest.approx(0.05 * (n + 3))


@pytest.mark.parametrize("has_meaning", [True, False])
def test_neurons_that_follow_real_words_win_and_others_do_not(has_meaning: bool) -> None:
    rng = np.random.default_rng(5)
    joint_pj = rng.normal(size=(4 * 144, 16))
    real, nonsense = (F.normalize(torch.from_numpy(rng.normal(size=(30, 16))), dim=1).numpy() for _ in range(2))
    noise = rng.normal(size=(24, 4 * 144))
    maps = noise + (3 * real[:24] @ joint_pj.T if has_meaning else 0)
    by_real, by_nonsense = agreement(maps, joint_pj, [real, nonsense], [(12, 12)] * 4, 99)
    labelled = [found.p_value.min(1) <= 0.05 for found in (by_real, by_nonsense)]
    finding = nonsense_finding(labelled[0], labelled[1], 0.05)
    assert finding.real_words_win == has_meaning
    assert (finding.n_real >= 20) == has_meaning


def test_two_vocabularies_are_tested_as_each_would_be_alone() -> None:
    rng = np.random.default_rng(6)
    maps, joint_pj = rng.normal(size=(3, 288)), rng.normal(size=(288, 8))
    first, second = rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    together = agreement(maps, joint_pj, [first, second], [(12, 12)] * 2, 19)
    for found, own in zip(together, (first, second), strict=True):
        (alone,) = agreement(maps, joint_pj, [own], [(12, 12)] * 2, 19)
        np.testing.assert_array_equal(found.score, alone.score)
        np.testing.assert_array_equal(found.p_value, alone.p_value)


@pytest.mark.parametrize("by_ablation", [False, True])
def test_the_control_labels_as_the_labels_do(
    planted: RedBackbone, mosaics: list[InputImage], by_ablation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_ablation:
        monkeypatch.setattr("lake_core.neurons.labels.written_directions", lambda *_: None)
    lake, neurons, config = fitted(planted, mosaics), [PLANTED, 3, 40], LabelConfig(n_draws=49, seed=7)
    found = label_with_control(lake, LAYER, neurons, mosaics, WORDS, config)
    assert found.words == nonsense_words(WORDS, 7)
    assert list(found.labels) == label_concepts(lake, LAYER, neurons, mosaics, WORDS, config)
    assert list(found.nonsense) == label_concepts(lake, LAYER, neurons, mosaics, found.words, config)
    assert "red" in found.labels[0].concepts
    assert found.finding == nonsense_finding(
        np.array([bool(one.concepts) for one in found.labels]),
        np.array([bool(one.concepts) for one in found.nonsense]),
        config.level,
    )


def test_the_control_costs_no_further_pass_of_the_network(
    planted: RedBackbone, mosaics: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake_core.neurons.labels.written_directions", lambda *_: None)
    lake, steps = fitted(planted, mosaics), []
    lake.store.ensure(mosaics, planted.hook_points)
    n_forwards = lake.store.n_forwards
    label_with_control(lake, LAYER, [PLANTED], mosaics, WORDS, on_progress=lambda *step: steps.append(step))
    assert lake.store.n_forwards == n_forwards
    assert steps[0] == (1, 1)  # by agreement
    assert steps[-1] in [(44, 44), (45, 45)]  # the neuron and 44 random ones, of which it may be one


def test_labelling_can_be_cancelled_by_either_route(
    planted: RedBackbone, mosaics: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake_core.neurons.labels.written_directions", lambda *_: None)
    lake = fitted(planted, mosaics)
    for n_all in (3, 40):

        def stop(done: int, total: int, n_all: int = n_all) -> None:
            if total >= n_all and done == 2:
                raise Cancelled

        with pytest.raises(Cancelled):
            label_with_control(lake, LAYER, [PLANTED, 3, 40], mosaics, WORDS, on_progress=stop)
