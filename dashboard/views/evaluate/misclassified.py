"""The images that one run of an evaluation misclassified, and the way from each to its score decomposition."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from dashboard.components import sidebar
from dashboard.components.layout import cards
from dashboard.components.pickers import see_page
from dashboard.services.images import file_image, plain_image
from dashboard.session import current
from dashboard.settings import Settings
from dashboard.text import escaped
from dashboard.workspace import Workspace, identities
from lake_core.baselines import baselines
from lake_core.data.datasets import Dataset, Example, read_example
from lake_core.data.folders import index_folder
from lake_core.data.images import InputImage
from lake_core.errors import LakeError
from lake_core.evaluation.report import EvaluationReport

N_WRONG, CARD = 12, 240
CHANGES: dict[str, dict[str, Any]] = {
    "random": {"criterion": "random"},
    "all": {"criterion": "all"},
    "visual": {"fusion_weight": 0.0},
    "text": {"fusion_weight": 1.0},
}
"""Of the sidebar's settings, for the method of a run."""


class Run(NamedTuple):
    """One run, as far as its images go.

    Attributes:
        report: The whole result.
        folder: Of its data set on the server; None for the workspace.
        category, method: Which one.
        normals: Names of the normal images that were learned from.
        tests: Contents and names of the workspace's test images when it was evaluated.
    """

    report: EvaluationReport
    folder: Path | None
    category: str
    method: str
    normals: Sequence[str]
    tests: Collection[str] = ()


OTHERWISE = {
    "random": " Scores here are means over several draws; Explain shows one other draw.",
    "text": " Scores here are differences of cosines; Explain shows them calibrated.",
    **{name: f" Scores here are those of {kind.title}; Explain shows LAKE's." for name, kind in baselines().items()},
}
"""What else to know of a method's scores before going to Explain."""


def show(run: Run, missed: pd.DataFrame, false_positives: pd.DataFrame) -> None:
    """False negatives and false positives, each the worst first.

    Args:
        run: Which run.
        missed, false_positives: Columns path, label and score.
    """
    if missed.empty and false_positives.empty:
        st.caption("No image is misclassified at this threshold.")
        return
    if run.folder is None:
        st.caption(
            "“Why this score?” fits on all normal images of the workspace with the sidebar's configuration, so its "
            f"score can differ.{OTHERWISE.get(run.method, '')}"
        )
    else:
        st.caption(
            "“Why this score?” opens this run: its normal images and the misclassified ones replace the images of the "
            f"workspace, and the sidebar is set to its configuration.{OTHERWISE.get(run.method, '')}"
        )
    shown = pd.concat([missed.head(N_WRONG), false_positives.head(N_WRONG)])
    for rows, title, key in (
        (missed, "False negatives", "missed"),
        (false_positives, "False positives", "false_positives"),
    ):
        st.markdown(f"**{title} ({len(rows)})**")
        if rows.empty:
            st.caption("None at this threshold.")
            continue
        places = cards(min(N_WRONG, len(rows)), 160, f"wrong_row_{key}", border=True)
        for card, path, score in zip(places, rows["path"], rows["score"], strict=False):
            with card:
                _card(run, path, score, shown["path"].tolist())
        if len(rows) > N_WRONG:
            st.caption(f"And {len(rows) - N_WRONG} more; the downloaded scores have them all.")


def _card(run: Run, path: str, score: float, shown: Sequence[str]) -> None:
    image = _image_of(run, path)
    if image is None:
        st.caption(f"{escaped(path)} · {score:.3f}. The image is no longer there.")
        return
    st.image(plain_image(image, CARD), width="stretch", alt=path)
    st.caption(f"{escaped(path)} · {score:.3f}")
    clicked = st.button("Why this score?", key=f"why_{path}", width="stretch", on_click=_open, args=(run, path, shown))
    if clicked and current().focus.image == image.sha256:
        see_page("explain")


def _open(run: Run, path: str, shown: Sequence[str]) -> None:
    """Makes the run's images and its configuration those of the session, and the image the chosen one."""
    try:
        if run.folder is not None:
            normals, tests = run_images(run.folder, run.normals, shown)
            opened, said = Workspace().with_added(Dataset(run.category, normals, tests))
            current().set_workspace(opened)
            current().say(said)
            sidebar.take(settings_of(run))
            current().is_paused = False
        image = _image_of(run, path)
    except LakeError as reason:
        current().say([str(reason)])
        return
    if image is not None:
        current().set_focus(image=image.sha256)


def run_images(
    folder: Path, normals: Sequence[str], tests: Sequence[str]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The named normal and test images of a data set.

    Raises:
        LakeError: if one of them cannot be read.
    """
    entries = {entry.name: entry for entry in index_folder(folder)}
    missing = [name for name in (*normals, *tests) if name not in entries]
    if missing:
        raise LakeError(f"{missing[0]} is no longer in {folder.name}; run the evaluation again.")
    read = {name: read_example(entries[name], keep_encoded=True) for name in (*normals, *tests)}
    return tuple(read[name] for name in normals), tuple(read[name] for name in tests)


def settings_of(run: Run) -> Settings:
    """The sidebar's settings with which a run's detector is learned again; of random neurons, one other draw."""
    report = run.report
    rows, cols = report.input_size
    config = replace(report.config, object_name=report.object_names[run.category])
    return Settings(report.model, rows if rows == cols else None, config).having(**CHANGES.get(run.method, {}))


def _image_of(run: Run, path: str) -> InputImage | None:
    """A test image of the result, or None where it is gone."""
    if run.folder is None:
        tests = current().workspace.tests
        named = (example.image for example, own in zip(tests, identities(tests), strict=True) if own in run.tests)
        return next((image for image in named if image.name == path), None)
    file = run.folder / path
    try:
        return file_image(file)
    except (OSError, LakeError):
        return None
