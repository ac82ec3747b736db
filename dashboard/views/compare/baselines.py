"""LAKE beside a baseline: how well both separate the labelled images, both scores of each image, and both maps."""

import numpy as np
import pandas as pd
import streamlit as st
from scipy.stats import rankdata

from dashboard.components.analysis import current_analysis
from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.pickers import pick_image, pick_one
from dashboard.components.progress import computed_beside
from dashboard.services.analysis import Analysis, fitted, patch_scores
from dashboard.services.baselines import BaselineScores, baseline_key, baseline_scores
from dashboard.services.images import PatchMap, map_image, plain_image, score_image
from dashboard.text import escaped
from dashboard.views.compare.sections import CARD, difference_sentence, marked
from dashboard.words import METHOD_NAMES, verdict
from lake_core.baselines import BASELINES, baselines
from lake_core.experiments.comparison import auroc_difference
from lake_core.metrics.auroc_interval import auroc_interval
from lake_core.metrics.image_metrics import auroc
from lake_core.visualization.colours import score_scale

LAKE = "LAKE"


def beside_lake() -> None:
    """The sidebar's configuration beside one baseline on the same backbone, layers and normal images."""
    found = current_analysis()
    name = pick_one("Baseline", {name: METHOD_NAMES[name] for name in BASELINES}, "compared_baseline")
    title, backbone = METHOD_NAMES[name], found.lake.backbone
    reason = baselines()[name].why_not(backbone)
    if reason is not None:
        st.info(f"{title} gives no scores with {escaped(backbone.spec)}: {reason}.", icon=":material/info:")
        return
    st.caption(
        "Published methods rebuilt on this backbone: the sidebar's layers, site, prompts and normal images, but all "
        "neurons. A paper's own figures are of another backbone."
    )
    result = computed_beside(baseline_key(found, name), title, lambda report: baseline_scores(found, name, report))
    if result is None:
        return
    separation(found, result, title)
    maps(found, result, name)
    scores(found, result, title)


def separation(found: Analysis, result: BaselineScores, title: str) -> None:
    """Image AUROC of both with its interval where there are labels, and what both cost."""
    n_tests, known = len(result.scores), found.labelled
    labels = np.array([label for label in found.known_labels if label is not None], dtype=bool)
    theirs = result.scores[[label is not None for label in found.known_labels]]
    lake_seconds = fitted(found.key, found.workspace).seconds, patch_scores(found.key, found.workspace).seconds
    rows = []
    for name, values, (fit_seconds, score_seconds) in (
        (f"{LAKE} (sidebar)", np.array(known.scores), lake_seconds),
        (title, theirs, (result.fit_seconds, result.score_seconds)),
    ):
        row: dict[str, object] = {"method": name, **auroc_cells(labels, values)}
        row["fitting, s"] = f"{fit_seconds:.2f}"
        row["scoring, ms per image"] = f"{1000 * score_seconds / n_tests:.1f}"
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt=f"AUROC and cost of LAKE and of {title}")
    difference = auroc_difference(labels, known.scores, theirs) if known.has_both else None
    if difference is not None:
        st.markdown(difference_sentence(difference, LAKE, title))
        if len(labels) < n_tests:
            st.caption(f"AUROC is over the {len(labels)} of {n_tests} test images that are labelled.")
    else:
        st.caption("Label good and defective test images to see how well each separates them.")


def auroc_cells(labels: np.ndarray, scores: np.ndarray) -> dict[str, str]:
    """A method's cells of a table: its image AUROC with the interval; none without labels of both classes."""
    bounds = auroc_interval(labels, scores)
    if bounds is None:
        return {}
    return {"image AUROC": f"{auroc(labels, scores):.3f}", "95% interval": f"{bounds.low:.3f} to {bounds.high:.3f}"}


def maps(found: Analysis, result: BaselineScores, name: str) -> None:
    """Both maps of the chosen image, each on its own scale."""
    st.subheader("Both maps", anchor=False)
    score = pick_image(found)
    image, title = score.image, METHOD_NAMES[name]
    index = [one.sha256 for one in found.images].index(image.sha256)
    scale = score_scale(result.maps, 0.0)
    theirs = PatchMap(result.maps[index], result.grid, found.lake.backbone.placement(image))
    first, second, third = cards(3, 300, "baseline_maps")
    with first:
        st.image(plain_image(image, CARD), width="stretch", alt=image.name)
        st.caption(escaped(image.name))
    with second:
        shown = f"{score.score:.3f}, {verdict(score)}"
        st.image(score_image(found, score, CARD), width="stretch", alt=f"{image.name} with LAKE: {shown}")
        st.caption(f"**{LAKE}** · {shown}")
        legend(found.scale, "LAKE's maps")
    with third:
        shown = f"{result.scores[index]:.4g}"
        st.image(
            map_image(image, theirs, scale, CARD, baseline_key(found, name)),
            width="stretch",
            alt=f"{image.name} with {title}: {shown}",
        )
        st.caption(f"**{title}** · {shown}")
        legend(scale, f"the maps of {title}")
    st.caption(
        f"Each method has a scale of its own, the same for all images. {title} has no threshold: its scale ends above "
        "the highest value on any test image."
    )


def scores(found: Analysis, result: BaselineScores, title: str) -> None:
    """Both scores of each image; ranks make them comparable."""
    st.subheader("Both scores", anchor=False)
    lake = np.array([score.score for score in found.scores])
    ranks = [rankdata(-values, method="min").astype(int) for values in (lake, result.scores)]
    table = pd.DataFrame(
        {
            "image": [score.image.name for score in found.scores],
            "label": [example.label or "" for example in found.workspace.tests],
            LAKE: [marked(score.score, score.is_anomalous) for score in found.scores],
            title: [f"{value:.4g}" for value in result.scores],
            f"rank, {LAKE}": ranks[0],
            f"rank, {title}": ranks[1],
        }
    )
    order = np.argsort(-np.abs(ranks[0] - ranks[1]), kind="stable")
    st.dataframe(table.iloc[order], hide_index=True, height=260, alt=f"Scores and ranks by LAKE and by {title}")
    st.caption("Rank 1 is the most anomalous image. Images that the two rank most differently come first.")
