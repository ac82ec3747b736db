"""All baselines beside LAKE on the session's images: how well each separates good from defective ones."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.pickers import see_page
from dashboard.components.progress import computed_beside
from dashboard.services.analysis import Analysis
from dashboard.services.baselines import baseline_key, baseline_scores
from dashboard.services.cache import results
from dashboard.views.compare.baselines import auroc_cells
from dashboard.words import METHOD_NAMES
from lake_core.baselines import baselines
from lake_core.experiments.comparison import auroc_difference
from lake_core.types import Progress


def beside_baselines(found: Analysis) -> None:
    """A table of LAKE and every baseline that the backbone can serve."""
    if not found.labelled.has_both:
        st.info("Label good and defective test images to see how well each method separates them.")
        return
    names = [name for name, kind in baselines().items() if kind.why_not(found.lake.backbone) is None]
    keys = tuple(baseline_key(found, name) for name in names)

    def work(report: Progress) -> dict[str, np.ndarray]:
        made = {}
        for name, key in zip(names, keys, strict=True):
            one = results().get(key) or baseline_scores(found, name, report)
            results().put(key, one)
            made[name] = one.scores
        return made

    scores = computed_beside(("all baselines", keys), "Baselines", work)
    if scores is None:
        return
    is_labelled = [label is not None for label in found.known_labels]
    st.dataframe(
        _table(found, {name: values[is_labelled] for name, values in scores.items()}),
        hide_index=True,
        alt="Image AUROC of LAKE and of the baselines",
    )
    st.caption(
        "Published methods rebuilt on this backbone, with its layers and these normal images, but all neurons. "
        "Intervals are over test images; the difference is on the same bootstrap draws for both. Where its interval "
        "includes 0, these images cannot tell which is better."
    )
    if st.button("See their maps on Compare", icon=":material/compare:"):
        see_page("compare")


def _table(found: Analysis, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per method; scores (n_labelled,)."""
    labels, own = np.array(found.labelled.labels, dtype=bool), np.array(found.labelled.scores)
    rows = []
    for name, values in {"lake": own, **scores}.items():
        difference = auroc_difference(labels, own, values)
        row = {"method": METHOD_NAMES[name], **auroc_cells(labels, values), "LAKE less this": "–"}
        if name != "lake" and difference is not None:
            low, high = difference.bounds
            row["LAKE less this"] = f"{difference.value:+.3f} ({low:+.3f} to {high:+.3f})"
        rows.append(row)
    return pd.DataFrame(rows)
