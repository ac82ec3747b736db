"""What other normal images and other prompts do, as numbers and names."""

from dataclasses import dataclass
from typing import Literal


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
