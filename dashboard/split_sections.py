"""Sections of the Score split page: the clickable map, its neurons, evidence, the text weight, another picture."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import components, compute, figures, split_figures, state
from dashboard.compute import Analysis
from lake_core.comparison import compare_ledgers
from lake_core.controls import separation_measure, weight_curve
from lake_core.overlays import crop_with_box, mark_box, symmetric_limit, thumbnail
from lake_core.scoring import ImageScore

MAP_SIDE, CARD, CARD_WIDTH, CROP = 720, 200, 150, 200
N_MAPS, N_NEXT = 6, 6
MEASURES = {"auroc": "image AUROC on your labels", "gap": "mean test score − mean normal score"}

Where = int | list[int] | None
"""What an account is of: the image score (None), one patch, or the mean over a region's patches."""


# Where ---------------------------------------------------------------------------------------------------------------


def chosen_place(score: ImageScore) -> Where:
    """What the user chose on the map of this picture, if it still is on the picture."""

    def on_picture(patch: int) -> bool:
        return 0 <= patch < score.map.size and bool(score.witnesses.inside[patch])

    sha256, region = st.session_state.get("region", (None, []))
    if sha256 == score.picture.sha256 and region and all(map(on_picture, region)):
        return list(region)
    patch = state.focus().patch
    if patch is not None and not on_picture(patch):
        state.set_focus(patch=None)
        return None
    return patch


def choose_place(key: str, sha256: str) -> None:
    """Takes a click or a brushed region into the selection; one that was merely reset is ignored."""
    patches = [int(point["customdata"][0]) for point in st.session_state[key].selection.points]
    if len(patches) == 1:
        state.set_focus(patch=patches[0])
        st.session_state.region = (None, [])
    elif patches:
        st.session_state.region = (sha256, sorted(set(patches)))


def forget_place() -> None:
    state.set_focus(patch=None)
    st.session_state.region = (None, [])


def clickable(found: Analysis, score: ImageScore, where: Where) -> None:
    """The picture with its map; a click chooses a patch, a brush a region."""
    picture, grid = score.picture, score.witnesses.grid
    brush = st.toggle("Brush a region", key="brush", help="Draw a box; the account is then the mean over its patches.")
    jpeg = compute.score_picture(picture.sha256, found.key, score.text_weight, found.scale, MAP_SIDE, 0.6, score)
    key = f"map_{picture.sha256[:12]}_{brush}"
    marked = where if isinstance(where, list) else [score.patch if where is None else where]
    figure = figures.clickable_map(jpeg, picture.size, grid, score.witnesses.placement, score.map.ravel(), marked)
    if brush:
        figure.update_layout(dragmode="select")
    st.plotly_chart(
        figure,
        key=key,
        on_select=lambda: choose_place(key, picture.sha256),
        selection_mode=("points", "box") if brush else "points",
        config={"displayModeBar": False},
        alt=f"{picture.name} with its score map; choose a patch by a click, or by its row and column below.",
    )
    components.score_legend(found)
    if brush:
        st.button("Deciding patch", on_click=forget_place, disabled=where is None)
        return
    patch = where if isinstance(where, int) else score.patch
    st.session_state.patch_row, st.session_state.patch_col = patch // grid.cols + 1, patch % grid.cols + 1

    def by_number() -> None:
        state.set_focus(patch=(st.session_state.patch_row - 1) * grid.cols + st.session_state.patch_col - 1)
        st.session_state.region = (None, [])

    row = st.container(horizontal=True, vertical_alignment="bottom")
    row.number_input("Row", 1, grid.rows, key="patch_row", on_change=by_number, width=130)
    row.number_input("Column", 1, grid.cols, key="patch_col", on_change=by_number, width=130)
    row.button("Deciding patch", on_click=forget_place, disabled=where is None, width="stretch")


def account(found: Analysis, score: ImageScore, where: Where) -> None:
    """The value as numbers and as a waterfall from 0."""
    ledger, weight = score.ledger(where), score.text_weight
    total = float(ledger["contribution"].sum())
    witnesses, patches = score.witnesses, score.patches if where is None else np.atleast_1d(where)
    visual = float(witnesses.visual[patches].mean())
    cross = 0.0 if witnesses.cross_modal is None else float(witnesses.cross_modal[patches].mean())
    if where is None:
        what, beneath = "Image score", components.verdict(score)
    elif isinstance(where, list):
        what, beneath = f"Mean of {len(where)} patches", None
    else:
        what, beneath = f"Patch {where}", None
    cells = [(what, f"{total:.3f}", beneath)]
    for name, share, part in (("Visual", 1 - weight, visual), ("Cross-modal", weight, cross)):
        cells.append((name, f"{part:.3f}", f"× {share:.2f} = {share * part:.3f}"))
    components.metrics(cells)
    layers = list(found.lake.selection_)
    unfolded = st.segmented_control(
        "Unfold a layer into its neurons", layers, key=f"unfolded_{layers}", format_func=lambda one: f"layer {one}"
    )
    st.plotly_chart(
        split_figures.waterfall(split_figures.steps_of(ledger, unfolded), total, score.threshold),
        key="waterfall",
        alt=f"{what} {total:.3f} as the sum of its visual and cross-modal parts",
    )
    probability = score.witnesses.image_probability
    if probability is not None:
        st.caption(
            f"Beside it, never mixed in: the whole image's zero-shot probability of “anomalous” is {probability:.0%}."
        )


def nearest(found: Analysis, score: ImageScore, where: Where) -> None:
    """The patch beside its nearest normal patch in the layer that counts most, at a glance."""
    patch = where if isinstance(where, int) else score.patch
    items = score.evidence(patch)
    if not items:
        return
    item = max(items, key=lambda one: one.distance / one.tau)
    backbone = found.lake.backbone
    grid, normal = backbone.layer(item.layer).grid, found.lake.normals_[item.normal_picture]
    pairs = (
        ("this patch", score.picture, grid.box(item.patch, score.witnesses.placement, score.picture.size)),
        (
            f"nearest normal patch, layer {item.layer}",
            normal,
            grid.box(item.normal_patch, backbone.placement(normal), normal.size),
        ),
    )
    with st.container(horizontal=True):
        for title, picture, box in pairs:
            st.image(
                crop_with_box(picture, box, context=5, side=CROP),
                caption=title,
                width=170,
                alt=f"{title} in {picture.name}, close up",
            )


# Which neurons -------------------------------------------------------------------------------------------------------


def neurons(found: Analysis, score: ImageScore, where: Where) -> None:
    """The units that carry the visual part; a click leads to a unit, and the strongest are shown on the picture."""
    table = score.ledger(where)
    event = st.plotly_chart(
        split_figures.unit_bars(table),
        on_select="rerun",
        selection_mode="points",
        key=f"units_{score.picture.sha256[:12]}_{where}",
        alt="Contributions of the strongest neurons to the score",
    )
    code = _first_code(event)
    if code:
        layer, unit = (int(part) for part in code.split(":"))
        state.set_focus(layer=layer, unit=unit)
        if st.button(f"See neuron {unit} of layer {layer}", type="primary"):
            st.switch_page(st.session_state.pages["neurons"])
    else:
        st.caption("Click a bar to choose its neuron.")
    _strongest_maps(found, score, table)
    with st.expander("The whole ledger"):
        st.dataframe(table, hide_index=True, alt="Ledger: part, layer, unit, contribution")
        st.caption(f"{len(table)} rows that add up to {table['contribution'].sum():.4f}.")
    components.download_table(table, "ledger.csv", "Download the ledger (CSV)")


def _first_code(event: Any) -> str:
    points = event.selection.points
    code = points[0].get("customdata") if points else None
    return str((code[0] if isinstance(code, list) else code) or "")


def _strongest_maps(found: Analysis, score: ImageScore, ledger: pd.DataFrame) -> None:
    top = ledger[ledger["part"] == "visual"].nlargest(N_MAPS, "contribution")
    units = [(int(row["layer"]), int(row["unit"])) for row in top.to_dict("records")]
    store, kind, picture = found.lake.store, found.lake.config.kind, score.picture
    places = [found.lake.backbone.place(layer, kind) for layer, _ in units]
    values = [store.get(picture, place)[:, unit].numpy() for place, (_, unit) in zip(places, units, strict=True)]
    limit = symmetric_limit(values, quantile=0.999)
    st.markdown("**The strongest of them on this picture**, on one scale")
    with st.container(horizontal=True):
        cards = [st.container(width=CARD_WIDTH) for _ in units]
    for card, place, (layer, unit) in zip(cards, places, units, strict=True):
        with card:
            st.image(
                compute.unit_picture(picture.sha256, found.key.model, place, unit, limit, CARD, True, picture),
                width="stretch",
                alt=f"Activation of unit {unit} of layer {layer} on {picture.name}",
            )
            st.caption(f"layer {layer} · unit {unit}")
    components.unit_legend(limit)


# Evidence ------------------------------------------------------------------------------------------------------------


def evidence(found: Analysis, score: ImageScore, where: Where) -> None:
    """The patch beside its nearest normal patch, for each layer, and the units between them."""
    patch = where if isinstance(where, int) else score.patch
    if isinstance(where, list):
        st.caption("Evidence is of one patch: here, of the deciding one.")
    backbone, lake = found.lake.backbone, found.lake
    for item in score.evidence(patch):
        grid = backbone.layer(item.layer).grid
        normal = lake.normals_[item.normal_picture]
        here = grid.box(item.patch, score.witnesses.placement, score.picture.size)
        there = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
        st.markdown(
            f"**Layer {item.layer}**: of all normal patches the one in *{normal.name}* is most alike. Distance "
            f"{item.distance:.3f}, that is **{item.distance / item.tau:.2f}** times the most unusual normal patch's "
            f"({item.tau:.3f})."
        )
        with st.container(horizontal=True):
            for title, picture, box in (("this picture", score.picture, here), (normal.name, normal, there)):
                small = thumbnail(picture, CROP)
                zoom = small.width / picture.width
                st.image(
                    crop_with_box(picture, box, context=5, side=CROP), width=CROP, alt=f"The patch in {title}, close up"
                )
                st.image(
                    mark_box(small, (box[0] * zoom, box[1] * zoom, box[2] * zoom, box[3] * zoom)),
                    caption=title,
                    width=CROP,
                    alt=f"Where the patch lies in {title}",
                )
        st.markdown("The neurons between the two, and their values (smoothed and scaled, as distances see them)")
        st.dataframe(
            score.carriers(patch, item.layer),
            hide_index=True,
            column_config={"here": "in this patch", "normal": "in the normal patch"},
            alt=f"Neurons of layer {item.layer} that carry the distance",
        )
        if st.toggle("Next nearest normal patches", key=f"next_{item.layer}"):
            _next_nearest(found, score, patch, item.layer)


def _next_nearest(found: Analysis, score: ImageScore, patch: int, layer: int) -> None:
    backbone = found.lake.backbone
    grid = backbone.layer(layer).grid
    items = [item for item in score.evidence(patch, N_NEXT) if item.layer == layer]
    with st.container(horizontal=True):
        for rank, item in enumerate(items, start=1):
            normal = found.lake.normals_[item.normal_picture]
            box = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
            st.image(
                crop_with_box(normal, box, context=5, side=CROP),
                caption=f"{rank}. {normal.name}, distance {item.distance:.3f}",
                width=140,
                alt=f"Normal patch number {rank}",
            )


# Weight and comparison -----------------------------------------------------------------------------------------------


def weight(found: Analysis, score: ImageScore, where: Where) -> None:
    """What the text weight is worth over all pictures, and for this one."""
    labels = found.known_labels
    curve = components.computed(
        ("weight", found.result_key),
        "Trying weights",
        lambda show: weight_curve(found.lake, found.pictures, labels, on_progress=show),
    )
    if curve is None:
        return
    measure = MEASURES[separation_measure(labels)]
    st.plotly_chart(
        split_figures.weight_curve(curve, measure, score.text_weight),
        key="weights",
        alt=f"{measure} against text weight",
    )
    st.caption(
        "Move the weight in the sidebar: scores, order, maps and decisions follow at once. The paper's best weight is "
        "about 0.3; choosing it here looks at your test labels."
    )
    components.download_table(curve, "weights.csv")


def against(found: Analysis, score: ImageScore, where: Where) -> None:
    """This picture's account less another's, unit by unit."""
    others = [one for one in sorted(found.scores, key=lambda one: -one.score) if one.picture != score.picture]
    if not others:
        st.info("Add a second test picture to compare accounts.", icon=":material/image:")
        return
    names = {one.picture.sha256: f"{one.picture.name}  ·  {one.score:.3f}" for one in others}
    held = st.session_state.get("compared_with")
    sha256 = held if held in names else others[-1].picture.sha256

    def choose(chosen: str) -> None:
        st.session_state.compared_with = chosen

    components.pick("Compare with", names, sha256, choose, 420)
    other = next(one for one in others if one.picture.sha256 == sha256)
    left, right = st.columns(2)
    for column, one in ((left, score), (right, other)):
        column.image(
            compute.score_picture(one.picture.sha256, found.key, one.text_weight, found.scale, 420, 0.6, one),
            width="stretch",
            alt=f"{one.picture.name}, score {one.score:.3f}",
            caption=f"{one.picture.name}: {one.score:.3f}, {components.verdict(one)}",
        )
    table = compare_ledgers(score, other)
    st.plotly_chart(
        split_figures.difference_bars(table, (score.picture.name, other.picture.name)),
        key="difference",
        alt="Difference of the two accounts by neuron",
    )
    st.caption(f"All differences add up to {score.score:.4f} − {other.score:.4f} = {table['difference'].sum():+.4f}.")
    components.download_table(table, "difference.csv")
