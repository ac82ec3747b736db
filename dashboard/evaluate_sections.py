"""Parts of the Evaluate page: table and charts of a result, one run's curves and threshold, and what it got wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import compute, evaluate_figures, state
from dashboard.evaluate_figures import METHOD_NAMES, METRIC_NAMES
from dashboard.jobs import Job
from lake_core.errors import LakeError
from lake_core.images import Picture
from lake_core.metrics import best_f1

N_WRONG, CARD = 12, 240


@dataclass(frozen=True)
class Asked:
    """What was evaluated.

    Attributes:
        name: For headings and file names.
        folders: Data set -> its folder on the server; None for the workspace.
    """

    name: str
    folders: Mapping[str, Path] | None


def show(job: Job) -> None:
    """Everything about a finished evaluation."""
    document, asked = job.result, job.asked
    st.subheader(f"Result: {asked.name}", anchor=False)
    rows, config = pd.DataFrame(document["results"]), document["config"]
    sizes = rows.drop_duplicates("category")
    layers = ", ".join(map(str, config["layers"]))
    st.caption(
        f"{document['model']}, {'layers' if len(config['layers']) > 1 else 'layer'} {layers}, {config['kind']} units, "
        f"K = {config['top_k']}, w = {config['text_weight']:g} · {sizes['n_test'].sum()} test pictures, "
        f"{sizes['n_defective'].sum()} of them defective · {job.seconds:.0f} s in all"
    )
    if document["problems"]:
        with st.expander(f"{len(document['problems'])} remarks"):
            st.markdown("\n".join(f"- {problem}" for problem in document["problems"]))
    summary = pd.DataFrame(document["summary"])
    if summary["category"].nunique() == 2:  # the mean over one category is that category
        summary = summary[summary["category"] != "mean"]
    charts(summary)
    one_run(document, asked)
    downloads(document, asked)


def charts(summary: pd.DataFrame) -> None:
    """The table, and the methods by category and by shots."""
    there = [metric for metric in METRIC_NAMES if summary[f"{metric}_mean"].notna().any()]
    if not there:
        st.info("Without both good and defective test pictures there is nothing to measure.", icon=":material/info:")
        return
    metric = st.segmented_control(
        "Measure", there, default=there[0], required=True, format_func=METRIC_NAMES.__getitem__, key="metric"
    )
    st.dataframe(table_of(summary, metric), hide_index=True, alt=f"{METRIC_NAMES[metric]} of each method")
    st.caption(
        "± is the deviation over seeds; the interval is a 95 % bootstrap over test pictures."
        if metric == "image_auroc"
        else "± is the deviation over seeds."
    )
    all_shots = sorted(set(summary["shots"]))
    left, right = st.columns(2)
    with left:
        shots = all_shots[-1]
        if len(all_shots) > 1:
            shots = st.segmented_control(
                "Normal pictures", all_shots, default=all_shots[-1], required=True, key="chart_shots"
            )
        st.plotly_chart(
            evaluate_figures.by_category(summary[summary["shots"] == shots], metric),
            key="by_category",
            config={"displayModeBar": False},
            alt=f"{METRIC_NAMES[metric]} of each method by category, {shots} normal pictures",
        )
    with right:
        names = list(dict.fromkeys(summary["category"]))
        category = names[-1]
        if len(names) > 1:
            category = st.selectbox("Category", names, index=len(names) - 1, key="chart_category")
        if len(all_shots) > 1:
            st.plotly_chart(
                evaluate_figures.by_shots(summary[summary["category"] == category], metric),
                key="by_shots",
                config={"displayModeBar": False},
                alt=f"{METRIC_NAMES[metric]} of each method by the number of normal pictures, {category}",
            )
        else:
            st.caption("Choose several numbers of normal pictures to see what more of them are worth.")


def table_of(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per category, shots and method."""
    table = pd.DataFrame(
        {
            "category": summary["category"],
            "shots": summary["shots"],
            "method": summary["method"].map(METHOD_NAMES),
            METRIC_NAMES[metric]: [
                "–" if pd.isna(mean) else f"{mean:.3f} ± {std:.3f}"
                for mean, std in zip(summary[f"{metric}_mean"], summary[f"{metric}_std"], strict=True)
            ],
        }
    )
    if metric == "image_auroc":
        bounds = zip(summary["image_auroc_low"], summary["image_auroc_high"], strict=True)
        table["95 % interval"] = ["–" if pd.isna(low) else f"{low:.3f} to {high:.3f}" for low, high in bounds]
    return table


def one_run(document: Mapping[str, Any], asked: Asked) -> None:
    """One category, shots, seed and method: curves, threshold, confusion matrix, and what is wrong."""
    st.subheader("One run, picture by picture", anchor=False)
    scores = pd.DataFrame(document["scores"])
    if scores.empty:
        st.caption("There are no scores to show.")
        return
    chosen = scores
    row = st.container(horizontal=True)
    for column, title, width in (
        ("category", "Data set", 190),
        ("shots", "Normal pictures", 150),
        ("seed", "Seed", 100),
        ("method", "Method", 250),
    ):
        options = list(dict.fromkeys(chosen[column]))
        if len(options) > 1:
            key = f"run_{column}"
            if st.session_state.get(key) not in options:
                st.session_state[key] = options[-1] if column == "shots" else options[0]
            with row:
                value = st.selectbox(
                    title, options, key=key, width=width, format_func=lambda one: METHOD_NAMES.get(one, str(one))
                )
            chosen = chosen[chosen[column] == value]
    labels, values = (chosen["label"] == "defective").to_numpy(), chosen["score"].to_numpy(float)
    best = best_f1(labels, values)
    if best is None:
        st.info("This data set has test pictures of one label only, so there is no curve.", icon=":material/info:")
        return
    what = "_".join(str(chosen[column].iloc[0]) for column in ("category", "shots", "seed", "method"))
    threshold = st.slider(
        "Threshold",
        float(np.floor(values.min() * 100) / 100),
        float(np.ceil(values.max() * 100) / 100) + 0.01,
        float(np.floor(best.threshold * 1000) / 1000),
        step=0.001,
        format="%.3f",
        key=f"threshold_{what}_{len(values)}_{values.sum():.4f}",
        help="At first the one with the best F1 on these very labels: it has seen the answers, so it flatters.",
    )
    found = evaluate_figures.counts(labels, values, threshold)
    left, right = st.columns([2, 1])
    with left:
        st.plotly_chart(
            evaluate_figures.curves(labels, values, threshold),
            key="curves",
            config={"displayModeBar": False},
            alt="ROC curve and precision-recall curve, the threshold marked on both",
        )
    with right:
        st.plotly_chart(
            evaluate_figures.confusion(found),
            key="confusion",
            config={"displayModeBar": False},
            alt=f"{found.found} defects found, {found.missed} missed, {found.false_alarms} false alarms, "
            f"{found.passed} good pictures passed",
        )
        st.caption(
            f"Of {found.found + found.missed} defective pictures **{found.found} found, {found.missed} missed**; of "
            f"{found.false_alarms + found.passed} good ones **{found.false_alarms} false alarms**."
        )
    st.plotly_chart(
        evaluate_figures.score_strip(labels, values, chosen["path"].tolist(), threshold),
        key="strip",
        config={"displayModeBar": False},
        alt="Scores of good and defective test pictures with the threshold",
    )
    above = values >= threshold
    wrong(chosen[labels & ~above].sort_values("score"), "Missed defects", asked)
    wrong(chosen[~labels & above].sort_values("score", ascending=False), "False alarms", asked)


def wrong(rows: pd.DataFrame, title: str, asked: Asked) -> None:
    """Pictures on the wrong side of the threshold, the worst first."""
    st.markdown(f"**{title} ({len(rows)})**")
    if rows.empty:
        st.caption("None at this threshold.")
        return
    with st.container(horizontal=True, key=f"wrong_row_{title.split()[0].lower()}"):
        cards = [st.container(border=True, width=184) for _ in range(min(N_WRONG, len(rows)))]
    for card, row in zip(cards, rows.to_dict("records"), strict=False):
        with card:
            picture = picture_of(asked, row["category"], row["path"])
            if picture is None:
                st.caption("The picture is no longer there.")
            else:
                st.image(compute.plain_picture(picture.sha256, CARD, picture), width="stretch", alt=row["path"])
            st.caption(f"{row['path']} · {row['score']:.3f}")
            if picture is None or asked.folders is not None:
                continue
            if st.button("Why this score?", key=f"open_{title}_{picture.sha256}", width="stretch"):
                state.set_focus(picture=picture.sha256)
                st.switch_page(st.session_state.pages["split"])
    if len(rows) > N_WRONG:
        st.caption(f"And {len(rows) - N_WRONG} more; all are in the downloaded scores.")


def picture_of(asked: Asked, category: str, path: str) -> Picture | None:
    """A test picture of the result, or None where it is gone."""
    if asked.folders is None:
        pictures = (example.picture for example in state.workspace().tests)
        return next((picture for picture in pictures if picture.name == path), None)
    file = asked.folders[category] / path
    try:
        return compute.file_picture(file, file.stat().st_mtime_ns)
    except (OSError, LakeError):
        return None


def downloads(document: Mapping[str, Any], asked: Asked) -> None:
    """The result as files."""
    name = asked.name.split(",")[0].replace(" ", "_")
    with st.container(horizontal=True):
        for label, data, ending, mime in (
            ("Results (CSV)", pd.DataFrame(document["results"]).to_csv(index=False), "results.csv", "text/csv"),
            ("Scores (CSV)", pd.DataFrame(document["scores"]).to_csv(index=False), "scores.csv", "text/csv"),
            ("Everything (JSON)", json.dumps(document, indent=1), "evaluation.json", "application/json"),
        ):
            st.download_button(
                label, data, file_name=f"{name}_{ending}", mime=mime, icon=":material/download:", on_click="ignore"
            )
