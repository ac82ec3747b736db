"""What a fit or an experiment found, as numbers and names; `lake_core.sentences` turns it into English."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lake_core.types import Pool

# What a fit had to leave out -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerLeftOut:
    """A layer takes no part in the score, because its selected neurons do not vary over the normal images."""

    layer: int


@dataclass(frozen=True)
class LayerAblated:
    """A layer counts as ablated, because the neurons that are left do not vary over the normal images."""

    layer: int


@dataclass(frozen=True)
class TextLeftOut:
    """The text part takes no part in the score.

    Attributes:
        reason: "no patch directions" where the backbone's head does not act on single patches, "no contrast" where
            the calibration quantile of the text margin is no higher than the median over the normal patches.
        spec: The backbone.
    """

    reason: Literal["no patch directions", "no contrast"]
    spec: str


FitWarning: TypeAlias = LayerLeftOut | LayerAblated | TextLeftOut
"""What a detector had to leave out."""


# Selected against random neurons -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomControlFinding:
    """How well selected neurons tell good from defective test images, beside random selections of the same size.

    Attributes:
        difference: Image AUROC of the selection less the mean of the random ones.
        low, high: Its 95% bootstrap interval over test images.
        p_value: Two-sided permutation p-value of the selection among the random ones.
        is_high: Whether more random selections do as badly or worse than do as well or better.
    """

    n_draws: int
    difference: float
    low: float
    high: float
    p_value: float
    is_high: bool

    @property
    def verdict(self) -> Literal["better", "worse", "no difference"]:
        """A difference only if the p-value is below 0.05 and the interval excludes 0, both on the same side."""
        if self.p_value < 0.05 and self.low > 0 and self.is_high:
            return "better"
        return "worse" if self.p_value < 0.05 and self.high < 0 and not self.is_high else "no difference"


@dataclass(frozen=True)
class DrawsFinding:
    """How many random selections reach what the selected neurons do.

    Attributes:
        n_draws: Random selections.
        n_as_good: Those that separate as well or better.
        selected, mean: Separation of the selected neurons, and the mean of the random selections'.
        sizes: Number of neurons selected in each layer.
    """

    n_draws: int
    n_as_good: int
    selected: float
    mean: float
    sizes: tuple[int, ...]


# Ablation and patching -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AblationFinding:
    """What ablating neurons from the score does to one image."""

    n_neurons: int
    score_before: float
    score_after: float
    threshold_before: float
    threshold_after: float
    was_anomalous: bool
    is_anomalous: bool


@dataclass(frozen=True)
class Rank:
    """How many random draws changed something at least as much as the chosen neurons.

    Attributes:
        n_draws: Random draws that were made; 0 where there are not enough other neurons to draw from.
        n_at_least: Those whose change is at least as large in size, whatever its sign.
        mixed: Whether some draws hold chosen neurons beside others.
        is_nil: Whether the chosen neurons changed nothing, so that there is nothing to rank.
    """

    n_draws: int
    n_at_least: int
    mixed: bool = False
    is_nil: bool = False

    @property
    def p_value(self) -> float | None:
        """(1 + n_at_least) / (1 + n_draws), as in a permutation test; None without draws.

        With 20 draws it cannot be below 1 / 21. Neurons that were chosen for their size are no random choice to begin
        with: read it as a rank.
        """
        return (1 + self.n_at_least) / (1 + self.n_draws) if self.n_draws else None


Quantity = Literal["score", "AUROC", "image text margin", "layer output"]


@dataclass(frozen=True)
class RankFinding:
    """The rank of one quantity's change.

    Attributes:
        quantity: What changed; the text margin is the whole image's.
        rank: Among random draws.
        pool: What the draws were made from.
        n_layers: Number of layers that the chosen neurons, and so the draws, lie in.
        layer: Which layer's output, for "layer output".
    """

    quantity: Quantity
    rank: Rank
    pool: Pool
    n_layers: int
    layer: int | None = None


@dataclass(frozen=True)
class ControlFinding:
    """Ranks of several quantities among the same random draws, at least one."""

    ranks: tuple[RankFinding, ...]


# Changed images ------------------------------------------------------------------------------------------------------

Direction = Literal["deletion", "insertion"]
Replacement = Literal["normal", "blurred", "mean"]


@dataclass(frozen=True)
class DeletionFinding:
    """How a deletion or insertion curve compares with random orders.

    Attributes:
        n_better: Random orders that the map's order beats.
        area: Mean area between the random curves and the map's, in units of the score.
        image_score, replacement_score: At the two ends of the curve.
    """

    direction: Direction
    replacement: Replacement
    n_orders: int
    n_better: int
    area: float
    image_score: float
    replacement_score: float

    @property
    def is_replacement_anomalous(self) -> bool:
        """Whether the replacement scores no less than the image, so that the curve says little about the map."""
        return self.replacement_score >= self.image_score


@dataclass(frozen=True)
class FaithfulnessFinding:
    """How the curves of several images compare with random orders.

    Attributes:
        n_better: Images whose area is above 0.
        mean_area: In units of the score.
        n_anomalous_replacements: Images whose replacement scores no less than they do.
    """

    direction: Direction
    n_images: int
    n_better: int
    mean_area: float
    n_anomalous_replacements: int


@dataclass(frozen=True)
class OcclusionFinding:
    """What covering regions of an image does.

    Attributes:
        target: What was watched.
        rank: Of the region with the max-scoring patch by importance, from 1.
        importance: What the target loses when that region is covered.
        correlation: Rank correlation of importance and map over the regions, or None where fewer than three regions
            differ from the others in either.
    """

    target: Literal["score", "map"]
    n_regions: int
    rank: int
    importance: float
    correlation: float | None


@dataclass(frozen=True)
class PerturbationFinding:
    """How far a score moves under changes that should not matter.

    Attributes:
        n_changes: Changes that were tried.
        lowest, highest: Score over all of them and without any.
        turned: Those that turn the decision, as "family: what".
    """

    score: float
    is_anomalous: bool
    n_changes: int
    lowest: float
    highest: float
    turned: tuple[str, ...]


# Normal images and prompts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContaminationFinding:
    """What further images among the normal ones do.

    Attributes:
        n_added: Images added.
        n_changed: Selected neurons that were not selected before.
        auroc_before, auroc_after: Over the other test images; None without both labels.
        n_missed: Defective test images that were above the threshold before and no longer are.
    """

    n_added: int
    n_changed: int
    threshold_before: float
    threshold_after: float
    auroc_before: float | None
    auroc_after: float | None
    n_missed: int


@dataclass(frozen=True)
class SelectionOverlapFinding:
    """How much of the selection stays when a normal image is left out.

    Attributes:
        criterion: The ranking criterion.
        reads_images: Whether that criterion looks at the images at all.
        n_normals: Normal images.
        n_selected, n_always: Selected neurons, and those selected whichever normal image is left out.
        mean_jaccard: Mean overlap with the full selection when one is left out; None with a single normal image.
    """

    criterion: str
    reads_images: bool
    n_normals: int
    n_selected: int
    n_always: int
    mean_jaccard: float | None


Refits = Literal["leave one out", "bootstrap"]
"""Detectors fitted again: without each one of the normal images, or on bootstrap draws of them."""


@dataclass(frozen=True)
class RefitsFinding:
    """How the decisions on test images change when a detector is fitted on other normal images.

    Attributes:
        kind: Which refits.
        n_refits: Detectors that were fitted.
        n_failed: Further ones that could not be, since nothing varies in their normal images.
        n_with_change: Those of the fitted ones that change the decision on at least one test image.
        n_changed: Decisions that change, over all refits, each by its own threshold.
        n_changed_at_kept: The same by the threshold from all normal images.
        n_images_changed: Test images whose decision changes in at least one refit.
        auroc: Lowest and highest image AUROC over the refits; None without both labels.
        mean_jaccard: Mean overlap of their selections with that from all normal images; None if none was fitted.
    """

    kind: Refits
    n_refits: int
    n_failed: int
    n_with_change: int
    n_changed: int
    n_changed_at_kept: int
    n_images_changed: int
    auroc: tuple[float, float] | None
    mean_jaccard: float | None


@dataclass(frozen=True)
class OtherNormalsFinding:
    """What other normal images would have changed.

    Attributes:
        n_normals: Normal images.
        n_images: Test images.
        auroc: Image AUROC with all normal images; None without both labels.
        refits: For each kind of refits; empty with a single normal image.
    """

    n_normals: int
    n_images: int
    auroc: float | None
    refits: tuple[RefitsFinding, ...]


@dataclass(frozen=True)
class FormationFinding:
    """What the last normal images to arrive have changed in the selection of a layer.

    Attributes:
        criterion: The ranking criterion.
        reads_images: Whether that criterion looks at the images at all.
        layer: Layer number.
        n_normals: Normal images.
        n_before: Those that were there one step before; None with a single normal image.
        n_entered: Neurons that have entered the selection at the last step; as many have left.
        n_selected, n_neurons: Neurons selected, and neurons of the layer.
    """

    criterion: str
    reads_images: bool
    layer: int
    n_normals: int
    n_before: int | None
    n_entered: int
    n_selected: int
    n_neurons: int

    @property
    def n_by_chance(self) -> float:
        """Neurons that two random selections of this size share on average."""
        return self.n_selected**2 / self.n_neurons


@dataclass(frozen=True)
class Wordings:
    """An image's score in wordings of one sort, each with its own threshold.

    Attributes:
        n: How many there are, at least 1.
        turned: Those that turn the decision, as "family: what".
        lowest, highest: Score over them.
    """

    n: int
    turned: tuple[str, ...]
    lowest: float
    highest: float


@dataclass(frozen=True)
class PromptSensitivityFinding:
    """How far a score depends on the wording of the prompts.

    Attributes:
        fusion_weight: 0 where no wording can matter.
        score, is_anomalous: In the wording as it is.
        reworded: In other words for the same (other state words, other object names); None if none was tried.
        left_out: With a single prompt, phrase or template left out, which changes little of the wording; likewise.
    """

    fusion_weight: float
    score: float
    is_anomalous: bool
    reworded: Wordings | None
    left_out: Wordings | None


# Concept labels ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NonsenseFinding:
    """How many neurons get a concept label with real words, and with as many words that mean nothing.

    Attributes:
        n_neurons: Neurons that were tested.
        n_real, n_nonsense: Those that get a label with real and with nonsense words.
        n_real_only, n_nonsense_only: Those that get one with the one and not with the other.
        p_value: Of the exact one-sided McNemar test that real words label more; 1 where no neuron tells them apart.
        level: Share of neurons without meaning that may get a label.
    """

    n_neurons: int
    n_real: int
    n_nonsense: int
    n_real_only: int
    n_nonsense_only: int
    p_value: float
    level: float

    @property
    def can_tell(self) -> bool:
        """Whether there are neurons enough: with fewer than five no p-value of the test is below 0.05."""
        return self.n_neurons >= 5

    @property
    def n_by_chance(self) -> float:
        """Labels to expect if no neuron had a meaning, at most."""
        return self.level * self.n_neurons

    @property
    def real_words_win(self) -> bool:
        """Whether real words label more neurons than nonsense does, at p < 0.05."""
        return self.p_value < 0.05
