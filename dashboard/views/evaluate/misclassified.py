"""The images that one run of an evaluation misclassified, and the way from each to its score decomposition."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from dashboard import session
from dashboard.components import sidebar
from dashboard.services import compute
from dashboard.session import Settings
from dashboard.text import escaped
from lake_core.data.datasets import Dataset, Example, read_example
from lake_core.data.folders import index_folder
from lake_core.data.images import InputImage
from lake_core.errors import LakeError
from lake_core.evaluation.report import EvaluationReport
from lake_core.prompts import PromptEnsemble

N_WRONG, CARD = 12, 240


class Run(NamedTuple):
    """One run, as far as its images go.

    Attributes:
        report: The whole result.
        folder: Of its data set on the server; None for the workspace.
        category, method: Which one.
        normals: Names of the normal images that were learned from.
    """

    report: EvaluationReport
    folder: Path | None
    category: str
    method: str
    normals: Sequence[str]


def show(run: Run, missed: pd.DataFrame, false_positives: pd.DataFrame) -> None:
    """Missed defects and false positives, each the worst first.

    Args:
        run: Which run.
        missed, false_positives: Columns path, label and score.
    """
    if missed.empty and false_positives.empty:
        st.caption("At this threshold no image is on the wrong side.")
        return
    if run.folder is None:
        st.caption("“Why this score?” learns from all normal images of the workspace, so its score can differ.")
    else:
        st.caption(
            "“Why this score?” opens this run: its normal images and the wrong ones shown here come into the "
            "workspace, in place of the images there now, and the sidebar is set as it was."
        )
    shown = pd.concat([missed.head(N_WRONG), false_positives.head(N_WRONG)])
    for rows, title, key in (
        (missed, "Missed defects", "missed"),
        (false_positives, "False positives", "false_positives"),
    ):
        st.markdown(f"**{title} ({len(rows)})**")
        if rows.empty:
            st.caption("None at this threshold.")
            continue
        with st.container(horizontal=True, key=f"wrong_row_{key}"):
            cards = [st.container(border=True, width=160) for _ in range(min(N_WRONG, len(rows)))]
        for card, path, score in zip(cards, rows["path"], rows["score"], strict=False):
            with card:
                _card(run, path, score, shown["path"].tolist())
        if len(rows) > N_WRONG:
            st.caption(f"And {len(rows) - N_WRONG} more; all are in the downloaded scores.")


def _card(run: Run, path: str, score: float, shown: Sequence[str]) -> None:
    image = _image_of(run, path)
    if image is None:
        st.caption(f"{escaped(path)} · {score:.3f}. The image is no longer there.")
        return
    st.image(compute.plain_image(image.sha256, CARD, image), width="stretch", alt=path)
    st.caption(f"{escaped(path)} · {score:.3f}")
    clicked = st.button("Why this score?", key=f"why_{path}", width="stretch", on_click=_open, args=(run, path, shown))
    if clicked and session.focus().image == image.sha256:
        st.switch_page(st.session_state.pages["score_decomposition"])


def _open(run: Run, path: str, shown: Sequence[str]) -> None:
    """Makes the run's images and its configuration those of the session, and the image the chosen one."""
    try:
        if run.folder is not None:
            normals, tests = run_images(run.folder, run.normals, shown)
            opened, said = session.Workspace().with_added(Dataset(run.category, normals, tests))
            session.set_workspace(opened)
            session.say(said)
            sidebar.take(settings_of(run))
            st.session_state.paused = False
        image = _image_of(run, path)
    except LakeError as error:
        session.say([str(error)])
        return
    if image is not None:
        session.set_focus(image=image.sha256)


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
    read = {name: read_example(entries[name]) for name in (*normals, *tests)}
    return tuple(read[name] for name in normals), tuple(read[name] for name in tests)


def settings_of(run: Run) -> Settings:
    """The sidebar's settings with which a run's detector is learned again; of random neurons, one other draw."""
    report, config = run.report, run.report.config
    rows, cols = report.input_size
    settings = Settings(
        spec=report.model,
        image_size=rows if rows == cols else None,
        layers=config.layers,
        site=config.site,
        top_k=config.top_k,
        criterion=config.criterion,
        fusion_weight=config.fusion_weight,
        object_name=report.object_names[run.category],
        normalise=config.normalise,
        smooth=config.smooth,
        top_q=config.top_q,
        prompts=None if config.prompts == PromptEnsemble() else config.prompts,
    )
    changes: dict[str, dict[str, Any]] = {
        "random": {"criterion": "random"},
        "all": {"criterion": "all"},
        "visual": {"fusion_weight": 0.0},
        "text": {"fusion_weight": 1.0},
    }
    return replace(settings, **changes.get(run.method, {}))


def _image_of(run: Run, path: str) -> InputImage | None:
    """A test image of the result, or None where it is gone."""
    if run.folder is None:
        images = (example.image for example in session.workspace().tests)
        return next((image for image in images if image.name == path), None)
    file = run.folder / path
    try:
        return compute.file_image(file, file.stat().st_mtime_ns)
    except (OSError, LakeError):
        return None
