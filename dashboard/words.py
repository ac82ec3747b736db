"""Names of things on screen that several pages use."""

import numpy as np

from lake_core.baselines import baselines
from lake_core.config import LakeConfig
from lake_core.data.samples import MeasuredSample
from lake_core.detector.result import ImageResult
from lake_core.evaluation.protocol import Method
from lake_core.types import Label, Site

SITE_NAMES: dict[Site, str] = {"mlp_hidden": "MLP hidden", "residual_channel": "residual channel"}
METHOD_NAMES: dict[Method, str] = {
    "lake": "LAKE (selected, fused)",
    "random": "random neurons (5 draws)",
    "all": "all neurons",
    "visual": "visual part alone",
    "text": "text part alone",
    **{name: kind.title for name, kind in baselines().items()},
}
LABEL_NAMES: dict[Label | None, str] = {"good": "labelled good", "defective": "labelled defective", None: "no label"}
NEURON_CARD = "One neuron"
"""The section of the page Neurons that a neuron is opened in."""
SEPARATION_NAMES = {"auroc": "image AUROC on your labels", "gap": "mean test score − mean normal score"}
TELLING_BORDER = 0.9
"""From this image AUROC on, the brightness of the border is named on the card."""


def of_normals(probabilities: np.ndarray) -> str:
    """What a probability is for the normal images (n_normals,), to compare another image's with."""
    low, high = (f"{value:.0%}" for value in (probabilities.min(), probabilities.max()))
    return f"normal images: {low}" if low == high else f"normal images: {low} to {high}"


def k_words(config: LakeConfig) -> str:
    """K as a number, or those of the layers where they differ, in ascending order of the layers."""
    return ", ".join(map(str, config.ks))


def max_scoring(top_q: int) -> str:
    """Where an image score is from."""
    return "max-scoring patch" if top_q == 1 else f"{top_q} highest patches"


def verdict(score: ImageResult) -> str:
    """The decision in words and a sign, never by colour alone."""
    return "▲ above threshold" if score.is_anomalous else "▽ not above threshold"


def direction(difference: float) -> tuple[str, str]:
    """A sign and words for an activation less that of the nearest normal patch, as the microscope says them."""
    if difference > 0:
        return "↑", "more active than normal"
    return ("↓", "less active than normal") if difference < 0 else ("=", "as active as normal")


def light(measured: MeasuredSample) -> list[str]:
    """A sentence where the light alone gives the defects away."""
    if measured.border < TELLING_BORDER:
        return []
    return [
        f"The brightness of the images' border alone tells its defects apart (image AUROC {measured.border:.2f}): the "
        "light differs too."
    ]
