"""Sections of the Score decomposition page: the neurons of an account, evidence, the fusion weight, another image."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.pickers import first_clicked, pick
from dashboard.components.progress import computed
from dashboard.components.tables import download_table
from dashboard.plots import decomposition
from dashboard.services.analysis import Analysis
from dashboard.services.images import NeuronMap, nearest_normal, neuron_image, reduced_image, score_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.score_decomposition.contributions import CROP, Where
from dashboard.words import SEPARATION_NAMES, verdict
from lake_core.detector.contributions import adding_up
from lake_core.detector.result import ImageResult
from lake_core.experiments.comparison import compare_contributions
from lake_core.experiments.controls import separation_measure, weight_curve
from lake_core.visualization.colours import ScoreScale, nice_ceiling, symmetric_limit
from lake_core.visualization.crops import crop_with_box, mark_box
from lake_core.visualization.overlays import Style, overlay, thumbnail

CARD, CARD_WIDTH = 200, 150
N_MAPS, N_NEXT = 6, 6


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
    clicked = first_clicked(event)
    code = str((clicked[0] if isinstance(clicked, list) else clicked) or "")
    if code:
        layer, neuron = (int(part) for part in code.split(":"))
        current().set_focus(layer=layer, neuron=neuron)
        if st.button(f"See neuron {neuron} of layer {layer}", type="primary"):
            st.switch_page(current().pages["neurons"])
    else:
        st.caption("Click a bar to choose its neuron.")
    _strongest_maps(found, score, table)
    with st.expander("All contributions"):
        shown = table.assign(contribution=adding_up(table["contribution"], total, 4))
        st.dataframe(
            shown,
            hide_index=True,
            column_config={"contribution": st.column_config.NumberColumn(format="%.4f")},
            alt="Score decomposition: part, layer, neuron, contribution",
        )
        st.caption(f"{len(table)} rows that add up to {total:.4f}. The CSV has all digits.")
    download_table(table, "contributions.csv", "Download the contributions (CSV)")


def _strongest_maps(found: Analysis, score: ImageResult, contributions: pd.DataFrame) -> None:
    """Where the strongest neurons add to the map, and how active they are."""
    top = contributions[contributions["part"] == "visual"].nlargest(N_MAPS, "contribution")
    neurons = [(int(row["layer"]), int(row["neuron"])) for row in top.to_dict("records")]
    image, patch_scores = score.image, score.patch_scores
    small = reduced_image(image, CARD)
    maps = [score.contribution_map(layer, neuron) for layer, neuron in neurons]
    scale = _contribution_scale(found, maps)
    st.markdown(
        "**Where the top neurons contribute to the score**, on one scale. The maps of all neurons and of the text add "
        "up to the score map."
    )
    style = Style(max_side=CARD, contour=False)
    for card, (layer, neuron), values in zip(cards(len(neurons), CARD_WIDTH), neurons, maps, strict=True):
        card.image(
            overlay(small, values, patch_scores.grid, patch_scores.placement, scale, style),
            width="stretch",
            alt=f"What neuron {neuron} of layer {layer} adds to the score map of {image.name}",
            output_format="JPEG",
        )
        card.caption(f"layer {layer} · neuron {neuron}, up to {np.nanmax(values):.2f}")
    legend(scale, "the contributions")
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
        "**Their activations**, on one scale. A neuron also contributes where it is silent but active in the nearest "
        "normal patch: see *Nearest normal patch*."
    )
    for card, hook_point, (layer, neuron) in zip(cards(len(neurons), CARD_WIDTH), hook_points, neurons, strict=True):
        card.image(
            neuron_image(image, NeuronMap(found.key.model, hook_point, neuron, limit, CARD)),
            width="stretch",
            alt=f"Activation of neuron {neuron} of layer {layer} on {image.name}",
        )
        card.caption(f"layer {layer} · neuron {neuron}")
    legend(limit, "the activations")


def _contribution_scale(found: Analysis, maps: list[np.ndarray]) -> ScoreScale:
    """From 0 to about a tenth of the threshold, on every image: a score that reaches it is made of several neurons."""
    vmax = nice_ceiling(found.own_threshold / 10)
    return ScoreScale(vmax, 0.0, any(np.nanmax(values) > vmax for values in maps), fades_at=0.3 * vmax)


# Evidence ------------------------------------------------------------------------------------------------------------


def evidence(found: Analysis, score: ImageResult, where: Where) -> None:
    """The patch beside its nearest normal patch, for each layer, and the neurons between them."""
    patch = where if isinstance(where, int) else score.patch
    if isinstance(where, list):
        st.caption("The nearest normal patch belongs to one patch: here, the max-scoring one.")
    lake = found.lake
    for item in score.evidence(patch):
        grid, (normal, there) = lake.backbone.layer(item.layer).grid, nearest_normal(lake, item)
        here = grid.box(item.patch, score.patch_scores.placement, score.image.size)
        st.markdown(
            f"**Layer {item.layer}**: of all normal patches the one in *{escaped(normal.name)}* is nearest. "
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
        st.markdown("The neurons that make the distance, and their values (averaged and scaled, as in the distance)")
        st.dataframe(
            score.top_neurons(patch, item.layer),
            hide_index=True,
            column_config={"here": "in this patch", "normal": "in the normal patch"},
            alt=f"Neurons of layer {item.layer} that carry the distance",
        )
        if st.toggle("Next nearest normal patches", key=f"next_{item.layer}"):
            _next_nearest(found, score, patch, item.layer)


def _next_nearest(found: Analysis, score: ImageResult, patch: int, layer: int) -> None:
    items = [item for item in score.evidence(patch, N_NEXT) if item.layer == layer]
    with st.container(horizontal=True):
        for rank, item in enumerate(items, start=1):
            normal, box = nearest_normal(found.lake, item)
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
    curve = computed(
        (
            "weight",
            found.key,
            found.lake.own_threshold,
            config.top_q,
            config.threshold_quantile,
            found.tests_key,
            labels,
        ),
        "Fusion weights",
        lambda show: weight_curve(found.lake, found.scores, labels, on_progress=show),
    )
    if curve is None:
        return
    measure = SEPARATION_NAMES[separation_measure(labels)]
    st.plotly_chart(
        decomposition.weight_curve(curve, measure, score.fusion_weight),
        key="weights",
        alt=f"{measure} against fusion weight",
    )
    st.caption(
        "Change the weight in the sidebar: scores, maps and decisions follow at once. The paper's best weight is about "
        "0.3; choosing it here uses your test " + ("labels." if any(labels) else "images.")
    )
    download_table(curve, "weights.csv")


def against(found: Analysis, score: ImageResult, where: Where) -> None:
    """This image's account less another's, neuron by neuron."""
    others = [one for one in sorted(found.scores, key=lambda one: -one.score) if one.image != score.image]
    if not others:
        st.info("Add a second test image to compare with.", icon=":material/image:")
        return
    names = {one.image.sha256: f"{one.image.name}  ·  {one.score:.3f}" for one in others}
    held = current().compared_with
    sha256 = held if held in names else others[-1].image.sha256

    def choose(chosen: str) -> None:
        current().compared_with = chosen

    pick("Compare with", names, sha256, choose, 420)
    other = next(one for one in others if one.image.sha256 == sha256)
    left, right = st.columns(2)
    for column, one in ((left, score), (right, other)):
        column.image(
            score_image(found, one, 420),
            width="stretch",
            alt=f"{one.image.name}, score {one.score:.3f}",
            caption=f"{escaped(one.image.name)}: {one.score:.3f}, {verdict(one)}",
        )
    table, difference = compare_contributions(score, other), round(score.score, 3) - round(other.score, 3)
    st.plotly_chart(
        decomposition.difference_bars(table, difference, (score.image.name, other.image.name)),
        key="difference",
        alt="Difference of the contributions by neuron",
    )
    st.caption(
        f"All differences add up to {score.score:.3f} − {other.score:.3f} = {difference:+.3f}. Each image is "
        "decomposed at its own max-scoring patch."
    )
    download_table(table, "difference.csv")
