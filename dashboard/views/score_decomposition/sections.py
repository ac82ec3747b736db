"""Sections of the Score decomposition page: the neurons of an account, evidence, the fusion weight, another image."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import session
from dashboard.components import common
from dashboard.plots import decomposition
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from dashboard.views.score_decomposition.contributions import CROP, Where
from lake_core.detector.contributions import adding_up
from lake_core.detector.result import ImageResult
from lake_core.experiments.comparison import compare_contributions
from lake_core.experiments.controls import separation_measure, weight_curve
from lake_core.visualization.colours import ScoreScale, nice_ceiling, symmetric_limit
from lake_core.visualization.crops import crop_with_box, mark_box
from lake_core.visualization.legends import colour_bar
from lake_core.visualization.overlays import Style, overlay, thumbnail

CARD, CARD_WIDTH = 200, 150
N_MAPS, N_NEXT = 6, 6
MEASURES = {"auroc": "image AUROC on your labels", "gap": "mean test score − mean normal score"}


# Which neurons -------------------------------------------------------------------------------------------------------


def neurons(found: Analysis, score: ImageResult, where: Where) -> None:
    """The neurons that carry the visual part; a click leads to a neuron, and the strongest are shown on the image."""
    table = score.contributions(where)
    total = float(table["contribution"].sum())
    event = st.plotly_chart(
        decomposition.neuron_bars(table, total),
        on_select="rerun",
        selection_mode="points",
        key=f"neurons_{score.image.sha256[:12]}_{where}",
        alt="Contributions of the strongest neurons to the score",
    )
    code = _first_code(event)
    if code:
        layer, neuron = (int(part) for part in code.split(":"))
        session.set_focus(layer=layer, neuron=neuron)
        if st.button(f"See neuron {neuron} of layer {layer}", type="primary"):
            st.switch_page(st.session_state.pages["neurons"])
    else:
        st.caption("Click a bar to choose its neuron.")
    _strongest_maps(found, score, table)
    with st.expander("The whole contributions"):
        shown = table.assign(contribution=adding_up(table["contribution"], total, 4))
        st.dataframe(
            shown,
            hide_index=True,
            column_config={"contribution": st.column_config.NumberColumn(format="%.4f")},
            alt="Score decomposition: part, layer, neuron, contribution",
        )
        st.caption(f"{len(table)} rows that add up to {total:.4f}. The CSV has all digits.")
    common.download_table(table, "contributions.csv", "Download the contributions (CSV)")


def _first_code(event: Any) -> str:
    points = event.selection.points
    code = points[0].get("customdata") if points else None
    return str((code[0] if isinstance(code, list) else code) or "")


def _strongest_maps(found: Analysis, score: ImageResult, contributions: pd.DataFrame) -> None:
    """Where the strongest neurons add to the map, and how active they are."""
    top = contributions[contributions["part"] == "visual"].nlargest(N_MAPS, "contribution")
    neurons = [(int(row["layer"]), int(row["neuron"])) for row in top.to_dict("records")]
    image, patch_scores = score.image, score.patch_scores
    small = compute.reduced_image(image.sha256, CARD, image)
    maps = [score.contribution_map(layer, neuron) for layer, neuron in neurons]
    scale = _contribution_scale(found, maps)
    st.markdown(
        "**Where the strongest of them add to the score**, on one scale. All neurons' maps and the text's add up to "
        "the score map."
    )
    for card, (layer, neuron), values in zip(_cards(len(neurons)), neurons, maps, strict=True):
        card.image(
            overlay(
                small, values, patch_scores.grid, patch_scores.placement, scale, Style(max_side=CARD, contour=False)
            ),
            width="stretch",
            alt=f"What neuron {neuron} of layer {layer} adds to the score map of {image.name}",
            output_format="JPEG",
        )
        card.caption(f"layer {layer} · neuron {neuron}, up to {np.nanmax(values):.2f}")
    st.image(
        colour_bar(scale, 420, 52, dark=common.is_dark()),
        alt=f"Colour scale of contributions from 0 to {scale.vmax:g}",
    )
    _activations(found, score, neurons)


def _activations(found: Analysis, score: ImageResult, neurons: list[tuple[int, int]]) -> None:
    """How active neurons are on the image."""
    store, site, image = found.lake.store, found.lake.config.site, score.image
    hook_points = [found.lake.backbone.hook_point(layer, site) for layer, _ in neurons]
    values = [
        store.get(image, hook_point)[:, neuron].numpy()
        for hook_point, (_, neuron) in zip(hook_points, neurons, strict=True)
    ]
    limit = symmetric_limit(values, quantile=0.999)
    st.markdown(
        "**How active they are**, on one scale. A neuron also adds to the score where it is silent but active in the "
        "nearest normal patch: see *Evidence*."
    )
    for card, hook_point, (layer, neuron) in zip(_cards(len(neurons)), hook_points, neurons, strict=True):
        card.image(
            compute.neuron_image(image.sha256, found.key.model, hook_point, neuron, limit, CARD, True, image),
            width="stretch",
            alt=f"Activation of neuron {neuron} of layer {layer} on {image.name}",
        )
        card.caption(f"layer {layer} · neuron {neuron}")
    common.neuron_legend(limit)


def _cards(n: int) -> list[DeltaGenerator]:
    row = st.container(horizontal=True)
    return [row.container(width=CARD_WIDTH) for _ in range(n)]


def _contribution_scale(found: Analysis, maps: list[np.ndarray]) -> ScoreScale:
    """From 0 to about a tenth of the threshold, on every image: a score that reaches it is made of several neurons."""
    vmax = nice_ceiling(found.own_threshold / 10)
    return ScoreScale(vmax, 0.0, any(np.nanmax(values) > vmax for values in maps), fades_at=0.3 * vmax)


# Evidence ------------------------------------------------------------------------------------------------------------


def evidence(found: Analysis, score: ImageResult, where: Where) -> None:
    """The patch beside its nearest normal patch, for each layer, and the neurons between them."""
    patch = where if isinstance(where, int) else score.patch
    if isinstance(where, list):
        st.caption("Evidence is of one patch: here, of the deciding one.")
    backbone, lake = found.lake.backbone, found.lake
    for item in score.evidence(patch):
        grid = backbone.layer(item.layer).grid
        normal = lake.normals_[item.normal_image]
        here = grid.box(item.patch, score.patch_scores.placement, score.image.size)
        there = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
        st.markdown(
            f"**Layer {item.layer}**: of all normal patches the one in *{escaped(normal.name)}* is most alike. "
            f"Distance {item.distance:.3f}, that is **{item.distance / item.tau:.2f}** times the "
            f"{lake.config.calibration_percentile} of normal patches ({item.tau:.3f})."
        )
        with st.container(horizontal=True):
            for title, image, box in (("this image", score.image, here), (normal.name, normal, there)):
                small = thumbnail(image, CROP)
                zoom = small.width / image.width
                st.image(
                    crop_with_box(image, box, context=5, side=CROP),
                    width=CROP,
                    alt=f"The patch in {title}, close up",
                    output_format="JPEG",
                )
                st.image(
                    mark_box(small, (box[0] * zoom, box[1] * zoom, box[2] * zoom, box[3] * zoom)),
                    caption=escaped(title),
                    width=CROP,
                    alt=f"Where the patch lies in {title}",
                    output_format="JPEG",
                )
        st.markdown("The neurons between the two, and their values (smoothed and scaled, as distances see them)")
        st.dataframe(
            score.top_neurons(patch, item.layer),
            hide_index=True,
            column_config={"here": "in this patch", "normal": "in the normal patch"},
            alt=f"Neurons of layer {item.layer} that carry the distance",
        )
        if st.toggle("Next nearest normal patches", key=f"next_{item.layer}"):
            _next_nearest(found, score, patch, item.layer)


def _next_nearest(found: Analysis, score: ImageResult, patch: int, layer: int) -> None:
    backbone = found.lake.backbone
    grid = backbone.layer(layer).grid
    items = [item for item in score.evidence(patch, N_NEXT) if item.layer == layer]
    with st.container(horizontal=True):
        for rank, item in enumerate(items, start=1):
            normal = found.lake.normals_[item.normal_image]
            box = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
            st.image(
                crop_with_box(normal, box, context=5, side=CROP),
                caption=f"{rank}. {escaped(normal.name)}, distance {item.distance:.3f}",
                width=140,
                alt=f"Normal patch number {rank}",
                output_format="JPEG",
            )


# Weight and comparison -----------------------------------------------------------------------------------------------


def weight(found: Analysis, score: ImageResult, where: Where) -> None:
    """What the fusion weight is worth over all images, and for this one."""
    labels, config = found.known_labels, found.lake.config
    curve = common.computed(
        (
            "weight",
            found.key,
            found.lake.own_threshold,
            config.top_q,
            config.threshold_quantile,
            compute.identities(found.workspace.tests),
            labels,
        ),
        "Trying weights",
        lambda show: weight_curve(found.lake, found.scores, labels, on_progress=show),
    )
    if curve is None:
        return
    measure = MEASURES[separation_measure(labels)]
    st.plotly_chart(
        decomposition.weight_curve(curve, measure, score.fusion_weight),
        key="weights",
        alt=f"{measure} against fusion weight",
    )
    st.caption(
        "Move the weight in the sidebar: scores, order, maps and decisions follow at once. The paper's best weight is "
        "about 0.3; choosing it here looks at your test " + ("labels." if any(labels) else "images.")
    )
    common.download_table(curve, "weights.csv")


def against(found: Analysis, score: ImageResult, where: Where) -> None:
    """This image's account less another's, neuron by neuron."""
    others = [one for one in sorted(found.scores, key=lambda one: -one.score) if one.image != score.image]
    if not others:
        st.info("Add a second test image to compare accounts.", icon=":material/image:")
        return
    names = {one.image.sha256: f"{one.image.name}  ·  {one.score:.3f}" for one in others}
    held = st.session_state.get("compared_with")
    sha256 = held if held in names else others[-1].image.sha256

    def choose(chosen: str) -> None:
        st.session_state.compared_with = chosen

    common.pick("Compare with", names, sha256, choose, 420)
    other = next(one for one in others if one.image.sha256 == sha256)
    left, right = st.columns(2)
    for column, one in ((left, score), (right, other)):
        column.image(
            compute.score_image(one.image.sha256, found.key, one.fusion_weight, found.scale, 420, 0.6, one),
            width="stretch",
            alt=f"{one.image.name}, score {one.score:.3f}",
            caption=f"{escaped(one.image.name)}: {one.score:.3f}, {common.verdict(one)}",
        )
    table, difference = compare_contributions(score, other), round(score.score, 3) - round(other.score, 3)
    st.plotly_chart(
        decomposition.difference_bars(table, difference, (score.image.name, other.image.name)),
        key="difference",
        alt="Difference of the two accounts by neuron",
    )
    st.caption(
        f"All differences add up to {score.score:.3f} − {other.score:.3f} = {difference:+.3f}. Each image is "
        "taken at the max-scoring patch its score."
    )
    common.download_table(table, "difference.csv")
