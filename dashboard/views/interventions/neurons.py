"""Interventions on neurons: ablated from the score, or replaced inside the running network; with random draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.page import warn
from dashboard.components.pickers import pick_one
from dashboard.components.progress import Estimate, asked_beside, computed_beside, computed_on_demand
from dashboard.components.tables import download_table, metrics
from dashboard.plots import interventions
from dashboard.services.analysis import Analysis, neuron_key, without
from dashboard.services.estimates import Steps, seconds_of
from dashboard.services.images import nearest_normal, reduced_image, score_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import verdict
from lake_core.detector.result import ImageResult
from lake_core.experiments.ablation import (
    ScoreAblation,
    ScoreAblationControl,
    ablate_tests,
    ablation_control,
    compare_ablated,
)
from lake_core.experiments.comparison import ScoreComparison
from lake_core.experiments.neuron_sets import DEFAULT_DRAWS, selected_among, top_contributing_neurons, whole_layer
from lake_core.experiments.patching import (
    CausalChange,
    activation_patching,
    causal_ablation,
    evidence_sources,
    max_scoring_patches,
)
from lake_core.experiments.replacing import Targets
from lake_core.sentences import sentence
from lake_core.types import Pool, Progress
from lake_core.visualization.colours import ScoreScale, symmetric_limit
from lake_core.visualization.crops import crop_with_box
from lake_core.visualization.overlays import Style, overlay

T = TypeVar("T", bound=str)

TOP, ONE, LAYER, PINNED = "top neurons of this score", "one neuron", "a whole layer", "pinned neurons"
POOLS: tuple[Pool, ...] = ("selected", "layer")
POOL_NAMES: dict[Pool, str] = {"selected": "selected neurons", "layer": "all neurons of the layer"}
MEAN, MAX_SCORING = "their normal mean", "the max-scoring patch"
VALUES, HOOK_POINTS = (MEAN, "as in the nearest normal patch"), ("all patches", MAX_SCORING)
EVIDENCE = "The nearest normal patch of the max-scoring patch."
MAP_SIDE, LAYER_SIDE, N_LAYERS, MOST_NAMED = 420, 200, 6, 12


def choose_neurons(found: Analysis, score: ImageResult, key: str, only_selected: bool = True) -> dict[int, np.ndarray]:
    """The user's choice of neurons, layer by layer; empty where there is none yet.

    Args:
        score: Of the image.
        key: Of the widgets.
        only_selected: Whether pinned neurons must be selected ones; all other choices are.
    """
    lake = found.lake
    layers = list(lake.selection_)
    way = pick_one("Which neurons", [TOP, ONE, LAYER, PINNED], f"{key}_way")
    n_neurons = sum(len(selection.neurons) for selection in lake.selection_.values())
    if way == TOP:
        n = st.slider("How many", 1, n_neurons, 1, key=f"{key}_n") if n_neurons > 1 else 1
        chosen = top_contributing_neurons(score, n)
        st.caption("; ".join(_named(layer, neurons) for layer, neurons in chosen.items()))
        return chosen
    if way == PINNED:
        return _pinned(found, only_selected)
    layer = st.selectbox("Layer", layers, key=f"{key}_layer", width=160) if len(layers) > 1 else layers[0]
    if way == LAYER:
        return whole_layer(lake, layer)
    contributions = score.contributions()
    ranked = contributions[contributions["layer"] == layer]["neuron"].astype(int).tolist()
    neuron = st.selectbox("Neuron (greatest contribution first)", ranked, key=f"{key}_neuron_{layer}", width=280)
    return {layer: np.array([neuron])}


def _named(layer: int, neurons: np.ndarray) -> str:
    """A layer and its chosen neurons, as far as there is room on a line."""
    shown = ", ".join(map(str, neurons[:MOST_NAMED]))
    return f"Layer {layer}: {shown}{' …' if len(neurons) > MOST_NAMED else ''}"


def _pinned(found: Analysis, only_selected: bool) -> dict[int, np.ndarray]:
    """The pinned neurons at the activation site in use; says so where there is none."""
    lake = found.lake
    here = current()
    layers: dict[int, list[int]] = {}
    for pin in here.pins:
        n_neurons = lake.backbone.layer(pin.layer).n_neurons if pin.layer <= len(lake.backbone.layers) else {}
        is_there = pin.neuron < n_neurons.get(pin.site, 0)
        if pin.model == found.key.model and pin.site == lake.config.site and is_there:
            layers.setdefault(pin.layer, []).append(pin.neuron)
    chosen = {layer: np.array(neurons) for layer, neurons in layers.items()}
    if only_selected:
        chosen = selected_among(lake, chosen)
    if not chosen:
        what = "selected" if only_selected else "at the activation site in use"
        st.info(
            f"None of your pinned neurons is {what} in this configuration. Pin some on the Neurons page.",
            icon=":material/keep:",
        )
    return chosen


def ablate_from_score(found: Analysis, score: ImageResult) -> None:
    """Selected neurons left out of the score's arithmetic: at once for this image, on demand for the rest."""
    st.markdown(
        "The chosen neurons are ablated from the distances; memory bank, calibration and threshold are computed anew "
        "from the others. So the score changes by another amount than what they add, and may even rise. The network "
        "does not run: this shows what the **score** is made of."
    )
    neurons = choose_neurons(found, score, "off")
    if not neurons:
        return
    outcome = compare_ablated(found.lake, without(found, neurons), score)
    st.markdown(f"**{escaped(sentence(outcome.finding))}**")
    for warning in outcome.warnings:
        warn(sentence(warning))
    _before_after(found, outcome.before, outcome.after, (found.key, neuron_key(neurons)))
    _evidence(found, outcome)
    _off_everywhere(found, score, neurons)


def _off_everywhere(found: Analysis, score: ImageResult, neurons: dict[int, np.ndarray]) -> None:
    """The same for all test images, and beside random draws; on demand, beside the page."""
    key = ("off", found.result_key, found.lake.threshold_, score.image.sha256, neuron_key(neurons))
    n_scored = (1 + DEFAULT_DRAWS.n) * (1 + len(found.images))
    estimate = Estimate(seconds_of(found, Steps(n_scored=n_scored)), "Random neurons may matter as much.")
    label = f"Compare with {DEFAULT_DRAWS.n} random draws, over all images"
    if not asked_beside(key, label, ":material/casino:", estimate):
        return
    lake, scores, labels = found.lake, found.scores, found.known_labels

    def work(show: Progress) -> tuple[ScoreComparison, ScoreAblationControl]:
        tests = ablate_tests(lake, neurons, scores, labels, lambda *_: show(0, DEFAULT_DRAWS.n))
        return tests, ablation_control(lake, neurons, score, scores, labels, on_progress=show)

    made = computed_beside(key, "Random draws", work)
    if made is None:
        return
    tests, control = made
    st.markdown(escaped(sentence(control.finding)))
    if len(control.changes):
        st.plotly_chart(
            interventions.among_draws(control.change, control.changes.tolist(), "change of this image's score"),
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
    with st.expander("Image by image"):
        st.dataframe(tests.table, hide_index=True, alt="Scores before and after, image by image")
    download_table(tests.table, "neurons_off.csv")


def inside_network(found: Analysis, score: ImageResult) -> None:
    """Neurons replaced inside the running network, on demand."""
    st.markdown(
        "The chosen neurons get other values **inside the running network**: their normal mean (causal ablation) or "
        "those of the nearest normal patch (activation patching). Later layers, the text margin and the score follow; "
        "random draws are the control."
    )
    neurons = choose_neurons(found, score, "causal", only_selected=False)
    if not neurons:
        return
    in_score = neurons.keys() <= found.lake.selection_.keys()
    all_selected = in_score and all(
        np.isin(neurons[layer], found.lake.selection_[layer].neurons).all() for layer in neurons
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = _option("Their new value", VALUES if in_score else VALUES[:1], "causal_how", {}, EVIDENCE)
        where = _option("Where", HOOK_POINTS if in_score else HOOK_POINTS[:1], "causal_where", {})
        pool = _option("Random draws from", POOLS if all_selected else POOLS[1:], "causal_pool", POOL_NAMES)
    key = ("causal", found.result_key, score.image.sha256, neuron_key(neurons), how, where, pool)
    patches = max_scoring_patches(score) if where == MAX_SCORING else None

    def work(show: Progress) -> CausalChange:
        lake, image, targets = found.lake, score.image, Targets(neurons, patches)
        if how == MEAN:
            return causal_ablation(lake, image, targets, pool, on_progress=show)
        return activation_patching(lake, image, targets, evidence_sources(lake, score), pool, on_progress=show)

    n_passes = 2 + DEFAULT_DRAWS.n
    estimate = Estimate(
        seconds_of(found, Steps(n_passes, n_passes)), "The score may not move, or move as much with random neurons."
    )
    change = computed_on_demand(key, "Run the network", ":material/play_arrow:", "Forward passes", work, estimate)
    if change is not None:
        _causal(found, change, key)


def _option(label: str, options: Sequence[T], key: str, names: Mapping[T, str], help: str | None = None) -> T:
    """One of a few options; a row for each set of them, since a choice that is no option any more would be lost."""
    return pick_one(
        label, {option: names.get(option, option) for option in options}, f"{key}_{len(options)}", help=help
    )


def _causal(found: Analysis, change: CausalChange, key: Any) -> None:
    before, after = (
        found.lake.aggregate(one.patch_scores) for one in (change.before, change.after)
    )  # by the threshold of now
    _before_after(found, before, after, key)
    metrics(
        [
            ("Change of the score", f"{change.change:+.3f}", None),
            ("Change of the whole image's text margin", f"{change.text_change:+.4f}", "cos anomalous − cos normal"),
            (f"Change of layer {change.layers[-1].layer}", f"{change.layers[-1].relative:.1%}", "the last"),
        ]
    )
    st.markdown(escaped(sentence(change.finding)))
    st.plotly_chart(
        interventions.through_layers(change.layers, change.layer_changes),
        key="causal_layers",
        alt="Change of each later layer's output, with the range of the random draws",
    )
    _later_layers(change)
    if len(change.score_changes):
        st.plotly_chart(
            interventions.among_draws(change.change, change.score_changes.tolist(), "change of this image's score"),
            key="causal_draws",
            alt=f"Change {change.change:.3f} of the score among {len(change.score_changes)} random draws",
        )
    st.caption("Neurons selected for their variance are changed by more than random ones; keep this in mind.")


def _later_layers(change: CausalChange) -> None:
    """Where the output of later layers changed, for a few of them between the first and the last."""
    chosen = np.unique(np.linspace(0, len(change.layers) - 1, N_LAYERS).round().astype(int))
    layers = [change.layers[index] for index in chosen]
    image, placement = change.before.image, change.before.patch_scores.placement
    small = reduced_image(image, LAYER_SIDE)
    vmax = symmetric_limit([100 * one.map for one in layers], quantile=0.995)
    scale = ScoreScale(vmax, 0.0, any(np.nanmax(100 * one.map) > vmax for one in layers), fades_at=0.4 * vmax)
    st.markdown("**Change of later layers**, in % of the mean norm of a patch's output, on one scale")
    for card, one in zip(cards(len(layers), 150), layers, strict=True):
        card.image(
            overlay(small, 100 * one.map, one.grid, placement, scale, Style(max_side=LAYER_SIDE, contour=False)),
            width="stretch",
            alt=f"Where the output of layer {one.layer} changed on {image.name}",
            output_format="JPEG",
        )
        card.caption(f"layer {one.layer}: {one.relative:.1%} in all")
    legend(scale, "the changes", "%")


def _before_after(found: Analysis, before: ImageResult, after: ImageResult, key: Any) -> None:
    """The image's map before and after, on one scale."""
    left, right = st.columns(2)
    for column, title, one, own_key in ((left, "Before", before, found.key), (right, "After", after, key)):
        scale = replace(found.scale, threshold=one.threshold, fades_at=found.scale.threshold)
        column.image(
            score_image(found, one, MAP_SIDE, scale=scale, key=own_key),
            width="stretch",
            alt=f"{title}: map of {one.image.name}, score {one.score:.3f}",
        )
        column.markdown(f"**{title}**: score {one.score:.3f}, {verdict(one)} {one.threshold:.3f}")
    legend(found.scale, "the score maps", mark="threshold before")
    st.caption("One scale for both. A white line surrounds what is above each map's own threshold.")


def _evidence(found: Analysis, outcome: ScoreAblation) -> None:
    """The nearest normal patch of the patch that decided, before and after."""
    pairs = list(zip(outcome.evidence_before, outcome.evidence_after, strict=True))
    if not pairs:
        return
    with st.expander("The nearest normal patch of the max-scoring patch, before and after"):
        for before, after in pairs:
            same = before[2:4] == after[2:4]
            st.markdown(f"Layer {before.layer}: {'the same patch' if same else 'another patch'}")
            with st.container(horizontal=True):
                for title, item in (("before", before), ("after", after)):
                    normal, box = nearest_normal(found.lake, item)
                    st.image(
                        crop_with_box(normal, box, context=5, side=180),
                        caption=f"{title}: {escaped(normal.name)}",
                        width=180,
                        alt=f"Nearest normal patch {title}",
                        output_format="JPEG",
                    )
