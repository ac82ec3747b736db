"""Findings in English: every finding has a sentence, and it claims what the numbers say and no more."""

import typing
from dataclasses import is_dataclass, replace

import pytest

from lake_core import findings
from lake_core.findings.fits import LayerAblated, LayerLeftOut, TextLeftOut
from lake_core.findings.images import DeletionFinding, FaithfulnessFinding, OcclusionFinding, PerturbationFinding
from lake_core.findings.labels import NonsenseFinding
from lake_core.findings.neurons import AblationFinding, ControlFinding, RandomControlFinding, Rank, RankFinding
from lake_core.findings.normals import (
    ContaminationFinding,
    FormationFinding,
    OtherNormalsFinding,
    PromptSensitivityFinding,
    RefitsFinding,
    SelectionOverlapFinding,
    Wordings,
)
from lake_core.sentences import sentence

ABLATION = AblationFinding(2, 1.5, 0.9, 1.1, 1.2, was_anomalous=True, is_anomalous=False)
RANK = RankFinding("score", Rank(20, 2), "selected", n_layers=1)
DELETION = DeletionFinding("deletion", "blurred", 5, 4, 0.25, image_score=2.0, replacement_score=1.0)
OCCLUSION = OcclusionFinding("score", 36, rank=1, importance=0.5, correlation=0.25)
PERTURBED = PerturbationFinding(1.5, True, 4, 0.75, 2.0, ())
CONTAMINATION = ContaminationFinding(1, 3, 1.0, 1.5, 0.9, 0.8, 1)
OVERLAP = SelectionOverlapFinding("variance", True, 8, 100, 70, 0.75)
LEFT_OUT = RefitsFinding("leave one out", 4, 0, 3, 5, 7, 2, (0.875, 1.0), 0.75)
DRAWN = RefitsFinding("bootstrap", 20, 0, 0, 0, 0, 0, (0.9, 0.95), 0.5)
OTHERS = OtherNormalsFinding(4, 20, 0.96, (LEFT_OUT, DRAWN))
NONSENSE = NonsenseFinding(100, 12, 11, 6, 5, 0.5, 0.05)
FORMATION = FormationFinding("variance", True, 15, 8, 7, 3, 100, 720)
PROMPTS = PromptSensitivityFinding(0.3, 1.5, True, Wordings(11, (), 0.75, 2.0), Wordings(111, (), 1.25, 1.75))


def test_every_finding_has_a_sentence() -> None:
    parts = {Rank, Wordings, RefitsFinding}
    kinds = {kind for kind in vars(findings).values() if is_dataclass(kind)} - parts
    assert kinds <= set(typing.cast(typing.Any, sentence).registry)


def test_what_is_no_finding_has_no_sentence() -> None:
    with pytest.raises(TypeError, match="str is no finding"):
        sentence("Layer 3 is left out")


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            RandomControlFinding(99, 0.08, 0.02, 0.14, 0.02, True),
            "On these images the selection does better than random neurons: the selection's image AUROC less the mean "
            "of 99 random selections is +0.080 (95% interval over test images +0.020 to +0.140; permutation p = 0.02, "
            "two-sided).",
        ),
        (
            RandomControlFinding(99, -0.08, -0.14, -0.02, 0.04, False),
            "On these images random neurons do better than the selection: the selection's image AUROC less the mean of "
            "99 random selections is -0.080 (95% interval over test images -0.140 to -0.020; permutation p = 0.04, "
            "two-sided).",
        ),
        (
            RandomControlFinding(99, 0.01, -0.03, 0.05, 0.6, True),
            "These images show no reliable difference between selected and random neurons: the selection's image AUROC "
            "less the mean of 99 random selections is +0.010 (95% interval over test images -0.030 to +0.050; "
            "permutation p = 0.60, two-sided).",
        ),
        (
            RandomControlFinding(99, -0.08, -0.14, -0.02, 0.2, False),
            "On these images, on average, random neurons do better than the selection, which may be an ordinary one "
            "among them: the selection's image AUROC less the mean of 99 random selections is -0.080 (95% interval "
            "over test images -0.140 to -0.020; permutation p = 0.20, two-sided).",
        ),
        (
            RandomControlFinding(99, 0.08, 0.02, 0.14, 0.1, True),
            "On these images, on average, random neurons do worse than the selection, which may be an ordinary one "
            "among them: the selection's image AUROC less the mean of 99 random selections is +0.080 (95% interval "
            "over test images +0.020 to +0.140; permutation p = 0.10, two-sided).",
        ),
        (
            RandomControlFinding(99, 0.08, -0.02, 0.14, 0.02, True),
            "These images show no reliable difference between selected and random neurons: the selection's image AUROC "
            "less the mean of 99 random selections is +0.080 (95% interval over test images -0.020 to +0.140; "
            "permutation p = 0.02, two-sided).",
        ),
        (LayerLeftOut(3), "Layer 3 is left out: its neurons do not vary over the normal images."),
        (
            LayerAblated(2),
            "The remaining neurons of layer 2 do not vary over the normal images; the whole layer counts as ablated.",
        ),
        (
            TextLeftOut("no patch directions", "native-vit"),
            "The text part is left out: the head of native-vit cannot be applied to single patches.",
        ),
        (
            TextLeftOut("no contrast", "native-vit"),
            "The text part is left out: the calibration quantile of its margin is no higher than the median over the "
            "normal patches.",
        ),
        (
            ABLATION,
            "Without 2 neurons the score goes from 1.50 to 0.90 and is no longer above the threshold "
            "(1.10, then 1.20).",
        ),
        (
            replace(ABLATION, n_neurons=1, is_anomalous=True, threshold_after=1.1),
            "Without 1 neuron the score goes from 1.50 to 0.90 and stays above the threshold (1.10).",
        ),
        (
            RANK,
            "Of 20 random draws of as many selected neurons of the same layer, 2 changed the score at least as much.",
        ),
        (
            replace(RANK, rank=Rank(1, 0, mixed=True), pool="layer", n_layers=2, quantity="AUROC"),
            "Of one random draw of as many neurons of the same layers (some include chosen neurons: too few others are "
            "left), none changed the AUROC at least as much.",
        ),
        (
            replace(RANK, rank=Rank(0, 0)),
            "There are too few other selected neurons of the same layer for a random draw of as many; choose fewer to "
            "compare.",
        ),
        (
            replace(RANK, rank=Rank(20, 20, is_nil=True), quantity="layer output", layer=12),
            "The chosen neurons have not changed the output of layer 12, so there is nothing to compare.",
        ),
        (
            DELETION,
            "In the order of the map the score falls sooner than in 4 of 5 random orders (area between +0.25).",
        ),
        (
            FaithfulnessFinding("insertion", 3, 2, -0.1, 1),
            "In the order of the map the score rises sooner than at random on 2 of 3 images (mean area -0.10). On 1 "
            "the replacement scores no less than the image.",
        ),
        (
            OCCLUSION,
            "Covering the region of the max-scoring patch lowers the score more than covering any other; map and "
            "occlusion have a rank correlation of 0.25 over 36 regions.",
        ),
        (
            replace(OCCLUSION, target="map", rank=4, correlation=None),
            "Covering the region of the max-scoring patch is number 4 of 36 regions in lowering the map; too few of 36 "
            "regions differ in map and occlusion to correlate their ranks.",
        ),
        (
            PERTURBED,
            "The score is 1.5, above its threshold, and between 0.75 and 2 over 4 changes; the decision never turns.",
        ),
        (
            CONTAMINATION,
            "With one more image among the normal ones, 3 selected neurons are new and the threshold goes from 1.00 to "
            "1.50; the AUROC over the other test images goes from 0.900 to 0.800, and 1 of the defective images found "
            "before falls below the threshold now.",
        ),
        (
            replace(CONTAMINATION, n_added=2, n_changed=0, threshold_after=1.0, auroc_after=None),
            "With 2 more images among the normal ones, no selected neuron is new and the threshold stays 1.00.",
        ),
        (
            OVERLAP,
            "70 of the 100 selected neurons are selected in all 8 fits without one of the normal images; the mean "
            "overlap with the selection from all (Jaccard) is 0.75.",
        ),
        (
            replace(OVERLAP, mean_jaccard=None),
            "One normal image cannot tell whether another would change the selection; add a second one.",
        ),
        (
            replace(OVERLAP, criterion="random", reads_images=False),
            "The criterion 'random' does not look at the images: another one changes no neuron.",
        ),
        (
            OTHERS,
            "In 3 of 4 refits without one normal image, decisions change: 5 of 80 (6%), on 2 of 20 test images; at the "
            "threshold from all normal images, 7. In none of 20 refits on bootstrap draws of the normal images does a "
            "decision on the 20 test images change; at the threshold from all normal images, none. The image AUROC is "
            "0.960 with all normal images, 0.875 to 1.000 without one normal image, 0.900 to 0.950 on bootstrap draws "
            "of the normal images.",
        ),
        (
            replace(OTHERS, auroc=None, refits=(replace(LEFT_OUT, auroc=None, n_refits=3, n_failed=1),)),
            "In 3 of 3 refits without one normal image, decisions change: 5 of 60 (8%), on 2 of 20 test images; at the "
            "threshold from all normal images, 7. 1 more learned nothing: nothing varies in what it was given.",
        ),
        (
            replace(OTHERS, auroc=None, refits=(RefitsFinding("leave one out", 0, 2, 0, 0, 0, 0, None, None),)),
            "No refit without one normal image learned anything: nothing varies in what they were given.",
        ),
        (
            replace(OTHERS, n_normals=1, refits=()),
            "One normal image cannot tell what others would have changed; add a second one.",
        ),
        (
            NONSENSE,
            "Of 100 neurons, 12 get a label with real words and 11 with as many nonsense words; up to 5 are expected "
            "by chance (level 5%). Real words are not shown to do better than nonsense (exact one-sided McNemar test, "
            "p = 0.5): take no label for a meaning.",
        ),
        (
            replace(NONSENSE, n_neurons=50, n_real=1, n_nonsense=0, p_value=0.03125),
            "Of 50 neurons, 1 gets a label with real words and none with as many nonsense words; up to 2.5 are "
            "expected by chance (level 5%). Real words give a label more often than nonsense (exact one-sided McNemar "
            "test, p = 0.031).",
        ),
        (
            FORMATION,
            "The last of 8 normal images replaced 3 of the 100 selected neurons of layer 15. Two random selections of "
            "this size would share 14 on average.",
        ),
        (
            replace(FORMATION, n_before=6, n_entered=0),
            "The last 2 normal images replaced none of the 100 selected neurons of layer 15. Two random selections of "
            "this size would share 14 on average.",
        ),
        (
            replace(FORMATION, n_normals=1, n_before=None),
            "One normal image selects 100 of 720 neurons; add a second to compare.",
        ),
        (
            PROMPTS,
            "Of 11 rewordings (other state words, other object names), none turns the decision; of 111 wordings with "
            "one prompt, phrase or template left out, none turns the decision. The score is 1.500, above its "
            "threshold; reworded between 0.750 and 2.000, with one left out between 1.250 and 1.750.",
        ),
        (replace(PROMPTS, reworded=None, left_out=None), "There is no other wording to try."),
        (replace(PROMPTS, fusion_weight=0.0), "The fusion weight is 0, so no wording can change the score."),
    ],
)
def test_a_finding_reads(finding: object, expected: str) -> None:
    assert sentence(finding) == expected


def test_an_anomalous_replacement_is_named_as_such() -> None:
    assert "blurred replacement itself scores 2.00, no less than the image's 2.00" in sentence(
        replace(DELETION, replacement_score=2.0)
    )


def test_covering_that_does_not_help_is_named_as_such() -> None:
    assert sentence(replace(OCCLUSION, importance=-0.25, rank=9)).startswith(
        "Covering the region of the max-scoring patch does not lower the score (+0.25): what is put there"
    )


def test_without_draws_one_sentence_is_enough() -> None:
    none = replace(RANK, rank=Rank(0, 0))
    assert sentence(ControlFinding((none, replace(none, quantity="AUROC")))) == sentence(none)
    both = ControlFinding((RANK, replace(RANK, quantity="AUROC")))
    assert sentence(both) == f"{sentence(RANK)} {sentence(both.ranks[1])}"


def test_only_the_first_turned_decisions_are_named() -> None:
    found = replace(PERTURBED, turned=("shift: 1 px up", "rotation: +5°", "a: b", "c: d", "e: f"))
    assert sentence(found).endswith(
        "the decision turns in 5 of them (shift: 1 px up; rotation: +5°; a: b; and 2 more)."
    )


def test_rewordings_are_counted_apart_from_what_is_left_out() -> None:
    left_out = Wordings(111, ("without one prompt: a bad plate",), 1.25, 1.75)
    assert sentence(replace(PROMPTS, left_out=left_out)) == (
        "Of 11 rewordings (other state words, other object names), none turns the decision; of 111 wordings with one "
        "prompt, phrase or template left out, 1 turns the decision (without one prompt: a bad plate). The score is "
        "1.500, above its threshold; reworded between 0.750 and 2.000, with one left out between 1.250 and 1.750."
    )
    turned = Wordings(11, ("other object name: part", "other state words: good / bad"), 0.5, 2.0)
    assert sentence(replace(PROMPTS, reworded=turned, left_out=None)).startswith(
        "Of 11 rewordings (other state words, other object names), 2 turn the decision (other object name: part; other "
        "state words: good / bad). "
    )
    assert sentence(replace(PROMPTS, reworded=None)).startswith("Of 111 wordings with one prompt, phrase or template")
