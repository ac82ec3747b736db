"""The account on the Score decomposition page: the clickable map, the numbers of a place, and its nearest normal
patch."""

import time
from typing import TypeAlias

import numpy as np
import streamlit as st

from dashboard.components.layout import chart
from dashboard.components.legends import score_legend
from dashboard.components.pickers import clicked_data
from dashboard.components.tables import metrics
from dashboard.plots import decomposition
from dashboard.plots.maps import clickable_map
from dashboard.services.analysis import Analysis
from dashboard.services.images import nearest_normal, score_image
from dashboard.session import Region, ShownPatch, current
from dashboard.words import verdict
from lake_core.detector.result import ImageResult
from lake_core.visualization.crops import crop_with_box

MAP_SIDE, CROP = 720, 200
ECHO_SECONDS = 2

Where: TypeAlias = int | list[int] | None
"""What an account is of: the image score (None), one patch, or the mean over a region's patches."""


# Where ---------------------------------------------------------------------------------------------------------------


def chosen_where(score: ImageResult) -> Where:
    """What the user chose on the map of this image, if it still is on the image."""

    def on_image(patch: int) -> bool:
        return 0 <= patch < score.map.size and bool(score.patch_scores.inside[patch])

    here = current()
    region, patch = here.region, here.focus.patch
    if region.image == score.image.sha256 and region.patches and all(map(on_image, region.patches)):
        return list(region.patches)
    if patch is not None and not on_image(patch):
        here.set_focus(patch=None)
        return None
    return patch


def choose_place(key: str, sha256: str) -> None:
    """Takes a click or a brushed region into the selection; one that was merely reset is ignored."""
    patches = [int(clicked[0]) for clicked in clicked_data(key)]
    if len(patches) == 1:
        current().choose_patch(patches[0])
    elif patches:
        current().region = Region(sha256, tuple(sorted(set(patches))))


def forget_place() -> None:
    current().choose_patch(None)


def clickable(found: Analysis, score: ImageResult, where: Where) -> None:
    """The image with its map; a click chooses a patch, a brush a region."""
    image, grid = score.image, score.patch_scores.grid
    brush = st.toggle("Brush a region", key="brush", help="Draw a box to decompose the mean over its patches.")
    jpeg = score_image(found, score, MAP_SIDE)
    key = f"map_{image.sha256[:12]}_{brush}"
    marked = where if isinstance(where, list) else [score.patch if where is None else where]
    figure = clickable_map(jpeg, image.size, grid, score.patch_scores.placement, score.map.ravel(), marked)
    if brush:
        figure.update_layout(dragmode="select")
    chart(
        figure,
        key,
        f"{image.name} with its score map; choose a patch by a click, or by its row and column below.",
        on_select=lambda: choose_place(key, image.sha256),
        selection_mode=("points", "box") if brush else "points",
    )
    score_legend(found)
    if brush:
        st.button("Max-scoring patch", on_click=forget_place, disabled=where is None)
        return
    patch = where if isinstance(where, int) else score.patch
    st.session_state.patch_row, st.session_state.patch_col = patch // grid.cols + 1, patch % grid.cols + 1
    here = current()
    if here.shown_patch.patch != patch:
        here.shown_patch = ShownPatch(patch, here.shown_patch.patch, time.monotonic())

    def by_number() -> None:
        chosen = (st.session_state.patch_row - 1) * grid.cols + st.session_state.patch_col - 1
        _, before, since = here.shown_patch
        # A browser that has not drawn yet where the max-scoring patch has moved sends back where it was.
        if where is None and chosen == before and time.monotonic() - since < ECHO_SECONDS:
            return
        here.choose_patch(chosen)

    row = st.container(horizontal=True, vertical_alignment="bottom")
    row.number_input("Row", 1, grid.rows, key="patch_row", on_change=by_number, width=130)
    row.number_input("Column", 1, grid.cols, key="patch_col", on_change=by_number, width=130)
    row.button("Max-scoring patch", on_click=forget_place, disabled=where is None, width="stretch")


def waterfall(found: Analysis, score: ImageResult, where: Where) -> None:
    """The value as numbers and as a waterfall from 0."""
    contributions, weight = score.contributions(where), score.fusion_weight
    total = float(contributions["contribution"].sum())
    patch_scores, patches = score.patch_scores, score.patches if where is None else np.atleast_1d(where)
    visual = float(patch_scores.visual[patches].mean())
    text_part = 0.0 if patch_scores.text is None else float(patch_scores.text[patches].mean())
    if where is None:
        what, beneath = "Image score", verdict(score)
    elif isinstance(where, list):
        what, beneath = f"Mean of {len(where)} patches", None
    else:
        what, beneath = f"Patch {where}", None
    cells, shown = [(what, f"{total:.3f}", beneath)], decomposition.parts_of(contributions, total)
    for name, share, part, key in (("Visual", 1 - weight, visual, "visual"), ("Text", weight, text_part, "text")):
        cells.append((name, f"{part:.3f}", f"× {share:.2f} = {shown.get(key, 0.0):.3f}"))
    metrics(cells)
    layers = list(found.lake.selection_)
    unfolded = st.segmented_control(
        "Show the neurons of a layer", layers, key=f"unfolded_{layers}", format_func=lambda one: f"layer {one}"
    )
    steps = decomposition.steps_of(contributions, total, unfolded)
    st.plotly_chart(
        decomposition.waterfall(steps, total, score.threshold),
        key="waterfall",
        alt=f"{what} {total:.3f} as the sum of its visual and text parts",
    )
    with st.expander("As a table"):
        st.dataframe(
            decomposition.step_table(steps, total),
            hide_index=True,
            column_config={name: st.column_config.NumberColumn(format="%.3f") for name in ("contribution", "so far")},
            alt=f"The steps from 0 to {total:.3f}",
        )
    probability = score.patch_scores.image_probability
    if probability is not None:
        st.caption(
            f"Not part of the score: the whole image's zero-shot probability of “anomalous” is {probability:.0%}."
        )


def nearest(found: Analysis, score: ImageResult, where: Where) -> None:
    """The patch beside its nearest normal patch in the layer that counts most, at a glance."""
    patch = where if isinstance(where, int) else score.patch
    items = score.evidence(patch)
    if not items:
        return
    item = max(items, key=lambda one: one.distance / one.tau)
    here = found.lake.backbone.layer(item.layer).grid.box(item.patch, score.patch_scores.placement, score.image.size)
    pairs = (
        ("max-scoring patch" if patch == score.patch else "this patch", score.image, here),
        (f"nearest normal patch, layer {item.layer}", *nearest_normal(found.lake, item)),
    )
    with st.container(horizontal=True):
        for title, image, box in pairs:
            st.image(
                crop_with_box(image, box, context=5, side=CROP),
                caption=title,
                width=170,
                alt=f"{title} in {image.name}, enlarged",
                output_format="JPEG",
            )
