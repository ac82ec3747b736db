"""Parts of the Compare page: numbers, scores against scores, maps side by side, neurons in common, and costs."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.layout import cards, chart
from dashboard.components.legends import legend
from dashboard.components.pickers import clicked_data, see_page
from dashboard.plots import compare
from dashboard.services import configurations
from dashboard.services.analysis import Analysis
from dashboard.services.configurations import LETTERS
from dashboard.services.images import plain_image, score_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import LABEL_NAMES, verdict
from lake_core.errors import LakeError
from lake_core.experiments.comparison import Difference, auroc_difference, overlaps
from lake_core.metrics.auroc_interval import auroc_interval
from lake_core.sentences import quantity

CARD = 320


def in_numbers(analyses: list[Analysis], names: list[str]) -> None:
    """Each configuration's threshold, decisions and, with labels, how well it separates."""
    rows = []
    for letter, name, found in zip(LETTERS, names, analyses, strict=False):
        above = np.array([score.is_anomalous for score in found.scores])
        row: dict[str, object] = {"configuration": f"{letter} · {name}", "threshold": f"{found.lake.threshold_:.3f}"}
        row["above threshold"] = f"{above.sum()} of {len(above)}"
        known = found.labelled
        if known.has_both:
            row["true-positive rate"], row["false-positive rate"] = known.counts()
            bounds = auroc_interval(known.labels, known.scores)
            if bounds is not None:
                row["image AUROC"] = f"{found.auroc:.3f}"
                row["95% interval"] = f"{bounds.low:.3f} to {bounds.high:.3f}"
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={"configuration": st.column_config.TextColumn(width="medium")},
        alt="Thresholds, decisions and AUROC of each configuration",
    )
    if current().own_threshold is not None:
        st.caption(
            "The threshold that you set on Results is not used here: each configuration has that of its normal images."
        )
    n_labelled, n_tests = len(analyses[0].labelled.labels), len(analyses[0].scores)
    if not analyses[0].labelled.has_both:
        st.caption("Label good and defective test images to see AUROC, true-positive and false-positive rates too.")
    elif n_labelled < n_tests:
        st.caption(f"Rates and AUROC are over the {n_labelled} of {n_tests} test images that are labelled.")
    if any(settings.config.criterion == "random" for settings in current().configurations):
        st.caption("“Random” is a single draw of random neurons; the page Selection compares with 99.")


def difference_sentence(difference: Difference, first: str, second: str) -> str:
    low, high = difference.bounds
    says = (
        f"AUROC of {first} minus that of {second}: **{difference.value:+.3f}** (95% interval {low:+.3f} to "
        f"{high:+.3f}, bootstrap, the same images for both). "
    )
    if low > 0 or high < 0:
        return says + f"So {first if low > 0 else second} separates better on these images."
    return says + "The interval includes 0: these images cannot tell which is better."


def choose_image(key: str) -> None:
    """Takes a click on a point into the shared selection; normal images have no page of their own."""
    clicked = clicked_data(key)
    if clicked and clicked[0][1]:
        current().set_focus(image=str(clicked[0][1]))


def scores(first: Analysis, second: Analysis, letters: tuple[str, str]) -> None:
    """Scores against scores, and which decisions differ."""
    st.subheader("Scores against scores", anchor=False)
    tests = [
        (e.image.name, e.image.sha256, e.label or "none", a.score, b.score)
        for e, a, b in zip(first.workspace.tests, first.scores, second.scores, strict=True)
    ]
    normals = [
        (image.name, "", "normal", float(a), float(b))
        for image, a, b in zip(first.lake.normals_, first.lake.normal_scores_, second.lake.normal_scores_, strict=True)
    ]
    points = pd.DataFrame([*tests, *normals], columns=["name", "sha256", "mark", "x", "y"])
    thresholds = first.lake.threshold_, second.lake.threshold_
    percentile = first.lake.config.calibration_percentile
    key = f"scatter_{letters[0]}{letters[1]}_{thresholds[0]:.6f}_{thresholds[1]:.6f}"
    left, right = st.columns([1.2, 1])
    with left:
        chart(
            compare.scores_against_scores(points, letters, thresholds, percentile),
            key,
            f"Score of each image with {letters[0]} and with {letters[1]}, and both thresholds",
            on_select=lambda: choose_image(key),
            selection_mode="points",
        )
        st.caption(
            "In the shaded quadrants the two decide differently. Click a test image to see its maps first below."
        )
    with right:
        changed = [a.is_anomalous != b.is_anomalous for a, b in zip(first.scores, second.scores, strict=True)]
        n, n_tests = sum(changed), len(changed)
        st.markdown(
            f"**{n} of {n_tests}** test images are decided differently by {letters[0]} and {letters[1]}."
            if n
            else f"{letters[0]} and {letters[1]} agree on {'all ' * (n_tests > 1)}{quantity(n_tests, 'test image')}."
        )
        known = first.labelled
        if known.has_both:
            difference = auroc_difference(known.labels, known.scores, second.labelled.scores)
            if difference is not None:
                st.markdown(difference_sentence(difference, *letters))
        table = pd.DataFrame(
            {
                "differs": ["◆" if one else "" for one in changed],
                "image": [score.image.name for score in first.scores],
                "label": [example.label or "" for example in first.workspace.tests],
                letters[0]: [marked(score.score, score.is_anomalous) for score in first.scores],
                letters[1]: [marked(score.score, score.is_anomalous) for score in second.scores],
            }
        )
        table = table.iloc[np.argsort([not one for one in changed], kind="stable")]
        st.dataframe(
            table, hide_index=True, height=260, alt="Scores and decisions of both configurations, changes first"
        )
        st.caption("◆ decided differently · ▲ above, ▽ below its own threshold")


def marked(score: float, is_anomalous: bool) -> str:
    return f"{score:.3f} {'▲' if is_anomalous else '▽'}"


def maps(analyses: list[Analysis], names: list[str]) -> None:
    """The maps of all configurations, a row for each image, on one scale."""
    st.subheader("Maps side by side", anchor=False)
    scales = configurations.shared_scales(analyses)
    bare = configurations.without_threshold(scales[0])
    legend(bare, "the score maps")
    st.caption(
        "One scale for all images and configurations. A white line surrounds what is above the"
        " configuration's own threshold."
    )
    tests = analyses[0].workspace.tests
    decisions = np.array([[score.is_anomalous for score in found.scores] for found in analyses])
    changes = np.logical_and(decisions.any(axis=0), ~decisions.all(axis=0))
    relative = np.array([[s.score / max(f.lake.threshold_, 1e-9) for s in f.scores] for f in analyses])
    spread = relative.max(0) - relative.min(0)
    focused = np.array([example.image.sha256 == current().focus.image for example in tests])
    order = np.lexsort((-spread, ~changes, ~focused))
    most = min(40, len(order))
    n_shown = st.slider("Images shown", 1, most, min(4, most), key="n_compared") if most > 1 else 1
    st.caption("The chosen image first, then those decided differently, then those whose scores differ most.")
    for index in order[:n_shown]:
        example = tests[index]
        image = example.image
        with st.container(border=True):
            head = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
            note = " · ◆ decided differently" if changes[index] else ""
            head.markdown(f"**{escaped(image.name)}** · {LABEL_NAMES[example.label]}{note}")
            if head.button("Why this score?", key=f"why_{image.sha256}", type="tertiary"):
                see_page("explain", image=image.sha256)
            first, *places = cards(len(analyses) + 1, 190, f"map_row_{index}")
            with first:
                st.image(plain_image(image, CARD), width="stretch", alt=image.name)
                st.caption("the image")
            for card, letter, name, found, scale in zip(places, LETTERS, names, analyses, scales, strict=False):
                score = found.scores[index]
                with card:
                    st.image(
                        score_image(found, score, CARD, scale=scale),
                        width="stretch",
                        alt=f"{image.name} with {letter}, {name}: {score.score:.3f}, {verdict(score)}",
                    )
                    st.caption(f"**{letter}** · {score.score:.2f} {verdict(score)}")


def neurons(first: Analysis, second: Analysis, letters: tuple[str, str]) -> None:
    """The neurons that both select."""
    st.subheader(f"Shared neurons, {letters[0]} and {letters[1]}", anchor=False)
    try:
        found = overlaps(first.lake, second.lake)
    except LakeError as reason:
        st.info(escaped(str(reason)), icon=":material/info:")
        return
    chart(
        compare.neurons_in_common(found, letters),
        f"common_{letters[0]}{letters[1]}",
        "; ".join(f"layer {o.layer}: {len(o.common)} neurons in common, Jaccard {o.jaccard:.2f}" for o in found),
    )
    for overlap in found:
        st.markdown(
            f"Layer {overlap.layer}: Jaccard **{overlap.jaccard:.2f}** (common ÷ selected by either), where random "
            f"selections of these sizes out of {overlap.n_neurons} would share {overlap.by_chance:.2f}."
        )
    with st.expander("Which neurons"):
        parts = {"common": "both", "only_first": f"only {letters[0]}", "only_second": f"only {letters[1]}"}
        rows = [
            {
                "layer": overlap.layer,
                "neuron": int(neuron),
                "selected by": words,
                f"rank in {letters[0]}": first.lake.selection_[overlap.layer].rank_of(neuron),
                f"rank in {letters[1]}": second.lake.selection_[overlap.layer].rank_of(neuron),
            }
            for overlap in found
            for part, words in parts.items()
            for neuron in getattr(overlap, part)
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Selected neurons of both configurations")


def cost(analyses: list[Analysis], names: list[str]) -> None:
    """What each configuration takes in time and memory."""
    st.subheader("Cost", anchor=False)
    found = [configurations.cost(analysis) for analysis in analyses]
    letters = list(LETTERS[: len(found)])
    table = pd.DataFrame(
        {
            "forward_ms": compare.quiet([cost.forward_ms for cost in found]),
            "score_ms": [cost.score_ms for cost in found],
            "memory_bank_mib": [cost.memory_bank_bytes / 2**20 for cost in found],
        },
        index=letters,
    )
    chart(compare.costs(table), "costs", "Time per image and memory of the memory bank of each configuration")
    shown = pd.DataFrame(
        {
            "configuration": [f"{letter} · {name}" for letter, name in zip(letters, names, strict=True)],
            "network, ms per image": table["forward_ms"].to_numpy(),
            "fitting, s": [cost.fit_seconds for cost in found],
            "scoring, ms per image": table["score_ms"].to_numpy(),
            "network, MiB": [cost.weight_bytes / 2**20 for cost in found],
            "memory bank, MiB": table["memory_bank_mib"].to_numpy(),
            "activations, MiB per image": [cost.activation_bytes / 2**20 for cost in found],
        }
    )
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.2f") for name in shown.columns if name != "configuration"
        },
        alt="Time and memory of each configuration",
    )
    st.caption(
        "Measured on this server when it was computed: the network once per image; fitting and scoring from stored "
        "activations. Other work on the server at that moment makes these numbers larger."
    )
