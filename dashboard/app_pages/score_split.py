"""Score split: one picture's score as visual plus cross-modal, by layer, by unit, and for any patch that is clicked."""

import streamlit as st

from dashboard import components, compute, figures, sidebar, state
from dashboard.compute import Analysis
from lake_core.overlays import crop_with_box
from lake_core.scoring import ImageScore

MAP_SIDE = 720


def choose_patch(key: str) -> None:
    """Takes a click on the map into the shared selection; a selection that was merely reset is ignored."""
    points = st.session_state[key].selection.points
    if points:
        state.set_focus(patch=int(points[0]["customdata"][0]))


def clickable(found: Analysis, score: ImageScore, patch: int) -> None:
    """The picture with its map; a click chooses a patch."""
    picture = score.picture
    jpeg = compute.score_picture(picture.sha256, found.key, score.text_weight, found.scale, MAP_SIDE, 0.6, score)
    key = f"map_{picture.sha256[:12]}"
    st.plotly_chart(
        figures.clickable_map(
            jpeg, picture.size, score.witnesses.grid, score.witnesses.placement, score.map.ravel(), patch
        ),
        key=key,
        on_select=lambda: choose_patch(key),
        selection_mode="points",
        config={"displayModeBar": False},
        alt=f"{picture.name} with its score map; patch {patch} is marked. Choose another by its row and column below.",
    )
    components.score_legend(found)
    grid = score.witnesses.grid
    st.session_state.patch_row, st.session_state.patch_col = patch // grid.cols + 1, patch % grid.cols + 1

    def by_number() -> None:
        state.set_focus(patch=(st.session_state.patch_row - 1) * grid.cols + st.session_state.patch_col - 1)

    row = st.container(horizontal=True, vertical_alignment="bottom")
    row.number_input("Row", 1, grid.rows, key="patch_row", on_change=by_number, width=130)
    row.number_input("Column", 1, grid.cols, key="patch_col", on_change=by_number, width=130)
    row.button(
        "Deciding patch",
        on_click=lambda: state.set_focus(patch=None),
        disabled=state.focus().patch is None,
        width="stretch",
    )


def evidence(found: Analysis, score: ImageScore, patch: int) -> None:
    """The patch beside its nearest normal patch, for each layer."""
    st.subheader("The patch and the nearest normal patch", anchor=False)
    backbone = found.lake.backbone
    for item in score.evidence(patch):
        grid = backbone.layer(item.layer).grid
        normal = found.lake.normals_[item.normal_picture]
        here = grid.box(item.patch, score.witnesses.placement, score.picture.size)
        there = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
        left, right, says = st.columns([1, 1, 1.4], vertical_alignment="center")
        left.image(
            crop_with_box(score.picture, here, context=5, side=220),
            caption="this picture",
            alt="The patch with its surroundings",
        )
        right.image(
            crop_with_box(normal, there, context=5, side=220), caption=normal.name, alt="The nearest normal patch"
        )
        says.markdown(
            f"**Layer {item.layer}**: of all normal patches the one in *{normal.name}* is most alike. Distance "
            f"{item.distance:.3f}, that is **{item.distance / item.tau:.2f}** times the most unusual normal patch's "
            f"({item.tau:.3f})."
        )


def unit_section(found: Analysis, score: ImageScore, patch: int | None) -> None:
    """The units that carry the visual part; a click leads to a unit."""
    st.subheader("Neuron by neuron", anchor=False)
    table = score.ledger(patch)
    event = st.plotly_chart(
        figures.unit_bars(table),
        on_select="rerun",
        selection_mode="points",
        key=f"units_{score.picture.sha256[:12]}_{patch}",
        alt="Contributions of the strongest neurons to the score",
    )
    points = event.selection.points
    code = points[0].get("customdata") if points else None
    code = code[0] if isinstance(code, list) else code
    if code:
        layer, unit = (int(part) for part in str(code).split(":"))
        state.set_focus(layer=layer, unit=unit)
        if st.button(f"See neuron {unit} of layer {layer}", type="primary"):
            st.switch_page(st.session_state.pages["neurons"])
    else:
        st.caption("Click a bar to choose its neuron.")
    with st.expander("The whole ledger"):
        st.dataframe(table, hide_index=True, alt="Ledger: part, layer, unit, contribution")
        st.caption(f"{len(table)} rows that add up to {table['contribution'].sum():.4f}.")
    components.download_table(table, "ledger.csv", "Download the ledger (CSV)")


components.heading(
    "Score split",
    "Where one picture's score comes from: what is **seen** (distance to the nearest normal patch, by layer and "
    "neuron) and what is **read** (the patch sounds more like “anomalous” than “normal”). The parts add up exactly.",
)
found = components.analysis(sidebar.current())
score = components.pick_picture(found)
chosen = state.focus().patch
if chosen is not None and not (0 <= chosen < score.map.size and score.witnesses.inside[chosen]):
    chosen = None
    state.set_focus(patch=None)
patch = score.patch if chosen is None else chosen
total = score.score if chosen is None else score.split(chosen).score

left, right = st.columns([1, 1])
with left:
    clickable(found, score, patch)
with right:
    split = score.split(patch) if chosen is not None else score
    what = "Image score" if chosen is None else f"Patch {patch}"
    weight = score.text_weight
    components.metrics(
        [
            (what, f"{total:.3f}", components.verdict(score) if chosen is None else None),
            ("Visual", f"{split.visual:.3f}", f"× {1 - weight:.2f} = {(1 - weight) * split.visual:.3f}"),
            ("Cross-modal", f"{split.cross_modal:.3f}", f"× {weight:.2f} = {weight * split.cross_modal:.3f}"),
        ]
    )
    st.plotly_chart(
        figures.split_bars(score.ledger(chosen, level="layer"), total, score.threshold),
        alt=f"{what} {total:.3f} as the sum of its visual and cross-modal parts",
    )
    probability = score.witnesses.image_probability
    if probability is not None:
        st.caption(
            f"Beside it, never mixed in: the whole image's zero-shot probability of “anomalous” is {probability:.0%}."
        )
    evidence(found, score, patch)
unit_section(found, score, chosen)
