"""The film strip: the test images by score, the shown one marked, and the normal images below."""

import base64
from pathlib import Path

import streamlit as st

from dashboard.services.analysis import Analysis
from dashboard.services.images import sprite
from dashboard.session import current
from lake_core.detector.result import ImageResult

NAME = "lake_film_strip"
JS, CSS = (Path(__file__).with_suffix(f".{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))


def after(found: Analysis, shown: ImageResult) -> ImageResult | None:
    """The image after the shown one, or None after the last."""
    order = found.by_score
    following = order[order.index(shown) + 1 :]
    return following[0] if following else None


def film_strip(found: Analysis) -> ImageResult:
    """The strip; another image chosen there becomes that of the shared selection.

    Returns:
        The result of the image that is shown.
    """
    here, order = current(), found.by_score
    shown = found.score_of(here.focus.image) or order[0]
    normals = found.lake.normals_
    drawn = sprite([*(one.image for one in order), *normals])

    def choose() -> None:
        asked = st.session_state["film_strip"].show
        if found.score_of(asked) is not None:
            current().set_focus(image=asked)

    show = st.components.v2.component(NAME, css=CSS, js=JS)
    show(
        data={
            "tests": [
                {
                    "sha256": one.image.sha256,
                    "name": one.image.name,
                    "score": f"{one.score:.2f}",
                    "is_above": bool(one.is_anomalous),
                }
                for one in order
            ],
            "normals": [
                {"name": image.name, "score": f"{score:.2f}"}
                for image, score in zip(normals, found.lake.normal_scores_, strict=True)
            ],
            "shown": shown.image.sha256,
            "threshold": f"{found.lake.threshold_:.2f}",
            "sprite": f"data:image/jpeg;base64,{base64.b64encode(drawn.jpeg).decode()}",
            "columns": drawn.columns,
            "n_rows": drawn.n_rows,
        },
        key="film_strip",
        height="content",
        on_show_change=choose,
    )
    return shown
