"""Parts of the Evaluate page: table and charts of a result, one run's curves and threshold, and what it got wrong."""

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard.components.layout import chart
from dashboard.components.pickers import pick_one
from dashboard.plots import evaluate
from dashboard.plots.evaluate import METRIC_NAMES
from dashboard.services.jobs import EvaluationRequest, Job
from dashboard.text import escaped
from dashboard.views.evaluate import misclassified
from dashboard.words import METHOD_NAMES, SITE_NAMES, k_words
from lake_core.evaluation.report import MEAN, EvaluationReport
from lake_core.metrics.decision import counts, is_anomalous
from lake_core.metrics.image_metrics import best_f1
from lake_core.sentences import quantity
from lake_core.tables import csv_of

INTERVALS = (
    "± is the standard deviation over random seeds. The 95% interval is a bootstrap over test images and seeds; with "
    "one seed, that of the image AUROC is Newcombe's, in which the choice of normal images is not."
)


def show(job: Job) -> None:
    """Everything about a finished evaluation."""
    report: EvaluationReport = job.result
    asked: EvaluationRequest = job.asked
    st.subheader(f"Result: {escaped(asked.name)}", anchor=False)
    rows, config = pd.DataFrame(report.rows("results")), report.config
    sizes = rows.drop_duplicates("category")
    layers = ", ".join(map(str, config.layers))
    st.caption(
        f"{escaped(report.model)}, {'layers' if len(config.layers) > 1 else 'layer'} {layers}, "
        f"{SITE_NAMES[config.site]} neurons, K = {k_words(config)}, w = {config.fusion_weight:g} · "
        f"{quantity(int(sizes['n_test'].sum()), 'test image')}, {sizes['n_defective'].sum()} of them defective · "
        f"{job.seconds:.0f} s in all"
    )
    if report.problems:
        with st.expander(quantity(len(report.problems), "remark")):
            st.markdown("\n".join(f"- {escaped(problem)}" for problem in report.problems))
    summary = pd.DataFrame(report.rows("summary"))
    if summary["category"].nunique() == 2:  # the mean over one category is that category
        summary = summary[summary["category"] != MEAN]
    charts(summary, job.number)
    if asked.folders is None:
        st.caption(
            "Each run learns from as many normal images as the table says, Results from all of them: figures and "
            "thresholds differ."
        )
    one_run(report, asked, job.number)
    downloads(report, asked)


def charts(summary: pd.DataFrame, number: int) -> None:
    """The table, and the methods by category and by shots."""
    there = [metric for metric in METRIC_NAMES if summary[f"{metric}_mean"].notna().any()]
    if not there:
        st.info("Metrics need both good and defective test images.", icon=":material/info:")
        return
    metric = pick_one("Metric", {metric: METRIC_NAMES[metric] for metric in there}, f"metric_{number}")
    st.dataframe(table_of(summary, metric), hide_index=True, alt=f"{METRIC_NAMES[metric]} of each method")
    st.caption(INTERVALS)
    if metric == "pointing_game":
        chance = summary["pointing_chance_mean"].dropna().round(3)
        st.caption(
            "The share of defective images whose max-scoring patch touches the mask. A patch drawn at random does in "
            f"{chance.min():.1%} to {chance.max():.1%} of them, by category and grid."
        )
    all_shots = sorted(set(summary["shots"]))
    left, right = st.columns(2)
    with left:
        shots = all_shots[-1]
        if len(all_shots) > 1:
            shots = pick_one("Normal images", all_shots, f"chart_shots_{number}", all_shots[-1])
        chart(
            evaluate.by_category(summary[summary["shots"] == shots], metric),
            "by_category",
            f"{METRIC_NAMES[metric]} of each method by category, {quantity(shots, 'normal image')}",
        )
    with right:
        names = list(dict.fromkeys(summary["category"]))
        category = names[-1]
        if len(names) > 1:
            category = st.selectbox("Category", names, index=len(names) - 1, key=f"chart_category_{number}")
        if len(all_shots) > 1:
            chart(
                evaluate.by_shots(summary[summary["category"] == category], metric),
                "by_shots",
                f"{METRIC_NAMES[metric]} of each method by the number of normal images, {category}",
            )
        else:
            st.caption("Evaluate several numbers of normal images to see what more of them are worth.")


def table_of(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per category, shots and method; a single category, which the heading names, has no column."""
    table = pd.DataFrame(
        {
            "category": summary["category"],
            "shots": summary["shots"],
            "method": summary["method"].map(METHOD_NAMES),
            METRIC_NAMES[metric]: [
                "–" if pd.isna(mean) else f"{mean:.3f}" if pd.isna(std) else f"{mean:.3f} ± {std:.3f}"
                for mean, std in zip(summary[f"{metric}_mean"], summary[f"{metric}_std"], strict=True)
            ],
        }
    )
    bounds = zip(summary[f"{metric}_low"], summary[f"{metric}_high"], strict=True)
    table["95% interval"] = ["–" if pd.isna(low) else f"{low:.3f} to {high:.3f}" for low, high in bounds]
    return table if len(set(table["category"])) > 1 else table.drop(columns="category")


def in_few_digits(scores: np.ndarray, threshold: float) -> tuple[float, int]:
    """The threshold rounded to as few digits, and their number, as leave each decision on the scores as it is."""
    for digits in range(3, 7):
        rounded = round(threshold, digits)
        if np.array_equal(is_anomalous(scores, rounded), is_anomalous(scores, threshold)):
            return rounded, digits
    return threshold, 6


def one_run(report: EvaluationReport, asked: EvaluationRequest, number: int) -> None:
    """One category, shots, seed and method: curves, threshold, confusion matrix, and what is wrong."""
    st.subheader("One run in detail", anchor=False)
    scores = pd.DataFrame(report.rows("scores"))
    if scores.empty:
        st.caption("There are no scores to show.")
        return
    chosen = _picked_run(scores, number)
    labels, values = (chosen["label"] == "defective").to_numpy(), chosen["score"].to_numpy(float)
    best = best_f1(labels, values)
    if best is None:
        st.info("This data set has test images of one label only, so there is no curve.", icon=":material/info:")
        return
    category, shots, seed, method = (chosen[column].iloc[0] for column in ("category", "shots", "seed", "method"))
    names = report.normals_of(category, shots, seed)
    with st.expander(f"Fitted on {quantity(len(names), 'normal image')}"):
        st.markdown("\n".join(f"- {escaped(name)}" for name in names))
    start, digits = in_few_digits(values, best.threshold)
    threshold = st.slider(
        "Threshold",
        min(start, float(np.floor(values.min() * 100) / 100) - 0.01),
        float(np.ceil(values.max() * 100) / 100) + 0.01,
        start,
        step=10.0**-digits,
        format=f"%.{digits}f",
        key=f"threshold_{category}_{shots}_{seed}_{method}_{number}",
        help="By default the one with the best F1 on these labels. It uses the answers, so the result is optimistic.",
    )
    _at_threshold(labels, values, chosen["path"].tolist(), threshold)
    above = is_anomalous(values, threshold)
    run = misclassified.Run(
        report, asked.folders[category] if asked.folders is not None else None, category, method, names, asked.tests
    )
    misclassified.show(
        run, chosen[labels & ~above].sort_values("score"), chosen[~labels & above].sort_values("score", ascending=False)
    )


def _picked_run(scores: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows of one category, shots, seed and method; only what has several values is asked for."""
    chosen = scores
    row = st.container(horizontal=True)
    for column, title, width in (
        ("category", "Data set", 190),
        ("shots", "Normal images", 150),
        ("seed", "Seed", 100),
        ("method", "Method", 250),
    ):
        options = list(dict.fromkeys(chosen[column]))
        if len(options) > 1:
            with row:
                value = st.selectbox(
                    title,
                    options,
                    len(options) - 1 if column == "shots" else 0,
                    key=f"run_{column}_{number}",
                    width=width,
                    format_func=lambda one: METHOD_NAMES.get(one, str(one)),
                )
            chosen = chosen[chosen[column] == value]
    return chosen


def _at_threshold(labels: NDArray[np.bool_], values: NDArray[np.float64], paths: list[str], threshold: float) -> None:
    """Curves, confusion matrix and scores of one run, with the threshold in each."""
    found = counts(labels, values, threshold)
    left, right = st.columns([2, 1])
    with left:
        figure = evaluate.curves(labels, values, threshold)
        chart(figure, "curves", "ROC curve and precision-recall curve, the threshold marked on both")
    with right:
        chart(
            evaluate.confusion(found),
            "confusion",
            f"{found.true_positives} true positives, {found.false_negatives} false negatives, "
            f"{found.false_positives} false positives, {found.true_negatives} true negatives",
        )
        st.caption(
            f"Of {found.true_positives + found.false_negatives} defective images **{found.true_positives} found, "
            f"{found.false_negatives} missed**; of {found.false_positives + found.true_negatives} good ones "
            f"**{found.false_positives} false positives**."
        )
    strip = evaluate.score_strip(labels, values, paths, threshold)
    chart(strip, "strip", "Scores of good and defective test images with the threshold")


def downloads(report: EvaluationReport, asked: EvaluationRequest) -> None:
    """The result as files."""
    name = asked.name.split(",")[0].replace(" ", "_")
    with st.container(horizontal=True):
        for label, data, ending, mime in (
            ("Results (CSV)", csv_of(pd.DataFrame(report.rows("results"))), "results.csv", "text/csv"),
            ("Scores (CSV)", csv_of(pd.DataFrame(report.rows("scores"))), "scores.csv", "text/csv"),
            ("Everything (JSON)", report.to_json(), "evaluation.json", "application/json"),
        ):
            st.download_button(
                label, data, file_name=f"{name}_{ending}", mime=mime, icon=":material/download:", on_click="ignore"
            )
