"""Facts about single units: flags, quantiles, how well each detects by itself, its strongest patches, and a table.

All but `unit_table` are functions of arrays: `acts_ipu` (n_pictures, n_patches, n_units) and `inside_ip` (n_pictures,
n_patches) bool, the patches that lie on the pictures; at least one of each picture does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import Kind
from lake_core.data.datasets import Example
from lake_core.data.images import Picture, PictureSource, read_picture
from lake_core.data.labels import Label
from lake_core.detector.selection import Selection, select
from lake_core.neurons.concepts import Description
from lake_core.neurons.effects import activations
from lake_core.neurons.effects import describe as describe_in_words

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake

Tested: TypeAlias = Example | PictureSource
"""A picture to look at beside the normal ones; an Example may bring its label."""

UnitTable: TypeAlias = pd.DataFrame
"""One row per unit of a layer; its columns:"""
COLUMNS = ("unit", "rank", "sensitivity", "selected", "mean", "std", "flags", "words", "auroc")
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_STILL = 1e-6
_MOST_PEAKS = 3


@dataclass(frozen=True, eq=False)
class Flags:
    """What is odd about the units of a layer, each (n_units,) bool.

    Attributes:
        register_like: An outlying maximum sits on the same few patches of all normal pictures.
        dead: Never varies over the normal patches.
        saturated: A large share of the normal patches is at the unit's greatest value, such as the ceiling of ReLU6.
    """

    register_like: np.ndarray = field(repr=False)
    dead: np.ndarray = field(repr=False)
    saturated: np.ndarray = field(repr=False)

    def of(self, unit: int) -> tuple[str, ...]:
        """The names of a unit's flags."""
        named = {"register_like": self.register_like, "dead": self.dead, "saturated": self.saturated}
        return tuple(name for name, values in named.items() if values[unit])


class ExtremePatch(NamedTuple):
    """A patch that a unit answers to most or least: picture (row of the array), patch and activation."""

    picture: int
    patch: int
    value: float


def peaks(acts_ipu: np.ndarray, inside_ip: np.ndarray) -> np.ndarray:
    """(n_pictures, n_units): the greatest activation of each unit on each picture."""
    return _on_picture(acts_ipu, inside_ip).max(1)


def flags(acts_ipu: np.ndarray, inside_ip: np.ndarray, saturated_share: float = 0.2, outlying: float = 4.0) -> Flags:
    """Flags of units over the normal pictures.

    A unit counts as register-like (arXiv 2506.08010) if its maxima on n normal pictures sit on at most min(3, n // 2)
    different patches (never with a single picture), and each of them lies at least `outlying` times as far above the
    unit's median as its 0.95 quantile does. Pictures whose maximum is held by more patches than that say nothing of its
    place, and then the unit is not register-like. A flag is a hint: a unit that follows a small bright part in pictures
    taken from one stand looks the same.

    Args:
        acts_ipu, inside_ip: Of the normal pictures.
        saturated_share: Share of patches at the greatest value from which a unit that varies counts as saturated.
        outlying: 4 was set by looking at the built-in samples, where pictures are aligned and a rule by place alone
            flags up to a third of a layer.
    """
    on_picture = _on_picture(acts_ipu, inside_ip)
    values_nu = acts_ipu[inside_ip]
    low, high = values_nu.min(0), values_nu.max(0)
    tolerance = _STILL * np.maximum(1, np.abs(high))
    dead = high - low <= tolerance
    saturated = ~dead & ((values_nu >= high - tolerance).mean(0) >= saturated_share)
    few = min(_MOST_PEAKS, len(acts_ipu) // 2)
    at_peak_ipu = on_picture >= (on_picture.max(1, keepdims=True) - tolerance)
    n_places = at_peak_ipu.any(0).sum(0)
    median, usually_below = np.quantile(values_nu, [0.5, 0.95], axis=0)
    is_outlying = on_picture.max(1).min(0) - median >= outlying * (usually_below - median)
    return Flags((n_places <= few) & is_outlying & ~dead, dead, saturated)


def quantiles(acts_ipu: np.ndarray, inside_ip: np.ndarray, levels: Sequence[float] = QUANTILES) -> np.ndarray:
    """(n_levels, n_units) float64: quantiles of each unit over all patches on the pictures."""
    return np.quantile(acts_ipu[inside_ip].astype(np.float64), levels, axis=0)


def unit_aurocs(peaks_iu: np.ndarray, labels: ArrayLike) -> np.ndarray:
    """How well each unit by itself tells defective pictures from good ones, by its greatest activation on each.

    Args:
        peaks_iu: (n_pictures, n_units) from `peaks`.
        labels: (n_pictures,) bool, True where defective.
    Returns:
        (n_units,) float64 in [0, 1], ties counted half; below 0.5 where a unit is quieter on defective pictures; NaN
        where there is one class only. With hundreds of units the best looks good by chance: this is no selection.
    """
    truth = np.asarray(labels, dtype=bool)
    n_defective, n_good = int(truth.sum()), int((~truth).sum())
    if not n_defective or not n_good:
        return np.full(peaks_iu.shape[1], np.nan)
    ranks = rankdata(peaks_iu, axis=0)[truth].sum(0)
    return np.asarray((ranks - n_defective * (n_defective + 1) / 2) / (n_defective * n_good))


def extreme_patches(
    acts_ip: np.ndarray, inside_ip: np.ndarray, n: int = 12, lowest: bool = False, per_picture: int | None = None
) -> list[ExtremePatch]:
    """The patches with the greatest (or lowest) activation of one unit, most extreme first; ties in reading order.

    Args:
        acts_ip: (n_pictures, n_patches) of one unit.
        inside_ip: (n_pictures, n_patches) bool.
        n: How many, at most.
        lowest: The bottom instead of the top.
        per_picture: At most so many of one picture; None sets no bound.
    """
    signed = np.where(inside_ip, -acts_ip if not lowest else acts_ip, np.inf).reshape(-1)
    found: list[ExtremePatch] = []
    n_of = dict.fromkeys(range(len(acts_ip)), 0)
    for index in np.argsort(signed, kind="stable")[: int(inside_ip.sum())]:
        picture, patch = divmod(int(index), acts_ip.shape[1])
        if len(found) == n:
            break
        if per_picture is None or n_of[picture] < per_picture:
            n_of[picture] += 1
            found.append(ExtremePatch(picture, patch, float(acts_ip[picture, patch])))
    return found


def selection_of(lake: "Lake", layer: int, kind: Kind | None = None) -> Selection:
    """The selection of any layer: the fitted one, or for a layer the detector does not use, what it would select.

    Args:
        lake: A fitted detector.
        layer: Layer number.
        kind: Kind of unit; None means the detector's.
    """
    config = lake.config
    kind = kind or config.kind
    if layer in lake.selection_ and kind == config.kind:
        return lake.selection_[layer]
    return would_select(lake, layer, lake.normals_, kind)


def would_select(lake: "Lake", layer: int, normals: Sequence[Picture], kind: Kind | None = None) -> Selection:
    """What a detector selects in a layer when it is fitted on some normal pictures; it need not be fitted.

    Args:
        lake: Its configuration and store are used.
        layer: Layer number.
        normals: At least one.
        kind: Kind of unit; None means the detector's.
    """
    config = lake.config
    kind = kind or config.kind
    acts_ipu, inside_ip = activations(lake, normals, lake.backbone.place(layer, kind))
    return select(acts_ipu[inside_ip], layer, kind, config.criterion, config.top_k, config.seed)


def unit_table(
    lake: "Lake",
    layer: int,
    tests: Sequence[Tested] | None = None,
    describe: bool = False,
    top: int | None = None,
    *,
    words: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The units of a layer, most sensitive first (in the order of the selection).

    Args:
        lake: A fitted detector.
        layer: Any layer that has its kind of unit, also one that the detector does not use.
        tests: Further pictures: with labels they give `auroc`, with or without they take part in the description.
        describe: Describe the selected units in words, by both routes of `descriptions`. By ablation this costs
            about six forward passes for each unit.
        top: Only the first so many.
        words: The vocabulary for descriptions; None takes the one that comes with the program.
        on_progress: Called with steps done and in all while describing; may raise to cancel.
    Returns:
        Columns unit, rank (from 1), sensitivity, selected (bool), mean and std (sample, as the variance) over the
        normal patches, flags and words (each joined by commas; "" where none, or not described; "no word describes
        this unit" where it was tried), auroc (of the unit alone over labelled tests; NaN without both labels).
    Raises:
        BackboneError: if there is no such layer.
    """
    selection = selection_of(lake, layer)
    order = selection.order if top is None else selection.order[:top]
    pictures, labels = read_tests(tests or ())
    place = lake.backbone.place(layer, lake.config.kind)
    acts_ipu, inside_ip = activations(lake, lake.normals_, place)
    values_nu = acts_ipu.numpy()[inside_ip].astype(np.float64)
    flagged = flags(acts_ipu.numpy(), inside_ip)
    aurocs = np.full(selection.n_units, np.nan)
    labelled = [i for i, label in enumerate(labels) if label is not None]
    if labelled:
        acts, inside = activations(lake, [pictures[i] for i in labelled], place)
        aurocs = unit_aurocs(peaks(acts.numpy(), inside), [labels[i] == "defective" for i in labelled])
    deviation = values_nu.std(0, ddof=1) if len(values_nu) > 1 else np.zeros(selection.n_units)
    table = pd.DataFrame(
        {
            "unit": order,
            "rank": np.arange(1, len(order) + 1),
            "sensitivity": selection.sensitivity[order],
            "selected": np.isin(order, selection.units),
            "mean": values_nu.mean(0)[order],
            "std": deviation[order],
            "flags": [",".join(flagged.of(int(unit))) for unit in order],
            "words": "",
            "auroc": aurocs[order],
        },
        columns=list(COLUMNS),
    )
    if not describe:
        return table
    chosen = table.loc[table["selected"], "unit"].tolist()
    over = [*lake.normals_, *pictures]
    return with_words(table, describe_in_words(lake, layer, chosen, over, words, on_progress=on_progress))


def with_words(table: pd.DataFrame, descriptions: Iterable[Description]) -> pd.DataFrame:
    """The table of units with the words of descriptions filled in."""
    texts = {one.unit: one.text for one in descriptions}
    return table.assign(words=[texts.get(int(unit), "") for unit in table["unit"]])


def read_tests(tests: Sequence[Tested]) -> tuple[list[Picture], list[Label | None]]:
    """The pictures, and their labels where they are known."""
    examples = [one if isinstance(one, Example) else Example(read_picture(one)) for one in tests]
    return [one.picture for one in examples], [one.label for one in examples]


def _on_picture(acts_ipu: np.ndarray, inside_ip: np.ndarray) -> np.ndarray:
    return np.where(inside_ip[:, :, None], acts_ipu, -np.inf)
