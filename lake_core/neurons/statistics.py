"""Statistics of single neurons: flags, quantiles, AUROC, top-activating patches, and a table of them.

All but `neuron_table` are functions of arrays: `acts_ipn` (n_images, n_patches, n_neurons) and `inside_ip` (n_images,
n_patches) bool, the patches that lie on the images; at least one of each image does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lake_core.data.datasets import Example
from lake_core.data.images import ImageSource, InputImage, read_image
from lake_core.detector.reselection import would_select
from lake_core.detector.selection import Selection
from lake_core.neurons.concepts import ConceptLabels
from lake_core.neurons.labels import label_concepts
from lake_core.types import Label, Progress, Site
from lake_core.visualization.microscope.view import NeuronNote

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake

Tested: TypeAlias = Example | ImageSource
"""An image besides the normal ones; an Example may bring its label."""

COLUMNS = ("neuron", "rank", "sensitivity", "selected", "mean", "std", "flags", "concepts", "auroc")
"""Of `neuron_table`."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_STILL = 1e-6
_MOST_PEAKS = 3


@dataclass(frozen=True, eq=False)
class Flags:
    """What is odd about the neurons of a layer, each (n_neurons,) bool.

    Attributes:
        register_like: An outlying maximum sits on the same few patches of all normal images; only in a ViT.
        dead: Never varies over the normal patches.
        saturated: A large share of the normal patches is at the neuron's greatest value, such as the ceiling of ReLU6.
    """

    register_like: np.ndarray = field(repr=False)
    dead: np.ndarray = field(repr=False)
    saturated: np.ndarray = field(repr=False)

    def of(self, neuron: int) -> tuple[str, ...]:
        """The names of a neuron's flags."""
        named = {"register_like": self.register_like, "dead": self.dead, "saturated": self.saturated}
        return tuple(name for name, values in named.items() if values[neuron])


class ExtremePatch(NamedTuple):
    """A patch with an extreme activation of a neuron: image (row of the array), patch and activation."""

    image: int
    patch: int
    value: float


def peaks(acts_ipn: np.ndarray, inside_ip: np.ndarray) -> np.ndarray:
    """(n_images, n_neurons): the greatest activation of each neuron on each image."""
    return np.asarray(_on_image(acts_ipn, inside_ip).max(1))


def flags(
    acts_ipn: np.ndarray,
    inside_ip: np.ndarray,
    has_tokens: bool,
    saturated_share: float = 0.2,
    outlying: float = 4.0,
) -> Flags:
    """Flags of neurons over the normal images.

    A neuron counts as register-like (arXiv 2506.08010) if its maxima on n normal images sit on at most min(3, n // 2)
    different patches (never with a single image), and each of them lies at least `outlying` times as far above the
    neuron's median as its 0.95 quantile does. Where more patches than that share the maximum of an image, its
    position is unknown and the neuron is not register-like. Registers are tokens in which a ViT keeps something else
    than their place in the image: a convolutional tower has no tokens, and none of its neurons is register-like. A flag
    is a hint: a neuron that follows a small bright part in images taken from one stand looks the same.

    Args:
        acts_ipn, inside_ip: Of the normal images.
        has_tokens: Whether patches are tokens that attend to each other (`Adapter.has_tokens`).
        saturated_share: Share of patches at the greatest value from which a neuron that varies counts as saturated.
        outlying: 4 was set by looking at the built-in samples, where images are aligned and a rule by place alone
            flags up to a third of a layer.
    """
    on_image = _on_image(acts_ipn, inside_ip)
    values_pn = acts_ipn[inside_ip]
    low, high = values_pn.min(0), values_pn.max(0)
    tolerance = _STILL * np.maximum(1, np.abs(high))
    dead = high - low <= tolerance
    saturated = ~dead & ((values_pn >= high - tolerance).mean(0) >= saturated_share)
    few = min(_MOST_PEAKS, len(acts_ipn) // 2)
    at_peak_ipn = on_image >= (on_image.max(1, keepdims=True) - tolerance)
    n_places = at_peak_ipn.any(0).sum(0)
    median, usually_below = np.quantile(values_pn, [0.5, 0.95], axis=0)
    is_outlying = on_image.max(1).min(0) - median >= outlying * (usually_below - median)
    return Flags(has_tokens & (n_places <= few) & is_outlying & ~dead, dead, saturated)


def neuron_aurocs(peaks_in: np.ndarray, labels: ArrayLike) -> np.ndarray:
    """How well each neuron by itself tells defective images from good ones, by its greatest activation on each.

    Args:
        peaks_in: (n_images, n_neurons) from `peaks`.
        labels: (n_images,) bool, True where defective.
    Returns:
        (n_neurons,) float64 in [0, 1], ties counted half; below 0.5 where a neuron is less active on defective images;
        NaN where there is one class only. Of hundreds of neurons the best looks good by chance: do not select by it.
    """
    truth = np.asarray(labels, dtype=bool)
    n_defective, n_good = int(truth.sum()), int((~truth).sum())
    if not n_defective or not n_good:
        return np.full(peaks_in.shape[1], np.nan)
    good, defective = np.sort(peaks_in[~truth], axis=0), peaks_in[truth]
    # Good images below each defective one, and those that are not above it: their mean counts ties half.
    n_below, n_up_to = (
        np.array([np.searchsorted(below, peak, side).sum() for below, peak in zip(good.T, defective.T, strict=True)])
        for side in ("left", "right")
    )
    return np.asarray((n_below + n_up_to) / (2 * n_defective * n_good))


def auroc_notes(
    lake: "Lake", images: Sequence[InputImage], labels: Sequence[bool | None]
) -> dict[tuple[int, int], NeuronNote]:
    """The AUROC of each selected neuron alone, as the microscope shows it.

    Args:
        lake: A fitted detector.
        images: Test images; the activations of the labelled ones are computed where the store lacks them.
        labels: One per image: True where defective, False where good, None without a label.
    Returns:
        (layer, neuron) -> what is known of it; empty without labels of both classes.
    """
    notes: dict[tuple[int, int], NeuronNote] = {}
    if not {True, False} <= set(labels):
        return notes
    for layer, selection in lake.selection_.items():
        aurocs = _aurocs_in(lake, layer, images, labels)
        notes |= {(layer, int(neuron)): NeuronNote(float(aurocs[neuron])) for neuron in selection.neurons}
    return notes


def _aurocs_in(lake: "Lake", layer: int, images: Sequence[InputImage], labels: Sequence[bool | None]) -> np.ndarray:
    """(n_neurons,) `neuron_aurocs` over the labelled images, of which there is one at least."""
    known = [(image, label) for image, label in zip(images, labels, strict=True) if label is not None]
    patches = lake.store.patches([image for image, _ in known], lake.backbone.hook_point(layer, lake.config.site))
    return neuron_aurocs(peaks(*patches.numpy()), [label for _, label in known])


def extreme_patches(
    acts_ip: np.ndarray, inside_ip: np.ndarray, n: int = 12, lowest: bool = False, per_image: int | None = None
) -> list[ExtremePatch]:
    """The patches with the greatest (or lowest) activation of one neuron, most extreme first; ties in reading order.

    Args:
        acts_ip: (n_images, n_patches) of one neuron.
        inside_ip: (n_images, n_patches) bool.
        n: How many, at most.
        lowest: The bottom instead of the top.
        per_image: At most so many of one image; None sets no bound.
    """
    signed = np.where(inside_ip, -acts_ip if not lowest else acts_ip, np.inf).reshape(-1)
    found: list[ExtremePatch] = []
    n_of = dict.fromkeys(range(len(acts_ip)), 0)
    for index in np.argsort(signed, kind="stable")[: int(inside_ip.sum())]:
        image, patch = divmod(int(index), acts_ip.shape[1])
        if len(found) == n:
            break
        if per_image is None or n_of[image] < per_image:
            n_of[image] += 1
            found.append(ExtremePatch(image, patch, float(acts_ip[image, patch])))
    return found


def selection_of(lake: "Lake", layer: int, site: Site | None = None) -> Selection:
    """The selection of any layer: the fitted one, or for a layer the detector does not use, what it would select.

    Args:
        lake: A fitted detector.
        layer: Layer number.
        site: Activation site; None means the detector's.
    """
    lake.fitted()
    config = lake.config
    site = site or config.site
    if layer in lake.selection_ and site == config.site:
        return lake.selection_[layer]
    return would_select(lake, layer, lake.normals_, site)


def neuron_table(
    lake: "Lake",
    layer: int,
    tests: Sequence[Tested] | None = None,
    describe: bool = False,
    top: int | None = None,
    *,
    concepts: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The neurons of a layer, most sensitive first (in the order of the selection).

    Args:
        lake: A fitted detector.
        layer: Any layer that has its activation site, also one that the detector does not use.
        tests: Further images: with labels they give `auroc`, with or without they are used for the labels.
        describe: Give the selected neurons concept labels, by both routes of `concepts`. By ablation this costs up to
            six images through the network for each neuron, and for each of 44 random ones.
        top: Only the first so many.
        concepts: The vocabulary for labels; None takes the one that comes with the program.
        on_progress: Called with steps done and in all while labelling; may raise to cancel.
    Returns:
        Columns neuron, rank (from 1), sensitivity, selected (bool), mean and std (sample, as the variance) over the
        normal patches, flags and concepts (each joined by commas; "" where none, or not tried; "no concept label" where
        it was tried in vain), auroc (of the neuron alone over labelled tests; NaN without both labels).
    Raises:
        BackboneError: if there is no such layer.
    """
    selection = selection_of(lake, layer)
    order = selection.order if top is None else selection.order[:top]
    images, labels = read_tests(tests or ())
    hook_point = lake.backbone.hook_point(layer, lake.config.site)
    patches = lake.store.patches(lake.normals_, hook_point)
    values_pn = patches.on_image().numpy().astype(np.float64)
    flagged = flags(*patches.numpy(), lake.backbone.adapter.has_tokens)
    aurocs = np.full(selection.n_neurons, np.nan)
    if any(labels):
        is_defective = [None if label is None else label == "defective" for label in labels]
        aurocs = _aurocs_in(lake, layer, images, is_defective)
    deviation = values_pn.std(0, ddof=1) if len(values_pn) > 1 else np.zeros(selection.n_neurons)
    table = pd.DataFrame(
        {
            "neuron": order,
            "rank": np.arange(1, len(order) + 1),
            "sensitivity": selection.sensitivity[order],
            "selected": np.isin(order, selection.neurons),
            "mean": values_pn.mean(0)[order],
            "std": deviation[order],
            "flags": [",".join(flagged.of(int(neuron))) for neuron in order],
            "concepts": "",
            "auroc": aurocs[order],
        },
        columns=list(COLUMNS),
    )
    if not describe:
        return table
    chosen = table.loc[table["selected"], "neuron"].tolist()
    over = [*lake.normals_, *images]
    return with_concepts(table, label_concepts(lake, layer, chosen, over, concepts, on_progress=on_progress))


def with_concepts(table: pd.DataFrame, labels: Iterable[ConceptLabels]) -> pd.DataFrame:
    """The table of neurons with the concept labels filled in."""
    texts = {one.neuron: one.text for one in labels}
    return table.assign(concepts=[texts.get(int(neuron), "") for neuron in table["neuron"]])


def read_tests(tests: Sequence[Tested]) -> tuple[list[InputImage], list[Label | None]]:
    """The images, and their labels where they are known."""
    examples = [one if isinstance(one, Example) else Example(read_image(one)) for one in tests]
    return [one.image for one in examples], [one.label for one in examples]


def _on_image(acts_ipn: np.ndarray, inside_ip: np.ndarray) -> np.ndarray:
    return np.where(inside_ip[:, :, None], acts_ipn, -np.inf)
