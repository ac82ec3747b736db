"""Interventions the images were others: patches removed or covered, and a defective image among the normal ones."""

import pandas as pd
import streamlit as st

from dashboard.components import common
from dashboard.plots import interventions
from dashboard.services import compute
from dashboard.services.background import computed_beside
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from lake_core.detector.result import ImageResult
from lake_core.experiments import deletion, occlusion
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.deletion import CurveConfig
from lake_core.experiments.robustness import score_stability
from lake_core.findings import Direction, Replacement
from lake_core.sentences import sentence
from lake_core.visualization.colours import symmetric_limit
from lake_core.visualization.overlays import Style, neuron_overlay

REPLACEMENTS: dict[Replacement, str] = {
    "normal": "the most alike normal image",
    "blurred": "a blurred image",
    "mean": "its mean colour",
}
DIRECTIONS: dict[Direction, str] = {"deletion": "removed", "insertion": "put back"}


def removed(found: Analysis, score: ImageResult) -> None:
    """Deletion and insertion curves, and an independent check by occlusion; all on demand."""
    st.markdown(
        "If the map is right, taking its hottest patches away makes the score fall sooner than taking patches away "
        "at random. The network runs anew on each changed image."
    )
    direction = st.segmented_control(
        "Patches are",
        list(DIRECTIONS),
        default="deletion",
        required=True,
        key="curve_direction",
        format_func=DIRECTIONS.__getitem__,
    )
    replacement = st.segmented_control(
        "In their place",
        list(REPLACEMENTS),
        default="normal",
        required=True,
        key="curve_replacement",
        format_func=REPLACEMENTS.__getitem__,
        help="A blurred image is the custom, but blur is itself unusual beside sharp normal images.",
    )
    lake, image = found.lake, score.image
    key = ("curve", found.result_key, image.sha256, direction, replacement)
    if common.asked_for(key, "Compute the curve", ":material/show_chart:"):
        curve = common.computed(
            key,
            "Changed images",
            lambda show: deletion.curve(lake, image, CurveConfig(direction, replacement, n_orders=3), show),
        )
        if curve is not None:
            st.plotly_chart(
                interventions.removal_curve(curve, score.threshold),
                key="removal",
                alt=f"Score against share of patches {DIRECTIONS[direction]}, by the map and at random",
            )
            st.markdown(escaped(sentence(curve.finding)))
            _over_all(found, direction, replacement)
    _covered(found, score, replacement)


def _over_all(found: Analysis, direction: Direction, replacement: Replacement) -> None:
    """The area between the curves of every test image above the threshold, in coarser steps."""
    above = [one.image for one in found.scores if one.is_anomalous]
    key = ("curves", found.result_key, found.lake.threshold_, direction, replacement)
    if not above or not common.asked_for(
        key, f"Over all {len(above)} images above the threshold", ":material/stacked_line_chart:"
    ):
        return
    result = common.computed(
        key,
        "Changed images",
        lambda show: deletion.faithfulness(
            found.lake, above, CurveConfig(direction, replacement, n_steps=6, n_orders=2), show
        ),
    )
    if result is None:
        return
    st.markdown(escaped(sentence(result.finding)))
    table = pd.DataFrame(
        {"path": [one.image.name for one in result.curves], "area": [one.area for one in result.curves]}
    )
    with st.expander("Image by image"):
        st.dataframe(table, hide_index=True, alt="Area between the curve by the map and random ones, for each image")
    common.download_table(table, "areas.csv")


def _covered(found: Analysis, score: ImageResult, replacement: Replacement) -> None:
    """Captum's occlusion beside the map."""
    st.subheader("An independent check", anchor=False)
    st.markdown(
        "Captum's FeatureAblation covers one region after the other and watches the score. The score is a maximum, so "
        "covering most regions changes nothing; the question is what covering the hottest one does."
    )
    lake, image = found.lake, score.image
    key = ("occlusion", found.result_key, image.sha256, replacement)
    if not common.asked_for(key, "Cover region by region", ":material/grid_on:"):
        return
    result = common.computed(
        key,
        "Covered images",
        lambda show: occlusion.occlusion(lake, image, "score", replacement, n_regions=36, on_progress=show),
    )
    if result is None:
        return
    limit = symmetric_limit([result.importance])
    left, right = st.columns(2)
    left.image(
        compute.score_image(image.sha256, found.key, score.fusion_weight, found.scale, 420, 0.6, score),
        width="stretch",
        caption="the score map",
        alt=f"Score map of {image.name}",
    )
    right.image(
        neuron_overlay(
            image,
            result.importance_map,
            result.grid,
            score.patch_scores.placement,
            limit,
            Style(0.7, smooth=False, max_side=420),
        ),
        width="stretch",
        caption="red: the score falls when this region is covered; blue: it rises",
        alt=f"Importance of each region of {image.name} by occlusion",
        output_format="JPEG",
    )
    common.neuron_legend(limit)
    st.markdown(escaped(sentence(result.finding)))


def contaminated(found: Analysis, score: ImageResult) -> None:
    """A test image among the normal ones, by one click."""
    st.markdown(
        "Interventions a defective image had slipped in among the normal ones? It is learned from like the others, and"
        " no longer scored."
    )
    examples = {e.image.sha256: f"{e.image.name}  ·  {common.label_text(e.label)}" for e in found.workspace.tests}
    shared = score.image.sha256
    chosen = st.multiselect(
        "Images to slip in",
        list(examples),
        default=[shared],
        format_func=examples.__getitem__,
        key=f"slipped_{shared[:12]}",
        max_selections=8,
    )
    if not chosen:
        st.caption("Choose at least one.")
        return
    lake, tests, labels = found.lake, found.images, found.known_labels
    added = [image for image in tests if image.sha256 in chosen]
    made = computed_beside(
        ("contaminated", found.result_key, lake.threshold_, tuple(sorted(chosen))),
        "Learning again",
        lambda show: contaminate(lake, added, tests, labels, show),
    )
    if made is None:
        return
    scores = made.scores
    cells: list[tuple[str, str | int, str | None]] = [
        ("Threshold", f"{scores.threshold_after:.3f}", f"was {scores.threshold_before:.3f}")
    ]
    if scores.auroc_before is not None and scores.auroc_after is not None:
        cells.append(("Image AUROC, other images", f"{scores.auroc_after:.3f}", f"was {scores.auroc_before:.3f}"))
    cells += [
        (f"Selection of layer {one.layer}", f"{one.jaccard:.2f}", f"{len(one.gained)} neurons are others")
        for one in made.layers
    ]
    common.metrics(cells)
    st.markdown(escaped(sentence(made.finding)))
    st.plotly_chart(
        interventions.before_after(scores.table, scores.threshold_before, scores.threshold_after),
        key="contaminated_scores",
        alt="Score of each test image before and after, with both thresholds",
    )
    common.download_table(scores.table, "contaminated.csv")


def steady(found: Analysis, score: ImageResult) -> None:
    """The score with other normal images, and of the image a little changed; on demand."""
    st.markdown(
        "Does the score stay where it is with other or fewer normal images, and when the image is shifted by a "
        "pixel, turned by a few degrees, or saved as JPEG?"
    )
    key = ("steady", found.result_key, score.threshold, score.image.sha256)
    if not common.asked_for(key, "Try other normals and small changes", ":material/tune:"):
        return
    result = common.computed(key, "Changes", lambda show: score_stability(found.lake, score.image, on_progress=show))
    if result is not None:
        common.sensitivity(result, "stability")
        st.caption("A turned image is mirrored at its edges to fill its corners; a seam can count as unusual.")
