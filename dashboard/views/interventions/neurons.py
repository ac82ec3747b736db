"""What if neurons were off: in the score's arithmetic, and inside the running network; always beside random draws."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from dashboard.components import common
from dashboard.plots import interventions
from dashboard.services import compute
from dashboard.services.background import asked_beside, computed_beside
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from lake_core.backbones.feature_store import Progress
from lake_core.detector.scoring import ImageScore
from lake_core.experiments.ablated import selected_among, top_of_ledger, whole_layer
from lake_core.experiments.ablation import (
    SwitchOff,
    SwitchOffControl,
    SwitchOffTests,
    switch_off,
    switch_off_control,
    switch_off_tests,
)
from lake_core.experiments.patching import CausalChange, ablate, deciding_patches, evidence_sources, patch_in
from lake_core.experiments.random_draws import N_DRAWS
from lake_core.experiments.replacing import Pool
from lake_core.visualization.overlays import ScoreScale, colour_bar, crop_with_box, overlay, symmetric_limit

T = TypeVar("T", bound=str)

TOP, ONE, LAYER, PINNED = "top of this picture's ledger", "one neuron", "a whole layer", "pinned neurons"
POOLS: tuple[Pool, ...] = ("selected", "layer")
POOL_NAMES: dict[Pool, str] = {"selected": "selected neurons", "layer": "all neurons of the layer"}
MEAN, DECIDING = "their normal mean", "the deciding patch"
VALUES, PLACES = (MEAN, "as in the evidence"), ("all patches", DECIDING)
EVIDENCE = "The evidence is the nearest normal patch of the deciding patch."
MAP_SIDE, LAYER_SIDE, N_LAYERS = 420, 200, 6


def choose_units(found: Analysis, score: ImageScore, key: str, only_selected: bool = True) -> dict[int, np.ndarray]:
    """The user's choice of units, layer by layer; empty where there is none yet.

    Args:
        found: The analysis.
        score: Of the picture.
        key: Of the widgets.
        only_selected: Whether pinned units must be selected ones; all other choices are.
    """
    lake = found.lake
    layers = list(lake.selection_)
    way = st.segmented_control("Which neurons", [TOP, ONE, LAYER, PINNED], default=TOP, required=True, key=f"{key}_way")
    n_units = sum(len(selection.units) for selection in lake.selection_.values())
    if way == TOP:
        n = st.slider("How many", 1, n_units, min(10, n_units), key=f"{key}_n") if n_units > 1 else 1
        return top_of_ledger(score, n)
    if way == PINNED:
        return _pinned(found, only_selected)
    layer = st.selectbox("Layer", layers, key=f"{key}_layer", width=160) if len(layers) > 1 else layers[0]
    if way == LAYER:
        return whole_layer(lake, layer)
    ledger = score.ledger()
    ranked = ledger[ledger["layer"] == layer]["unit"].astype(int).tolist()
    unit = st.selectbox("Neuron (greatest contribution first)", ranked, key=f"{key}_unit_{layer}", width=280)
    return {layer: np.array([unit])}


def _pinned(found: Analysis, only_selected: bool) -> dict[int, np.ndarray]:
    """The pinned units of the kind in use; says so where there is none."""
    lake = found.lake
    pins: list[Any] = st.session_state.get("pins", [])
    layers: dict[int, list[int]] = {}
    for place, unit in pins:
        if place.kind == lake.config.kind:
            layers.setdefault(place.layer, []).append(unit)
    chosen = {layer: np.array(units) for layer, units in layers.items()}
    if only_selected:
        chosen = selected_among(lake, chosen)
    if not chosen:
        what = "selected" if only_selected else "of the kind in use"
        st.info(
            f"None of your pinned neurons is {what} in this set-up. Pin some on the Neurons page.",
            icon=":material/keep:",
        )
    return chosen


def off(found: Analysis, score: ImageScore) -> None:
    """Selected units left out of the score's arithmetic: at once for this picture, on demand for the rest."""
    st.markdown(
        "The chosen neurons are left out of the distances; gallery, calibration and threshold are computed anew from "
        "the others. The network does not run: this tells what the **score** is made of."
    )
    units = choose_units(found, score, "off")
    if not units:
        return
    reduced = compute.without(found, units)
    outcome = switch_off(found.lake, units, score.picture, reduced)
    _before_after(found, outcome.before, outcome.after, (found.key, compute.unit_key(units)))
    st.markdown(escaped(outcome.sentence))
    for warning in outcome.warnings:
        st.warning(escaped(warning), icon=":material/warning:")
    _evidence(found, outcome)
    _off_everywhere(found, score, units)


def _off_everywhere(found: Analysis, score: ImageScore, units: dict[int, np.ndarray]) -> None:
    """The same for all test pictures, and beside random draws; on demand, beside the page."""
    key = ("off", found.result_key, found.lake.threshold_, score.picture.sha256, compute.unit_key(units))
    if not asked_beside(key, f"Compare with {N_DRAWS} random draws, over all pictures", ":material/casino:"):
        return
    lake, picture, pictures, labels = found.lake, score.picture, found.pictures, found.known_labels
    reduced, heard = compute.without(found, units), found.heard

    def work(show: Progress) -> tuple[SwitchOffTests, SwitchOffControl]:
        tests = switch_off_tests(lake, units, pictures, labels, lambda *_: show(0, N_DRAWS), reduced, heard)
        return tests, switch_off_control(
            lake, units, picture, pictures, labels, on_progress=show, reduced=reduced, heard=heard
        )

    made = computed_beside(key, "Random draws", work)
    if made is None:
        return
    tests, control = made
    st.markdown(escaped(control.sentence))
    if len(control.changes):
        st.plotly_chart(
            interventions.among_draws(control.change, control.changes.tolist(), "change of this picture's score"),
            key="off_draws",
            alt=f"Change {control.change:.3f} by the chosen neurons among {len(control.changes)} random draws",
        )
    if tests.auroc_before is not None and tests.auroc_after is not None:
        st.markdown(
            f"Image AUROC over your labels: {tests.auroc_before:.3f} before, **{tests.auroc_after:.3f}** after."
        )
    if control.auroc_change is not None and control.auroc_changes is not None and len(control.auroc_changes):
        st.plotly_chart(
            interventions.among_draws(
                control.auroc_change, control.auroc_changes.tolist(), "change of the image AUROC"
            ),
            key="off_auroc_draws",
            alt=f"Change {control.auroc_change:+.3f} of the AUROC among {len(control.auroc_changes)} random draws",
        )
    with st.expander("Picture by picture"):
        st.dataframe(tests.table, hide_index=True, alt="Scores before and after, picture by picture")
    common.download_table(tests.table, "neurons_off.csv")


def inside(found: Analysis, score: ImageScore) -> None:
    """Units replaced inside the running network, on demand."""
    st.markdown(
        "The chosen neurons get other values **inside the running network**, and the rest of it runs on: what happens "
        "to later layers, to what the picture says in words, and to the score. Random draws stand beside it."
    )
    units = choose_units(found, score, "causal", only_selected=False)
    if not units:
        return
    in_score = units.keys() <= found.lake.selection_.keys()
    all_selected = in_score and all(np.isin(units[layer], found.lake.selection_[layer].units).all() for layer in units)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = _option("Their new value", VALUES if in_score else VALUES[:1], "causal_how", {}, EVIDENCE)
        where = _option("Where", PLACES if in_score else PLACES[:1], "causal_where", {})
        pool = _option("Random draws from", POOLS if all_selected else POOLS[1:], "causal_pool", POOL_NAMES)
    key = ("causal", found.result_key, score.picture.sha256, compute.unit_key(units), how, where, pool)
    if not common.asked_for(key, "Run the network with and without them", ":material/play_arrow:"):
        return
    patches = deciding_patches(score) if where == DECIDING else None

    def work(show: Progress) -> CausalChange:
        lake, picture = found.lake, score.picture
        if how == MEAN:
            return ablate(lake, picture, units, patches, pool=pool, on_progress=show)
        return patch_in(lake, picture, units, evidence_sources(lake, score), patches, pool=pool, on_progress=show)

    change = common.computed(key, "Forward passes", work)
    if change is not None:
        _causal(found, change, key)


def _option(label: str, options: Sequence[T], key: str, names: Mapping[T, str], help: str | None = None) -> T:
    """One of a few options; a row for each set of them, since a choice that is no option any more would be lost."""
    chosen = st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        key=f"{key}_{len(options)}",
        format_func=lambda option: names.get(option, option),
        help=help,
    )
    return chosen or options[0]


def _causal(found: Analysis, change: CausalChange, key: Any) -> None:
    before, after = (found.lake.fuse(one.witnesses) for one in (change.before, change.after))  # by the threshold of now
    _before_after(found, before, after, key)
    common.metrics(
        [
            ("Change of the score", f"{change.change:+.3f}", None),
            ("Change of the whole picture's text margin", f"{change.text_change:+.4f}", "cos anomalous − cos normal"),
            (f"Change of layer {change.layers[-1].layer}", f"{change.layers[-1].relative:.1%}", "the last"),
        ]
    )
    st.markdown(escaped(change.sentence))
    st.plotly_chart(
        interventions.through_layers(change.layers, change.layer_changes),
        key="causal_layers",
        alt="Change of each later layer's output, with the range of the random draws",
    )
    _later_layers(change)
    if len(change.score_changes):
        st.plotly_chart(
            interventions.among_draws(change.change, change.score_changes.tolist(), "change of this picture's score"),
            key="causal_draws",
            alt=f"Change {change.change:.3f} of the score among {len(change.score_changes)} random draws",
        )
    st.caption("Neurons that were selected for their variance are changed by more than random ones; read it so.")


def _later_layers(change: CausalChange) -> None:
    """Where the output of later layers changed, for a few of them between the first and the last."""
    chosen = np.unique(np.linspace(0, len(change.layers) - 1, N_LAYERS).round().astype(int))
    layers = [change.layers[index] for index in chosen]
    picture, placement = change.before.picture, change.before.witnesses.placement
    small = compute.reduced_picture(picture.sha256, LAYER_SIDE, picture)
    vmax = symmetric_limit([100 * one.map for one in layers], quantile=0.995)
    scale = ScoreScale(vmax, 0.0, any(np.nanmax(100 * one.map) > vmax for one in layers), fades_at=0.4 * vmax)
    st.markdown("**Where later layers changed**, in % of the mean length of a patch's output, on one scale")
    with st.container(horizontal=True):
        cards = [st.container(width=150) for _ in layers]
    for card, one in zip(cards, layers, strict=True):
        card.image(
            overlay(small, 100 * one.map, one.grid, placement, scale, max_side=LAYER_SIDE, contour=False),
            width="stretch",
            alt=f"Where the output of layer {one.layer} changed on {picture.name}",
            output_format="JPEG",
        )
        card.caption(f"layer {one.layer}: {one.relative:.1%} in all")
    st.image(colour_bar(scale, 420, 52, dark=common.is_dark()), alt=f"Colour scale of changes from 0 to {vmax:g} %")


def _before_after(found: Analysis, before: ImageScore, after: ImageScore, key: Any) -> None:
    """The picture's map before and after, on one scale."""
    left, right = st.columns(2)
    for column, title, one, own_key in ((left, "As it is", before, found.key), (right, "Changed", after, key)):
        column.image(
            compute.score_picture(one.picture.sha256, own_key, one.text_weight, found.scale, MAP_SIDE, 0.6, one),
            width="stretch",
            alt=f"{title}: map of {one.picture.name}, score {one.score:.3f}",
        )
        column.markdown(f"**{title}**: score {one.score:.3f}, {common.verdict(one)} {one.threshold:.3f}")
    common.score_legend(found)


def _evidence(found: Analysis, outcome: SwitchOff) -> None:
    """The nearest normal patch of the patch that decided, before and after."""
    pairs = list(zip(outcome.evidence_before, outcome.evidence_after, strict=True))
    if not pairs:
        return
    backbone = found.lake.backbone
    with st.expander("The nearest normal patch, before and after"):
        for before, after in pairs:
            grid = backbone.layer(before.layer).grid
            same = before[2:4] == after[2:4]
            st.markdown(f"Layer {before.layer}: {'the same patch' if same else 'another patch'}")
            with st.container(horizontal=True):
                for title, item in (("before", before), ("after", after)):
                    normal = found.lake.normals_[item.normal_picture]
                    box = grid.box(item.normal_patch, backbone.placement(normal), normal.size)
                    st.image(
                        crop_with_box(normal, box, context=5, side=180),
                        caption=f"{title}: {escaped(normal.name)}",
                        width=180,
                        alt=f"Nearest normal patch {title}",
                        output_format="JPEG",
                    )
