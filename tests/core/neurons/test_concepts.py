"""Words for neurons: a planted one is found by both routes, and chance gets no more words than it is allowed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from lake_core.backbones.opening import open_backbone
from lake_core.backbones.towers import Tail
from lake_core.data.images import InputImage, read_image
from lake_core.errors import ConfigError
from lake_core.neurons.concepts import (
    NO_CONCEPT,
    ConceptLabels,
    ConceptScore,
    agreement,
    concept_directions,
    effect,
    load_concepts,
)
from lake_core.neurons.effects import ablation_effects, clipped
from lake_core.neurons.labels import LabelConfig, label_concepts, n_label_passes
from lake_core.types import HookPoint
from tests.core.neurons.planted import LAYER, PLANTED, WORDS, RedBackbone, fitted, is_red, random_text
from tests.core.tiny import Tiny


def test_a_planted_neuron_gets_its_word_by_both_routes(planted: RedBackbone, mosaics: list[InputImage]) -> None:
    lake = fitted(planted, mosaics)
    acts = torch.cat([lake.store.get(image, HookPoint(LAYER, "mlp_hidden"))[:, PLANTED] for image in mosaics]).numpy()
    red = np.concatenate([is_red(image) for image in mosaics])
    assert acts[red].min() > acts[~red].max()
    one = label_concepts(lake, LAYER, [PLANTED], mosaics, WORDS)[0]
    assert one.concepts == ("red",)
    assert one.text == "red"
    assert one.effect_by == "down-projection"
    assert one.level == 0.025
    for route in (one.agreement, one.effect):
        assert route[0].concept == "red"
        assert route[0].p_value <= 0.025 < route[1].p_value
        assert [score.score for score in route] == sorted((score.score for score in route), reverse=True)


def test_the_planted_neuron_with_shuffled_weights_gets_no_word(planted: RedBackbone, mosaics: list[InputImage]) -> None:
    mlp = planted.adapter.visual.transformer.resblocks[LAYER - 1].mlp
    reads, writes = mlp.c_fc.weight[PLANTED].detach().clone(), mlp.c_proj.weight[:, PLANTED].detach().clone()
    found: list[tuple[str, ...]] = []
    for seed in range(12):
        mix = torch.randperm(32, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            mlp.c_fc.weight[PLANTED] = reads[mix]
            mlp.c_proj.weight[:, PLANTED] = writes[mix]
        one = label_concepts(fitted(planted, mosaics), LAYER, [PLANTED], mosaics, WORDS)[0]
        found.append(one.concepts)
        assert "red" not in one.concepts
    assert sum(map(bool, found)) <= 1


def test_ablation_at_zero_is_what_taking_the_neurons_weights_away_does(
    planted: RedBackbone, mosaics: list[InputImage]
) -> None:
    point = planted.image_hook_point
    found = ablation_effects(planted, mosaics, HookPoint(LAYER, "mlp_hidden"), [PLANTED], np.zeros(128))[0]
    pixels = torch.stack([planted.prepare(image) for image in mosaics])
    whole = planted.forward(pixels, {point})[point][:, 0]
    with torch.no_grad():
        planted.adapter.visual.transformer.resblocks[LAYER - 1].mlp.c_proj.weight[:, PLANTED] = 0
    wanted = (whole - planted.forward(pixels, {point})[point][:, 0]).mean(0).numpy()
    assert np.linalg.norm(wanted) > 1e-3
    np.testing.assert_allclose(found, wanted, atol=0.01 * float(np.linalg.norm(wanted)))


def test_where_the_write_is_not_linear_the_effect_is_measured(
    planted: RedBackbone, mosaics: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook_point = HookPoint(LAYER, "mlp_hidden")
    passed: list[int] = []
    assert n_label_passes(planted, hook_point, len(mosaics)) == 0
    lake, forward = fitted(planted, mosaics), Tail.forward
    lake.store.ensure(mosaics, planted.hook_points)

    def counted(tail: Tail, *args: Any) -> dict[HookPoint, Tensor]:
        found = forward(tail, *args)
        passed.extend(map(len, found.values()))
        return found

    monkeypatch.setattr("lake_core.neurons.labels.written_directions", lambda *_: None)
    monkeypatch.setattr(Tail, "forward", counted)
    one = label_concepts(lake, LAYER, [PLANTED], mosaics, WORDS)[0]
    n_images, share = min(len(mosaics), 6), 1 - (LAYER - 1) / len(planted.layers)
    most = n_label_passes(planted, hook_point, len(mosaics))
    assert most - share * n_images <= n_images + share * sum(passed) <= most
    assert one.effect_by == "ablation"
    assert one.agreement[0].concept == "red"
    assert len(one.effect) == 5
    assert min(score.p_value for score in one.effect) >= 1 / 45


def test_clipping_changes_one_neuron_at_patches_and_what_comes_after(tiny: Tiny) -> None:
    backbone = tiny.backbone
    pixels = torch.randn(2, 3, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    layer = len(backbone.layers) - 1
    hook_point = HookPoint(
        layer, "mlp_hidden" if "mlp_hidden" in backbone.layer(layer).n_neurons else "residual_channel"
    )
    after, image = HookPoint(layer + 1, "residual_channel"), backbone.image_hook_point
    before = backbone.forward(pixels, {hook_point, after, image})
    neuron = int(before[hook_point].flatten(0, 1).std(0).argmax())
    ceiling = float(before[hook_point][:, :, neuron].mean())
    during = backbone.forward(pixels, {hook_point, after, image}, {hook_point: clipped(neuron, ceiling)})
    wanted = before[hook_point].clone()
    wanted[:, :, neuron] = wanted[:, :, neuron].clamp(max=ceiling)
    torch.testing.assert_close(during[hook_point], wanted)
    assert not torch.equal(during[hook_point], before[hook_point])
    assert not torch.allclose(during[after], before[after], rtol=0, atol=1e-7)
    again = backbone.forward(pixels, {hook_point, after, image})
    torch.testing.assert_close(again[image], before[image])


def test_a_neuron_never_above_its_ceiling_has_no_effect(tiny: Tiny, noise_images: list[InputImage]) -> None:
    hook_point = HookPoint(1, "residual_channel")
    ceilings = np.full(tiny.backbone.layer(1).n_neurons["residual_channel"], 1e9)
    done: list[tuple[int, int]] = []
    found = ablation_effects(
        tiny.backbone, noise_images[:2], hook_point, [0, 5], ceilings, lambda *step: done.append(step)
    )
    np.testing.assert_allclose(found, 0, atol=1e-6)
    assert done == [(1, 2), (2, 2)]
    directions = np.eye(tiny.backbone.joint_width)[:4]
    assert (
        effect(np.zeros((1, tiny.backbone.joint_width)), found, np.zeros((1, 2), bool), directions).best(0, WORDS) == ()
    )


def smooth_maps(rng: np.random.Generator, n_maps: int, n_images: int, aligned: bool) -> np.ndarray:
    """(n_maps, n_images * 144): smooth noise; aligned, most of it is the same in all images."""
    maps = rng.normal(size=(n_maps, n_images, 12, 12))
    if aligned:
        maps = 0.4 * maps + rng.normal(size=(n_maps, 1, 12, 12))
    return ndimage.gaussian_filter(maps, (0, 0, 1.2, 1.2), mode="wrap").reshape(n_maps, -1)


@pytest.mark.parametrize("aligned", [False, True])
def test_random_maps_get_a_word_no_more_often_than_allowed(aligned: bool) -> None:
    rng = np.random.default_rng(11)
    n_labelled = n_neurons = 0
    for draw in range(4):
        neurons, joint = smooth_maps(rng, 60, 6, aligned), smooth_maps(rng, 16, 6, aligned).T
        words = F.normalize(torch.from_numpy(rng.normal(size=(40, 16))), dim=1).numpy()
        found = agreement(neurons, joint, [words], [(12, 12)] * 6, 99, draw)[0]
        n_labelled += int((found.p_value.min(1) <= 0.05).sum())
        n_neurons += 60
    assert n_labelled / n_neurons <= 0.1


def test_random_effects_get_a_word_no_more_often_than_allowed() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(32, 32)) * np.linspace(0.1, 3, 32)
    words = F.normalize(torch.from_numpy(rng.normal(size=(50, 32))), dim=1).numpy()
    effects = rng.normal(size=(400, 32)) @ mixing
    found = effect(effects[:200], effects[200:], np.zeros((200, 200), bool), words)
    assert 0.005 <= (found.p_value.min(1) <= 0.05).mean() <= 0.1


def test_scores_are_correlations_with_the_words_maps() -> None:
    rng = np.random.default_rng(2)
    neurons, joint = smooth_maps(rng, 5, 3, False), rng.normal(size=(3 * 144, 8))
    words = F.normalize(torch.from_numpy(rng.normal(size=(7, 8))), dim=1).numpy()
    found = agreement(neurons, joint, [words], [(12, 12)] * 3, 9)[0]
    np.testing.assert_allclose(found.score, np.corrcoef(neurons, words @ joint.T)[:5, 5:], atol=1e-9)
    assert found.p_value.min() >= 0.1


def test_a_dead_neuron_and_a_word_that_no_patch_hears_say_nothing() -> None:
    rng = np.random.default_rng(2)
    joint = rng.normal(size=(50, 8))
    joint[:, 0] = 1
    words = np.eye(8)[:3]
    found = agreement(np.stack([np.ones(50), rng.normal(size=50)]), joint, [words], [(5, 5)] * 2, 9)[0]
    assert found.best(0, WORDS) == ()
    assert found.score[1, 0] == 0


def test_a_neuron_is_not_held_against_itself() -> None:
    effects = np.eye(6)[:3]
    found = effect(effects, effects, np.eye(3, dtype=bool), np.eye(6)[:3])
    np.testing.assert_allclose(np.diag(found.score), 1)
    np.testing.assert_allclose(np.diag(found.p_value), 1)
    others = effect(effects[:1], effects[1:] * 0, np.zeros((1, 2), bool), np.eye(6)[:3])
    assert others.p_value[0, 0] == 1  # random neurons without any effect are no null


def test_images_of_different_shapes_in_a_letterbox(planted: RedBackbone, mosaics: list[InputImage]) -> None:
    wide = [read_image(image.rgb[:24], f"wide {image.name}") for image in mosaics[:3]]
    backbone = open_backbone(planted.spec, resize="letterbox")
    lake = fitted(backbone, mosaics[:3])
    found = label_concepts(
        lake, LAYER, [3, 4], [*mosaics[:3], *wide], WORDS, LabelConfig(with_effect=False, n_draws=19)
    )
    assert [one.neuron for one in found] == [3, 4]
    assert all(len(one.agreement) == 5 and one.effect == () and one.level == 0.05 for one in found)


def test_only_words_that_beat_chance_are_reported() -> None:
    scores = (ConceptScore("red", 0.9, 0.01), ConceptScore("rust", 0.8, 0.04), ConceptScore("blue", 0.1, 0.9))
    assert ConceptLabels(1, scores, (), None, 0.05).concepts == ("red", "rust")
    assert ConceptLabels(1, scores, scores, "ablation", 0.025).text == "red"
    assert ConceptLabels(1, scores[2:], ()).text == NO_CONCEPT


def test_the_vocabulary_is_large_and_without_repetition() -> None:
    words = load_concepts()
    assert len(words) >= 300
    assert len({word.casefold() for word in words}) == len(words)
    assert not any(word.startswith("#") for word in words)


def test_a_vocabulary_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# mine\nred\n\n  dark   blue \nred\ngreen\n", encoding="utf-8")
    assert load_concepts(file) == ("red", "dark blue", "green")
    file.write_text("red\nblue\n")
    with pytest.raises(ConfigError, match="at least 3"):
        load_concepts(file)
    with pytest.raises(ConfigError, match="nowhere"):
        load_concepts(tmp_path / "nowhere.txt")


def test_word_directions_are_told_from_the_others() -> None:
    rows = concept_directions(lambda texts: torch.stack([random_text(text) + 5 for text in texts]), WORDS)
    assert rows.shape == (len(WORDS), 24)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
    assert abs((rows @ rows.T)[~np.eye(len(WORDS), dtype=bool)].mean()) < 0.2
