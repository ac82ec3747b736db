"""Words and images: similarities by hand in float64, and rewording against detectors fitted anew."""

from copy import copy
from pathlib import Path

import numpy as np
import pytest

from lake_core.backbones.opening import open_backbone
from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError, LakeError
from lake_core.experiments.prompt_sensitivity import prompt_sensitivity, without_each_prompt
from lake_core.experiments.text_similarity import (
    anomalous_probability,
    image_probabilities,
    phrase_map,
    prompt_table,
)
from lake_core.findings.fits import TextLeftOut
from lake_core.findings.normals import PromptSensitivityFinding
from lake_core.prompts import PromptEnsemble
from lake_core.sentences import sentence
from tests.core.method import lies_inside, under
from tests.core.tiny import FAMILIES, OpenTiny, each_shape, write_monotone

N_NORMALS = 3
SPEAKING = [shape for shape in each_shape() if FAMILIES[shape.values[0]].joint is not None]
PROMPTS = PromptEnsemble(("{}", "good {}"), ("bad {}", "{} with a hole"), ("a photo of a {}.", "a {}, up close"))
OTHER = PromptEnsemble(("fine {}",), ("torn {}", "{} with a hole", "burnt {}"), ("this is {}",))


@pytest.fixture(params=SPEAKING, scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_images: list[InputImage]) -> Lake:
    backbone = open_tiny(request.param, resize="letterbox")
    config = LakeConfig(top_k=9, fusion_weight=0.6, prompts=PROMPTS, object_name="plate", top_q=2)
    return Lake(backbone, config).fit(noise_images[:N_NORMALS])


def same(one: Lake, other: Lake, image: InputImage) -> None:
    assert one.config == other.config
    assert one.memory_bank_.warnings == other.memory_bank_.warnings
    np.testing.assert_array_equal(one.normal_scores_, other.normal_scores_)
    a, b = one.explain(image), other.explain(image)
    assert (a.score, a.threshold, a.text) == (b.score, b.threshold, b.text)
    np.testing.assert_array_equal(a.map, b.map)
    assert a.patch_scores.image_probability == b.patch_scores.image_probability


@pytest.mark.parametrize(
    "change", [{"prompts": OTHER}, {"object_name": "woven cloth"}, {"prompts": OTHER} | {"object_name": "x"}]
)
def test_other_prompts_equals_fitting_with_the_other_words(
    lake: Lake, noise_images: list[InputImage], change: dict[str, object]
) -> None:
    image = noise_images[5]
    before = lake.explain(image)
    n_forwards = lake.store.n_forwards
    other = lake.with_prompts(**change)  # type: ignore[arg-type]
    config = LakeConfig(**{name: getattr(lake.config, name) for name in LakeConfig.__dataclass_fields__} | change)
    fresh = Lake(lake.backbone, config, lake.store).fit(noise_images[:N_NORMALS])
    same(other, fresh, image)
    assert all(a is b for a, b in zip(other.memory_bank_.layers, lake.memory_bank_.layers, strict=True))
    assert lake.store.n_forwards == n_forwards
    again = other.aggregate(other.with_own_text(before.patch_scores))
    assert again.score == fresh.explain(image).score
    assert again.score != before.score
    assert again.patch_scores.layers is before.patch_scores.layers
    assert again.patch_scores.image_probability == fresh.explain(image).patch_scores.image_probability
    assert lake.explain(image).score == before.score


def test_other_prompts_may_lose_the_text_part_and_find_it_again(lake: Lake, noise_images: list[InputImage]) -> None:
    silent_words = PromptEnsemble(("{} so",), ("{} so",), ("a {}",))
    silent = lake.with_prompts(silent_words)
    assert silent.memory_bank_.text is None
    assert silent.with_own_text(lake.compute_maps(noise_images[5])).text is None
    assert len(silent.with_prompts(OTHER).memory_bank_.warnings) == len(lake.memory_bank_.warnings)
    same(silent.with_prompts(PROMPTS), lake, noise_images[5])


def test_prompts_have_the_similarities_of_their_own_texts(lake: Lake, noise_images: list[InputImage]) -> None:
    image, backbone = noise_images[5], lake.backbone
    result = lake.explain(image)
    patch = int(np.flatnonzero(result.patch_scores.inside)[-1])
    assert backbone.joint_hook_point is not None
    under = int(coarse_of_fine(result.patch_scores.grid, backbone.grid(backbone.joint_hook_point))[patch])
    joint = lake.store.get(image, backbone.joint_hook_point)[under].double().numpy()
    whole = lake.store.get(image, backbone.image_hook_point)[0].double().numpy()
    table = prompt_table(lake, image, patch)
    assert table["state"].tolist() == ["normal"] * 4 + ["anomalous"] * 4
    for row in table.itertuples():
        assert row.prompt == str(row.template).replace("{}", str(row.phrase).replace("{}", "plate"))
        text = backbone.encode_text([str(row.prompt)])[0].double().numpy()
        assert row.cos_patch == pytest.approx(text @ joint, abs=1e-5)
        assert row.cos_image == pytest.approx(text @ whole, abs=1e-5)
    directions = {}
    for state, rows in table.groupby("state"):
        mean = backbone.encode_text(rows["prompt"].tolist()).double().numpy().mean(0)
        directions[state] = mean / np.linalg.norm(mean)
    odds = [
        np.exp(backbone.logit_scale * (v @ directions["normal"] - v @ directions["anomalous"])) for v in (joint, whole)
    ]
    assert anomalous_probability(lake, image, patch) == pytest.approx([1 / (1 + value) for value in odds], rel=1e-3)
    assert anomalous_probability(lake, image).image == pytest.approx(result.patch_scores.image_probability, rel=1e-5)
    together = image_probabilities(lake, [*lake.normals_, image])
    assert together[-1] == pytest.approx(result.patch_scores.image_probability, rel=1e-5)
    assert together[0] == pytest.approx(anomalous_probability(lake, lake.normals_[0]).image, rel=1e-5)
    assert prompt_table(lake, image).equals(prompt_table(lake, image, result.patch))
    with pytest.raises(ValueError, match="not on the image"):
        prompt_table(lake, image, 10_000)


def test_a_text_map_is_the_cosine_and_its_place_among_the_normal_patches(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    backbone, hook_point = lake.backbone, lake.backbone.joint_hook_point
    assert hook_point is not None
    found = phrase_map(lake, noise_images[5], "  a  hole ")
    assert found.text == "a hole"
    text = backbone.encode_text(["a hole"])[0].double().numpy()
    grid = backbone.grid(hook_point)
    inside = grid.inside(backbone.placement(noise_images[5]))
    own = lake.store.get(noise_images[5], hook_point).double().numpy() @ text
    normal = np.concatenate([(lake.store.get(p, hook_point).double().numpy() @ text)[inside] for p in lake.normals_])
    m50, m99 = np.median(normal), np.quantile(normal, 0.99)
    expected = np.where(inside, own, np.nan).reshape(grid.rows, grid.cols)
    np.testing.assert_allclose(found.cosine, expected, atol=1e-5)
    assert found.relative is not None
    np.testing.assert_allclose(found.relative, (expected - m50) / (m99 - m50), rtol=2e-3, atol=2e-3)
    image = lake.store.get(noise_images[5], backbone.image_hook_point)[0].double().numpy()
    assert found.cos_image == pytest.approx(image @ text, abs=1e-5)
    with pytest.raises(ConfigError, match="empty"):
        phrase_map(lake, noise_images[5], " ")


def test_where_all_normal_patches_sound_alike_a_text_has_no_scale(
    tmp_path: Path, noise_images: list[InputImage]
) -> None:
    backbone = open_backbone(f"local-dir:{write_monotone(tmp_path / 'monotone')}", resize="letterbox")
    lake = Lake(backbone, LakeConfig(top_k=9)).fit(noise_images[:N_NORMALS])
    assert TextLeftOut("no contrast", backbone.spec) in lake.memory_bank_.warnings
    assert lake.explain(noise_images[5]).score != lake.explain(noise_images[6]).score
    found = phrase_map(lake, noise_images[5], "a hole")
    assert found.relative is None
    assert found.m50 == pytest.approx(found.m99, abs=1e-6)
    seen = found.cosine[np.isfinite(found.cosine)]
    assert 0 < len(seen) < found.cosine.size
    np.testing.assert_allclose(seen, found.m50, atol=1e-6)
    assert found.m50 != pytest.approx(phrase_map(lake, noise_images[5], "a scratch").m50, abs=1e-4)


def test_each_prompt_is_a_detector_fitted_with_it(lake: Lake, noise_images: list[InputImage]) -> None:
    words = {"fine / torn": (("fine {}",), ("torn {}",))}
    steps: list[tuple[int, int]] = []
    before = lake.explain(noise_images[5])
    found = prompt_sensitivity(lake, before, words, ("plate", "sheet"), lambda *step: steps.append(step))
    others = found.table[found.table["family"] != "without one prompt"]
    n, a, t = PROMPTS.normal_states, PROMPTS.anomalous_states, PROMPTS.templates
    expected = [
        (PROMPTS, "plate"),
        (PromptEnsemble(n[1:], a, t), "plate"),
        (PromptEnsemble(n[:1], a, t), "plate"),
        (PromptEnsemble(n, a[1:], t), "plate"),
        (PromptEnsemble(n, a[:1], t), "plate"),
        (PromptEnsemble(n, a, t[1:]), "plate"),
        (PromptEnsemble(n, a, t[:1]), "plate"),
        (PromptEnsemble(("fine {}",), ("torn {}",), t), "plate"),
        (PROMPTS, "sheet"),
    ]
    assert steps == [(i, 9) for i in range(1, 10)]
    assert len(others) == len(expected)
    for row, (prompts, name) in zip(others.itertuples(), expected, strict=True):
        config = LakeConfig(top_k=9, fusion_weight=0.6, prompts=prompts, object_name=name, top_q=2)
        fresh = Lake(lake.backbone, config, lake.store).fit(noise_images[:N_NORMALS]).explain(noise_images[5])
        assert (row.score, row.text, row.threshold) == (fresh.score, fresh.text, fresh.threshold)
        assert row.is_anomalous == fresh.is_anomalous
    assert others["what"].tolist()[1:] == [
        "normal: plate",
        "normal: good plate",
        "anomalous: bad plate",
        "anomalous: plate with a hole",
        *t,
        "fine / torn",
        "sheet",
    ]
    assert found.spread == (found.table["score"].min(), found.table["score"].max())
    assert found.by_family()["n"].tolist() == [8, 4, 2, 1, 1]
    assert found.by_family()["n_turned"].sum() == len(found.turned)
    sorts = found.table["family"].isin(["other state words", "other object name"])
    finding = found.finding
    assert isinstance(finding, PromptSensitivityFinding)
    assert (finding.score, finding.is_anomalous) == (before.score, before.is_anomalous)
    for one, rows in ((finding.reworded, found.table[sorts]), (finding.left_out, found.table[~sorts].iloc[1:])):
        turned = rows[rows["is_anomalous"] != before.is_anomalous]
        assert one is not None
        assert one.n == len(rows)
        assert one.turned == tuple(turned["family"] + ": " + turned["what"])
        assert (one.lowest, one.highest) == (rows["score"].min(), rows["score"].max())
    assert (finding.reworded.n, finding.left_out.n) == (2, 14)  # type: ignore[union-attr]


def one_less(prompts: PromptEnsemble, state: str, left_out: int) -> PromptEnsemble:
    """The ensemble without one prompt: every other one becomes a phrase of its own, in a template that adds nothing."""
    whole = {
        name: [
            template.replace("{}", phrase)
            for phrase in getattr(prompts, f"{name}_states")
            for template in prompts.templates
        ]
        for name in ("normal", "anomalous")
    }
    del whole[state][left_out]
    return PromptEnsemble(tuple(whole["normal"]), tuple(whole["anomalous"]), ("{}",))


def naive_without(lake: Lake, before: ImageResult, prompts: PromptEnsemble) -> tuple[float, float, float]:
    """Score, text part and threshold with other prompts, the text part in float64 from the texts on."""
    backbone, config, memory_bank = lake.backbone, lake.config, lake.memory_bank_
    hook_point = backbone.joint_hook_point
    assert hook_point is not None
    grid = backbone.grid(hook_point)

    def direction(texts: list[str]) -> np.ndarray:
        mean = np.mean([backbone.encode_text([text])[0].double().numpy() for text in texts], axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    difference = direction(prompts.anomalous_texts("plate")) - direction(prompts.normal_texts("plate"))

    def margin(image: InputImage) -> np.ndarray:
        return np.asarray(lake.store.get(image, hook_point).double().numpy() @ difference)

    known = np.concatenate([margin(p)[lies_inside(grid, backbone, p)] for p in lake.normals_])
    m50, m99 = np.median(known), np.quantile(known, config.calibration_quantile)

    def outcome(image: InputImage, visual: np.ndarray) -> tuple[float, float]:
        text_part, weight = np.zeros(len(visual)), 0.0
        if m99 - m50 > 1e-5:
            weight = config.fusion_weight
            text_part = np.maximum((margin(image) - m50) / (m99 - m50), 0)[under(memory_bank.grid, grid)]
        fused = (1 - weight) * visual.astype(np.float64) + weight * text_part
        on = np.flatnonzero(lies_inside(memory_bank.grid, backbone, image))
        top = on[np.argsort(-fused[on], kind="stable")][: config.top_q]
        return fused[top].mean(), text_part[top].mean()

    own = lake.normal_maps()[0].numpy()
    scores = [outcome(normal, visual)[0] for normal, visual in zip(lake.normals_, own, strict=True)]
    return *outcome(before.image, before.patch_scores.visual), float(np.quantile(scores, config.threshold_quantile))


LONELY = PromptEnsemble(("{} so",), ("{} so", "bad {}", "torn {}"), ("a {}",))
SILENCED = PromptEnsemble(("{} so",), ("{} so", "bad {}"), ("a {}",))


@pytest.mark.parametrize("prompts", [PROMPTS, LONELY, SILENCED], ids=["all", "lonely", "silenced"])
def test_each_prompt_left_out_is_a_detector_fitted_with_the_others(
    lake: Lake, noise_images: list[InputImage], prompts: PromptEnsemble
) -> None:
    """SILENCED without its last prompt has the same words for both states, so that the text part is left out."""
    image, asked = noise_images[5], lake.with_prompts(prompts)
    before = asked.explain(image)
    found = without_each_prompt(asked, before)
    texts = {"normal": prompts.normal_texts("plate"), "anomalous": prompts.anomalous_texts("plate")}
    left = [(state, i) for state, whole in texts.items() for i in range(len(whole)) if len(whole) > 1]
    assert [one.prompt for one in found] == [f"{state}: {texts[state][i]}" for state, i in left]
    for one, (state, i) in zip(found, left, strict=True):
        others = one_less(prompts, state, i)
        expected = naive_without(asked, before, others)
        assert (one.score, one.text, one.threshold) == pytest.approx(expected, rel=2e-4, abs=2e-5)
        fresh = lake.with_prompts(others).explain(image)
        assert one.score == pytest.approx(fresh.score, rel=1e-4)
        assert one.text == pytest.approx(fresh.text, rel=1e-4, abs=1e-5)
        assert one.threshold == pytest.approx(fresh.threshold, rel=1e-4)
        assert one.is_anomalous == fresh.is_anomalous
        assert (fresh.patch_scores.text is None) == (prompts == SILENCED and i == 1)
    assert len({one.score for one in found}) == len(found)


def test_a_prompt_that_turns_the_decision_is_named(lake: Lake, noise_images: list[InputImage]) -> None:
    """With a threshold of the user's own, by which the decision is another one than without the first prompt."""
    own = copy(lake)
    before = lake.explain(noise_images[5])
    one = without_each_prompt(lake, before)[0]
    own.threshold_ = before.score + (1 if one.is_anomalous else -1)
    found = prompt_sensitivity(own, own.explain(noise_images[5]))
    turned = found.turned[found.turned["family"] == "without one prompt"]
    assert turned["what"].iloc[0] == one.prompt
    n_turned = int((~found.turned["family"].isin(["other state words", "other object name"])).sum())
    assert f"left out, {n_turned} turn the decision (without one prompt: {one.prompt}; " in sentence(found.finding)


def test_without_weight_no_prompt_matters(lake: Lake, noise_images: list[InputImage]) -> None:
    own = lake.with_weights(fusion_weight=0.0)
    found = prompt_sensitivity(own, own.explain(noise_images[5]))
    assert found.spread[0] == found.spread[1]
    assert "no wording can change" in sentence(found.finding)


def test_a_head_without_patch_directions_is_said_in_one_sentence(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    lake = Lake(open_tiny("native-vit-attention-pool")).fit(noise_images[:N_NORMALS])
    image = noise_images[5]
    for work in (
        lambda: prompt_table(lake, image),
        lambda: phrase_map(lake, image, "a hole"),
        lambda: anomalous_probability(lake, image),
        lambda: prompt_sensitivity(lake, lake.explain(image)),
    ):
        with pytest.raises(LakeError, match="does not act on single patches"):
            work()
