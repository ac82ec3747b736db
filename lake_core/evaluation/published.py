"""What was published of LAKE on public data sets, and an evaluation's figures beside it.

LAKE: Li et al., arXiv 2604.07802. All figures are second hand, from readers' notes and a leaderboard. No code or log of
the authors is public, and neither backbone, layers, image size, prompts nor the number of normal images are known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lake_core.evaluation.protocol import Method, Metric
from lake_core.evaluation.report import MEAN, EvaluationReport, Spread

COMPARED: tuple[Method, ...] = ("lake", "random")
_METRICS: tuple[Metric, ...] = ("image_auroc", "pixel_auroc", "pixel_aupro")


@dataclass(frozen=True)
class Published:
    """Figures of a data set, each the mean over its categories.

    Attributes:
        title: The data set's name.
        categories: Names of its folders.
        figures: Method and metric -> in percent; what is not known is not there. "random" is 100 random channels.
    """

    title: str
    categories: tuple[str, ...]
    figures: Mapping[tuple[Method, Metric], float]


PUBLISHED: dict[str, Published] = {
    "mvtec_ad": Published(
        "MVTec AD",
        (
            *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw"),
            *("tile", "toothbrush", "transistor", "wood", "zipper"),
        ),
        {
            ("lake", "image_auroc"): 94.7,
            ("lake", "pixel_auroc"): 93.7,
            ("lake", "pixel_aupro"): 88.9,
            ("random", "image_auroc"): 81.6,
            ("random", "pixel_aupro"): 45.8,
        },
    ),
    "visa": Published(
        "VisA",
        (
            *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
            *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
        ),
        {("lake", "image_auroc"): 89.4},
    ),
    "btad": Published("BTAD", ("01", "02", "03"), {("lake", "image_auroc"): 96.2, ("lake", "pixel_auroc"): 96.2}),
}


class Beside(NamedTuple):
    """A figure of an evaluation beside the published one; in percent, None where it is not known."""

    method: Method
    metric: Metric
    here: float | None
    std: float | None
    published: float | None


def beside_published(report: EvaluationReport, published: Published, shots: int) -> Iterator[Beside]:
    """For each method and metric the mean over the report's categories, beside what was published.

    Args:
        report: Of `COMPARED` on categories of the data set.
        published: Of that data set.
        shots: One of the report's numbers of normal images.
    """
    for method in COMPARED:
        metrics = report.summary_of(MEAN, shots, method).metrics
        for metric in _METRICS:
            spread: Spread = metrics[metric]
            yield Beside(
                method, metric, _percent(spread.mean), _percent(spread.std), published.figures.get((method, metric))
            )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
