"""Findings in English: the one place that words them, for the screen, the command line and notebooks alike."""

from collections.abc import Sequence
from functools import singledispatch

from lake_core.findings.fits import LayerAblated, LayerLeftOut, TextLeftOut
from lake_core.findings.images import DeletionFinding, FaithfulnessFinding, OcclusionFinding, PerturbationFinding
from lake_core.findings.labels import NonsenseFinding
from lake_core.findings.neurons import AblationFinding, ControlFinding, DrawsFinding, RandomControlFinding, RankFinding
from lake_core.findings.normals import (
    ContaminationFinding,
    FormationFinding,
    OtherNormalsFinding,
    PromptSensitivityFinding,
    RefitsFinding,
    SelectionOverlapFinding,
)


def quantity(n: int, noun: str) -> str:
    """A number and what it counts: "1 image", "2 images"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@singledispatch
def sentence(finding: object) -> str:
    """A finding in one or a few English sentences.

    Raises:
        TypeError: if it is not a finding of `lake_core.findings`.
    """
    raise TypeError(f"{type(finding).__name__} is no finding")


# What a fit had to leave out -----------------------------------------------------------------------------------------


@sentence.register
def _(finding: LayerLeftOut) -> str:
    return f"Layer {finding.layer} is left out: its neurons do not vary over the normal images."


@sentence.register
def _(finding: LayerAblated) -> str:
    return (
        f"The remaining neurons of layer {finding.layer} do not vary over the normal images; "
        "the whole layer counts as ablated."
    )


@sentence.register
def _(finding: TextLeftOut) -> str:
    reasons = {
        "no patch directions": f"the head of {finding.spec} cannot be applied to single patches",
        "no contrast": "the calibration quantile of its margin is no higher than the median over the normal patches",
    }
    return f"The text part is left out: {reasons[finding.reason]}."


# Ablation and patching -----------------------------------------------------------------------------------------------


@sentence.register
def _(finding: RandomControlFinding) -> str:
    on_average, ordinary = "On these images, on average, random neurons do", "which may be an ordinary one among them"
    says = {
        ("better", "better"): "On these images the selection does better than random neurons",
        ("worse", "worse"): "On these images random neurons do better than the selection",
        ("no difference", "better"): f"{on_average} worse than the selection, {ordinary}",
        ("no difference", "worse"): f"{on_average} better than the selection, {ordinary}",
        ("no difference", "no difference"): (
            "These images show no reliable difference between selected and random neurons"
        ),
    }[finding.verdict, finding.on_average]
    return (
        f"{says}: the selection's image AUROC less the mean of {finding.n_draws} random selections is "
        f"{finding.difference:+.3f} (95% interval over test images {finding.low:+.3f} to {finding.high:+.3f}; "
        f"permutation p = {finding.p_value:.2f}, two-sided)."
    )


@sentence.register
def _(finding: DrawsFinding) -> str:
    sizes = " and ".join(quantity(size, "neuron") for size in finding.sizes)
    return (
        f"{finding.n_as_good} of {finding.n_draws} random draws of the same size ({sizes}) do as well as the selection "
        f"or better; the selection reaches {finding.selected:.3f}, the draws {finding.mean:.3f} on average."
    )


def control_caveat(has_labels: bool) -> str:
    """What the random control does not say.

    Args:
        has_labels: Whether it compares image AUROCs, which takes labels of both classes.
    """
    if not has_labels:
        return (
            "Without good and defective labels this does not say which is better: a larger gap can also mean that good "
            "test images look unusual."
        )
    return (
        "A difference counts as reliable only where p is below 0.05, so that the selection is rare among random ones, "
        "and where the interval excludes 0, so that it does not hang on a few of the test images. With other normal "
        "images it may be otherwise."
    )


@sentence.register
def _(finding: AblationFinding) -> str:
    decision = {
        (True, True): "stays above the threshold",
        (True, False): "is no longer above the threshold",
        (False, True): "is now above the threshold",
        (False, False): "is not above the threshold, as before",
    }[finding.was_anomalous, finding.is_anomalous]
    thresholds = dict.fromkeys(f"{one:.2f}" for one in (finding.threshold_before, finding.threshold_after))
    return (
        f"Without {quantity(finding.n_neurons, 'neuron')} the score goes from {finding.score_before:.2f} to "
        f"{finding.score_after:.2f} and {decision} ({', then '.join(thresholds)})."
    )


@sentence.register
def _(finding: RankFinding) -> str:
    rank = finding.rank
    drawn = "selected neurons" if finding.pool == "selected" else "neurons"
    drawn += " of the same layer" if finding.n_layers == 1 else " of the same layers"
    if not rank.n_draws:
        return f"There are too few other {drawn} for a random draw of as many; choose fewer to compare."
    changed = {
        "score": "changed the score",
        "AUROC": "changed the AUROC",
        "image text margin": "changed the whole image's text margin",
        "layer output": f"changed the output of layer {finding.layer}",
    }[finding.quantity]
    if rank.is_nil:
        return f"The chosen neurons have not {changed}, so there is nothing to compare."
    draws = "one random draw" if rank.n_draws == 1 else f"{rank.n_draws} random draws"
    among = " (some include chosen neurons: too few others are left)" if rank.mixed else ""
    return f"Of {draws} of as many {drawn}{among}, {rank.n_at_least or 'none'} {changed} at least as much."


@sentence.register
def _(finding: ControlFinding) -> str:
    there_are_draws = bool(finding.ranks[0].rank.n_draws)
    return " ".join(map(sentence, finding.ranks if there_are_draws else finding.ranks[:1]))


# Changed images ------------------------------------------------------------------------------------------------------


@sentence.register
def _(finding: DeletionFinding) -> str:
    moves = "falls" if finding.direction == "deletion" else "rises"
    compared = (
        f"In the order of the map the score {moves} sooner than in {finding.n_better} of {finding.n_orders} random "
        f"orders (area between {finding.area:+.2f})."
    )
    if not finding.is_replacement_anomalous:
        return compared
    return (
        f"{compared} The {finding.replacement} replacement itself scores {finding.replacement_score:.2f}, no less than "
        f"the image's {finding.image_score:.2f}: it counts as a defect of its own, and this curve says little about "
        "the map."
    )


@sentence.register
def _(finding: FaithfulnessFinding) -> str:
    moves = "falls" if finding.direction == "deletion" else "rises"
    compared = (
        f"In the order of the map the score {moves} sooner than at random on {finding.n_better} of "
        f"{quantity(finding.n_images, 'image')} (mean area {finding.mean_area:+.2f})."
    )
    if not finding.n_anomalous_replacements:
        return compared
    return f"{compared} On {finding.n_anomalous_replacements} the replacement scores no less than the image."


@sentence.register
def _(finding: OcclusionFinding) -> str:
    covering, target = "Covering the region of the max-scoring patch", f"the {finding.target}"
    if finding.importance <= 0:
        effect = (
            f"{covering} does not lower {target} ({0 - finding.importance:+.2f}): what is put there, or its seam, is "
            "no less unusual"
        )
    elif finding.rank > 1:
        effect = f"{covering} is number {finding.rank} of {finding.n_regions} regions in lowering {target}"
    else:
        effect = f"{covering} lowers {target} more than covering any other"
    regions = quantity(finding.n_regions, "region")
    if finding.correlation is None:
        return f"{effect}; too few of {regions} differ in map and occlusion to correlate their ranks."
    return f"{effect}; map and occlusion have a rank correlation of {finding.correlation:.2f} over {regions}."


@sentence.register
def _(finding: PerturbationFinding) -> str:
    spread = (
        f"The score is {finding.score:.3g}, {_side(finding.is_anomalous)}, and between {finding.lowest:.3g} and "
        f"{finding.highest:.3g} over {quantity(finding.n_changes, 'change')}"
    )
    if not finding.turned:
        return f"{spread}; the decision never turns."
    return f"{spread}; the decision turns in {len(finding.turned)} of them ({_some(finding.turned)})."


# Normal images and prompts -------------------------------------------------------------------------------------------


@sentence.register
def _(finding: ContaminationFinding) -> str:
    images = "one more image" if finding.n_added == 1 else f"{finding.n_added} more images"
    neurons = "no selected neuron" if not finding.n_changed else quantity(finding.n_changed, "selected neuron")
    changed = f"{neurons} {'is' if finding.n_changed < 2 else 'are'} new"
    threshold = f"goes from {finding.threshold_before:.2f} to {finding.threshold_after:.2f}"
    if finding.threshold_after == finding.threshold_before:
        threshold = f"stays {finding.threshold_before:.2f}"
    outcome = f"With {images} among the normal ones, {changed} and the threshold {threshold}"
    if finding.auroc_before is None or finding.auroc_after is None:
        return f"{outcome}."
    return (
        f"{outcome}; the AUROC over the other test images goes from {finding.auroc_before:.3f} to "
        f"{finding.auroc_after:.3f}, and {finding.n_missed or 'none'} of the defective images found before "
        f"{'falls' if finding.n_missed == 1 else 'fall'} below the threshold now."
    )


@sentence.register
def _(finding: SelectionOverlapFinding) -> str:
    if not finding.reads_images:
        return f"The criterion {finding.criterion!r} does not look at the images: another one changes no neuron."
    if finding.mean_jaccard is None:
        return "One normal image cannot tell whether another would change the selection; add a second one."
    return (
        f"{finding.n_always} of the {finding.n_selected} selected neurons are selected in all {finding.n_normals} fits "
        f"without one of the normal images; the mean overlap with the selection from all (Jaccard) is "
        f"{finding.mean_jaccard:.2f}."
    )


@sentence.register
def _(finding: OtherNormalsFinding) -> str:
    if not finding.refits:
        return "One normal image cannot tell what others would have changed; add a second one."
    said = [_refits(one, finding) for one in finding.refits]
    if finding.auroc is not None:
        ranges = [
            f"{one.auroc[0]:.3f} to {one.auroc[1]:.3f} {_REFITS[one.kind]}" for one in finding.refits if one.auroc
        ]
        said.append(f"The image AUROC is {', '.join([f'{finding.auroc:.3f} with all normal images', *ranges])}.")
    return " ".join(said)


_REFITS = {"leave one out": "without one normal image", "bootstrap": "on bootstrap draws of the normal images"}


def _refits(one: RefitsFinding, all_of: OtherNormalsFinding) -> str:
    refits = f"{quantity(one.n_refits, 'refit')} {_REFITS[one.kind]}"
    if not one.n_refits:
        return f"No refit {_REFITS[one.kind]} learned anything: nothing varies in what they were given."
    images, n_decisions = quantity(all_of.n_images, "test image"), one.n_refits * all_of.n_images
    if one.n_changed:
        outcome = f"In {one.n_with_change} of {refits}, decisions change: {one.n_changed} of {n_decisions} "
        outcome += f"({one.n_changed / n_decisions:.0%}), on {one.n_images_changed} of {images}"
    else:
        outcome = f"In none of {refits} does a decision on the {images} change"
    outcome += f"; at the threshold from all normal images, {one.n_changed_at_kept or 'none'}."
    if one.n_failed:
        given = "what it was given" if one.n_failed == 1 else "what they were given"
        outcome += f" {one.n_failed} more learned nothing: nothing varies in {given}."
    return outcome


@sentence.register
def _(finding: FormationFinding) -> str:
    if not finding.reads_images:
        return f"The criterion {finding.criterion!r} does not look at the images: none of them changes the selection."
    where = f"of the {finding.n_selected} selected neurons of layer {finding.layer}"
    if finding.n_before is None:
        return f"One normal image selects {finding.n_selected} of {finding.n_neurons} neurons; add a second to compare."
    n_new = finding.n_normals - finding.n_before
    arrived = f"The last of {finding.n_normals} normal images" if n_new == 1 else f"The last {n_new} normal images"
    return (
        f"{arrived} replaced {finding.n_entered or 'none'} {where}. Two random selections of this size would share "
        f"{finding.n_by_chance:.0f} on average."
    )


@sentence.register
def _(finding: PromptSensitivityFinding) -> str:
    if finding.fusion_weight == 0:
        return "The fusion weight is 0, so no wording can change the score."
    sorts = (
        (finding.reworded, "rewording", " (other state words, other object names)", "reworded"),
        (finding.left_out, "wording", " with one prompt, phrase or template left out", "with one left out"),
    )
    tried = [(one, noun, which, where) for one, noun, which, where in sorts if one is not None]
    if not tried:
        return "There is no other wording to try."
    outcomes = [f"of {quantity(one.n, noun)}{which}, {_turning(one.turned)}" for one, noun, which, _ in tried]
    spreads = [f"{where} between {one.lowest:.3f} and {one.highest:.3f}" for one, _, _, where in tried]
    outcome = "; ".join(outcomes)
    return (
        f"{outcome[0].upper()}{outcome[1:]}. The score is {finding.score:.3f}, {_side(finding.is_anomalous)}; "
        f"{', '.join(spreads)}."
    )


def _turning(turned: Sequence[str]) -> str:
    """How many wordings turn the decision, and the first of them."""
    if not turned:
        return "none turns the decision"
    return f"{len(turned)} {'turns' if len(turned) == 1 else 'turn'} the decision ({_some(turned)})"


@sentence.register
def _(finding: NonsenseFinding) -> str:
    get = "gets" if finding.n_real == 1 else "get"
    counted = (
        f"Of {quantity(finding.n_neurons, 'neuron')}, {finding.n_real or 'none'} {get} a label with real words and "
        f"{finding.n_nonsense or 'none'} with as many nonsense words; up to {finding.n_by_chance:.3g} are expected by "
        f"chance (level {finding.level:.0%})."
    )
    test = f"(exact one-sided McNemar test, p = {finding.p_value:.2g})"
    if not finding.can_tell:
        return f"{counted} These are too few neurons to tell real words from nonsense."
    if finding.real_words_win:
        return f"{counted} Real words give a label more often than nonsense {test}."
    return f"{counted} Real words are not shown to do better than nonsense {test}: take no label for a meaning."


_MOST = 3


def _side(is_anomalous: bool) -> str:
    return "above its threshold" if is_anomalous else "not above its threshold"


def _some(turning: Sequence[str]) -> str:
    """The first few changes that turn the decision."""
    n_more = len(turning) - _MOST
    return "; ".join(turning[:_MOST]) + (f"; and {n_more} more" if n_more > 0 else "")
