"""Results: the test images with their maps on one shared scale, the threshold, a table and a histogram."""

import pandas as pd
import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.layout import cards
from dashboard.components.legends import score_legend
from dashboard.components.names import file_name
from dashboard.components.page import heading
from dashboard.components.paging import one_page
from dashboard.components.pickers import pick_one, pick_section, see_page
from dashboard.components.tables import download_table, metrics
from dashboard.plots.scores import score_histogram
from dashboard.services.analysis import Analysis
from dashboard.services.images import score_image
from dashboard.session import current
from dashboard.views.results.beside_baselines import beside_baselines
from dashboard.views.results.report import report_download
from dashboard.words import LABEL_NAMES, max_scoring, verdict
from lake_core.data import anomalib_columns
from lake_core.data.anomalib_columns import anomalib_row
from lake_core.metrics.image_metrics import best_f1
from lake_core.sentences import quantity
from lake_core.visualization.colours import nice_ceiling

SORTS = {
    "score, highest first": lambda item: -item[1].score,
    "score, lowest first": lambda item: item[1].score,
    "visual part, highest first": lambda item: -item[1].visual,
    "text part, highest first": lambda item: -item[1].text,
    "name": lambda item: item[1].image.name,
    "label": lambda item: (str(item[0].label), -item[1].score),
}
CARD, CARD_WIDTH = 320, 228
PER_PAGE = 16
"""Fewer than elsewhere: a moved threshold draws the maps of a page anew."""


def table_of(found: Analysis) -> pd.DataFrame:
    """One row per test image, in the workspace's order; also what the CSV holds.

    The last columns are anomalib's. Uploaded images have names and no files, so that a mask's path is never known.
    """
    tests = found.workspace.tests
    theirs = pd.DataFrame(
        [anomalib_row(example.image.name, example.label) for example in tests], columns=list(anomalib_columns.COLUMNS)
    )
    own = pd.DataFrame(
        {
            "path": [score.image.name for score in found.scores],
            "score": [score.score for score in found.scores],
            "visual": [score.visual for score in found.scores],
            "text": [score.text for score in found.scores],
            "threshold": [score.threshold for score in found.scores],
            "is_anomalous": [score.is_anomalous for score in found.scores],
            "label": [example.label for example in tests],
        }
    )
    return own.join(theirs)


def set_threshold(threshold: float | None) -> None:
    """Takes the user's threshold; None takes that of the normal images."""
    current().own_threshold = threshold


def threshold_control(found: Analysis) -> None:
    """Shows the threshold, lets the user move it, and puts it back."""
    left, middle, right = st.columns([4, 1.4, 1.4], vertical_alignment="bottom")
    top = nice_ceiling(max(found.scale.vmax, *(score.score for score in found.scores)))
    st.session_state.threshold_slider = min(max(found.lake.threshold_, 0.0), top)
    with left:
        st.slider(
            "Decision threshold",
            0.0,
            top,
            step=0.01,
            key="threshold_slider",
            format="%.2f",
            on_change=lambda: set_threshold(st.session_state.threshold_slider),
            disabled=current().is_read_only,
            help="By default the 0.9 quantile of the normal images' own leave-one-out scores.",
        )
    with middle:
        st.button(
            "Reset threshold",
            on_click=set_threshold,
            args=(None,),
            disabled=current().own_threshold is None or current().is_read_only,
            width="stretch",
            help="The threshold from the normal images alone; no test image is used.",
        )
    known = found.labelled
    best = best_f1(known.labels, known.scores) if known.has_both else None
    with right:
        st.button(
            "Best F1",
            on_click=set_threshold,
            args=(best.threshold if best else None,),
            disabled=best is None or current().is_read_only,
            width="stretch",
            help="The threshold with the best F1 on your labels. It uses the answers, so the result is optimistic.",
        )


def headline(found: Analysis) -> None:
    """The headline: how many, how many above, and how well with labels."""
    above = sum(score.is_anomalous for score in found.scores)
    cells: list[tuple[str, str | int, None]] = [
        ("Normal images", len(found.workspace.normals), None),
        ("Test images", len(found.scores), None),
        ("Above threshold", f"{above} of {len(found.scores)}", None),
    ]
    known = found.labelled
    if known.has_both:
        cells.append(("Image AUROC", f"{found.auroc:.3f}", None))
        true_positives, false_positives = known.counts()
        cells += [("True positives", true_positives, None), ("False positives", false_positives, None)]
    metrics(cells)
    n_missed = sum(label and not one.is_anomalous for label, one in zip(known.labels, known.results, strict=True))
    if n_missed:
        st.caption(f"Missed at this threshold: {quantity(n_missed, 'image')} labelled defective.")
    if known.has_both and len(known.labels) < len(found.scores):
        st.caption(f"AUROC, true and false positives are over the {len(known.labels)} labelled test images.")


def image_cards(found: Analysis) -> None:
    """The test images with their maps on one scale, sorted and filtered."""
    score_legend(found)
    sort, only, opacity_column = st.columns(3)
    order = sort.selectbox("Sort by", list(SORTS), key="sort")
    with only:
        shown = pick_one("Show", ["all", "above", "not above"], "show")
    opacity = opacity_column.slider("Overlay opacity", 0.0, 1.0, 0.6, 0.1, key="opacity")
    items = sorted(zip(found.workspace.tests, found.scores, strict=True), key=SORTS[order])
    items = [item for item in items if shown == "all" or item[1].is_anomalous == (shown == "above")]
    if not items:
        st.info(f"No image is {shown} the threshold.", icon=":material/filter_alt:")
    items = list(one_page(items, f"scores {order} {shown}", PER_PAGE))
    places = cards(len(items), CARD_WIDTH, "score_cards", border=True, height="stretch")
    for card, (example, score) in zip(places, items, strict=True):
        image = score.image
        with card:
            jpeg = score_image(found, score, CARD, opacity=opacity)
            st.image(jpeg, width="stretch", alt=f"{image.name}: score {score.score:.3f}, {verdict(score)}")
            st.markdown(f"**{score.score:.2f}** {verdict(score)}")
            file_name(image.name, f" · {LABEL_NAMES[example.label]}")
            if st.button("Why this score?", key=f"open_{image.sha256}", width="stretch"):
                see_page("explain", image=image.sha256)


def table(found: Analysis) -> None:
    """All scores as numbers."""
    shown = table_of(found)
    st.dataframe(
        shown,
        hide_index=True,
        column_order=[name for name in shown.columns if name not in anomalib_columns.COLUMNS],
        column_config={
            name: st.column_config.NumberColumn(format="%.4f") for name in ("score", "visual", "text", "threshold")
        },
        alt="Scores of all test images",
    )
    place = max_scoring(found.lake.config.top_q)
    st.caption(f"Of each image's {place}: score = (1 − w) × visual + w × text.")


def histogram(found: Analysis) -> None:
    """How the scores of normal, good and defective images are spread, beside the threshold."""
    by_label = {
        label: [s.score for e, s in zip(found.workspace.tests, found.scores, strict=True) if e.label == label]
        for label in ("good", "defective", None)
    }
    st.plotly_chart(
        score_histogram(
            found.lake.normal_scores_.tolist(),
            by_label["good"],
            by_label["defective"],
            by_label[None],
            found.lake.threshold_,
            found.lake.config.calibration_percentile,
        ),
        alt="Histogram of image scores of normal and test images with the decision threshold",
    )


SECTIONS = {"Images": image_cards, "Table": table, "Histogram": histogram, "Baselines": beside_baselines}

heading(
    "Results",
    "Each test image with its score map. A patch is one cell of the grid in which the network sees the image; those "
    "above the decision threshold are outlined.",
)
found = current_analysis()
headline(found)
if len(found.workspace.normals) == 1:
    st.info("With a single normal image the threshold is a rough guess; add a few more.", icon=":material/info:")
if not any(score.is_anomalous for score in found.scores):
    st.success("No test image is above the threshold.")
threshold_control(found)
pick_section("Section", SECTIONS, "results_section")(found)
with st.container(horizontal=True):
    download_table(table_of(found), "scores.csv", "Download the scores (CSV)")
    report_download(found)
