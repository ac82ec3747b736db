"""Interventions on images: patches deleted or covered, a defective image among the normal ones, small changes."""

from typing import get_args

import pandas as pd
import streamlit as st

from dashboard.components.legends import legend
from dashboard.components.pickers import pick_one
from dashboard.components.progress import Estimate, computed_beside, computed_on_demand
from dashboard.components.tables import Cell, download_table, metrics, perturbations
from dashboard.plots import interventions
from dashboard.services.analysis import Analysis
from dashboard.services.estimates import Steps, seconds_of
from dashboard.services.images import score_image
from dashboard.text import escaped
from dashboard.words import LABEL_NAMES
from lake_core.detector.result import ImageResult
from lake_core.experiments import deletion, occlusion
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.deletion import CurveConfig
from lake_core.experiments.robustness import n_changes, score_stability
from lake_core.findings.images import Direction, Replacement
from lake_core.sentences import quantity, sentence
from lake_core.visualization.colours import ValueScale, symmetric_limit
from lake_core.visualization.overlays import Style, neuron_overlay

REPLACEMENTS: dict[Replacement, str] = {
    "normal": "the most similar normal image",
    "blurred": "a blurred image",
    "mean": "its mean colour",
}
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
N_REGIONS = 36


def deletion_insertion(found: Analysis, score: ImageResult) -> None:
    """Deletion and insertion curves, and an independent check by occlusion; all on demand."""
    st.markdown(
        "If the map is faithful, deleting its highest patches first lowers the score faster than deleting patches in "
        "random order. The network runs again on each changed image."
    )
    direction = pick_one("Curve", DIRECTIONS, "curve_direction")
    replacement = pick_one(
        "Replaced by",
        REPLACEMENTS,
        "curve_replacement",
        help="Blur is the common choice, but it is itself unusual among sharp normal images.",
    )
    lake, image, config = found.lake, score.image, CurveConfig(direction, replacement, n_orders=3)
    curve = computed_on_demand(
        ("curve", found.result_key, image.sha256, direction, replacement),
        "Compute the curve",
        ":material/show_chart:",
        "Changed images",
        lambda show: deletion.curve(lake, image, config, show),
        _passes(found, config.n_images, "The map may turn out no better than a random order."),
    )
    if curve is not None:
        st.plotly_chart(
            interventions.removal_curve(curve, score.threshold),
            key="removal",
            alt=f"Score against share of patches {direction}, by the map and at random",
        )
        st.markdown(escaped(sentence(curve.finding)))
        _over_all(found, direction, replacement)
    _covered(found, score, replacement)


def _over_all(found: Analysis, direction: Direction, replacement: Replacement) -> None:
    """The area between the curves of every test image above the threshold, in coarser steps."""
    above = [one.image for one in found.scores if one.is_anomalous]
    if not above:
        return
    config = CurveConfig(direction, replacement, n_steps=6, n_orders=2)
    result = computed_on_demand(
        ("curves", found.result_key, found.lake.threshold_, direction, replacement),
        f"Over all images above the threshold ({len(above)})",
        ":material/stacked_line_chart:",
        "Changed images",
        lambda show: deletion.faithfulness(found.lake, above, config, show),
        _passes(found, len(above) * config.n_images, "What holds for one image may not hold for the others."),
    )
    if result is None:
        return
    st.markdown(escaped(sentence(result.finding)))
    table = pd.DataFrame(
        {"path": [one.image.name for one in result.curves], "area": [one.area for one in result.curves]}
    )
    with st.expander("Image by image"):
        st.dataframe(table, hide_index=True, alt="Area between the curve by the map and random ones, for each image")
    download_table(table, "areas.csv")


def _passes(found: Analysis, n: int, gives: str) -> Estimate:
    """What so many changed images take."""
    return Estimate(seconds_of(found, Steps(n_passes=n, n_scored=n)), gives)


def _covered(found: Analysis, score: ImageResult, replacement: Replacement) -> None:
    """Captum's occlusion beside the map."""
    st.subheader("Occlusion, an independent check", anchor=False)
    st.markdown(
        "Captum's FeatureAblation covers one region at a time and records the score. The score is a maximum, so "
        "covering most regions changes nothing; what matters is the effect of covering the max-scoring one."
    )
    lake, image = found.lake, score.image
    result = computed_on_demand(
        ("occlusion", found.result_key, image.sha256, replacement),
        "Run the occlusion",
        ":material/grid_on:",
        "Covered images",
        lambda show: occlusion.occlusion(lake, image, "score", replacement, n_regions=N_REGIONS, on_progress=show),
        _passes(found, N_REGIONS + 1, "It may not agree with the map."),
    )
    if result is None:
        return
    scale = ValueScale(symmetric_limit([result.importance]))
    left, right = st.columns(2)
    left.image(
        score_image(found, score, 420), width="stretch", caption="the score map", alt=f"Score map of {image.name}"
    )
    right.image(
        neuron_overlay(
            image,
            result.importance_map,
            result.grid,
            score.patch_scores.placement,
            scale,
            Style(0.7, smooth=False, max_side=420),
        ),
        width="stretch",
        caption="red: covering this region lowers the score; blue: raises it",
        alt=f"Importance of each region of {image.name} by occlusion",
        output_format="JPEG",
    )
    legend(scale, "the importances")
    st.markdown(escaped(sentence(result.finding)))


def contamination(found: Analysis, score: ImageResult) -> None:
    """A test image among the normal ones, by one click."""
    st.markdown(
        "What if a defective image were among the normal ones? It joins the memory bank and is no longer scored."
    )
    examples = {e.image.sha256: f"{e.image.name}  ·  {LABEL_NAMES[e.label]}" for e in found.workspace.tests}
    shared = score.image.sha256
    chosen = st.multiselect(
        "Images to add to the normal ones",
        list(examples),
        default=[shared],
        format_func=examples.__getitem__,
        key=f"slipped_{shared[:12]}",
        max_selections=8,
    )
    if not chosen:
        st.caption("Choose at least one image.")
        return
    lake, scores, labels = found.lake, found.scores, found.known_labels
    added = [image for image in found.images if image.sha256 in chosen]
    made = computed_beside(
        ("contaminated", found.result_key, lake.threshold_, tuple(sorted(chosen))),
        "Fitting",
        lambda show: contaminate(lake, added, scores, labels, show),
    )
    if made is None:
        return
    compared = made.scores
    cells: list[Cell] = [("Threshold", f"{compared.threshold_after:.3f}", f"was {compared.threshold_before:.3f}")]
    if compared.auroc_before is not None and compared.auroc_after is not None:
        cells.append(("Image AUROC, other images", f"{compared.auroc_after:.3f}", f"was {compared.auroc_before:.3f}"))
    cells += [
        (
            f"Selection overlap, layer {one.layer}",
            f"{one.jaccard:.2f}",
            f"Jaccard; {quantity(len(one.gained), 'new neuron')}",
        )
        for one in made.layers
    ]
    metrics(cells)
    st.markdown(escaped(sentence(made.finding)))
    if compared.table.empty:
        st.caption("No test image is left to score: all are among the normal ones now.")
        return
    st.plotly_chart(
        interventions.before_after(compared.table, compared.threshold_before, compared.threshold_after),
        key="contaminated_scores",
        alt="Score of each test image before and after, with both thresholds",
    )
    download_table(compared.table, "contaminated.csv")


def stability(found: Analysis, score: ImageResult) -> None:
    """The score with other normal images, and of the image a little changed; on demand."""
    st.markdown(
        "Does the score hold with other or fewer normal images, and when the image is shifted by a pixel, rotated by a "
        "few degrees, or saved as JPEG?"
    )
    n_fits, n_passes = n_changes(len(found.lake.normals_))
    result = computed_on_demand(
        ("steady", found.result_key, score.threshold, score.image.sha256),
        "Run the perturbations",
        ":material/tune:",
        "Changes",
        lambda show: score_stability(found.lake, score.image, on_progress=show),
        Estimate(
            seconds_of(found, Steps(n_passes, n_passes + n_fits, n_fits)), "The decision may turn with a small change."
        ),
    )
    if result is not None:
        perturbations(result, "stability")
        st.caption("A rotated image is mirrored at its edges to fill the corners; the seam can count as unusual.")
