"""Selection, whether it holds: other criteria, the two activation sites, fewer normal images, and other values of K."""

import streamlit as st

from dashboard.components import common
from dashboard.plots import selection
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from dashboard.views.selection.overview import MEASURES
from lake_core.experiments.controls import compare_criteria, separation_measure, sweep_k
from lake_core.experiments.stability import stability
from lake_core.neurons.similarity import CORRELATED, sites_overlap
from lake_core.sentences import sentence
from lake_core.types import SITES


def criteria(found: Analysis) -> None:
    """What other criteria would select."""
    compared = common.computed(("criteria", found.key), "Other criteria", lambda _: compare_criteria(found.lake))
    if compared is None:
        return
    for layer, table in compared.jaccard.items():
        st.subheader(f"Layer {layer}", anchor=False)
        selections = compared.selections[layer]
        st.plotly_chart(
            selection.side_by_side(selections),
            key=f"criteria_{layer}",
            alt=f"Which neurons of layer {layer} each criterion selects",
        )
        first = next(iter(selections.values()))
        k, n_neurons = len(first.neurons), first.n_neurons
        st.caption(
            f"Each column is one of the layer's {n_neurons} neurons, from most to least sensitive by {first.criterion};"
            f" each row is what a criterion keeps of them: {k} neurons, dark blue."
        )
        st.plotly_chart(selection.overlap(table), key=f"overlap_{layer}", alt=f"Overlap of criteria in layer {layer}")
        st.caption(
            "Share of neurons that two criteria have in common, of all neurons that either selects (Jaccard). "
            f"Two random draws of {k} have about {k / (2 * n_neurons - k):.2f} in common."
        )
    sites(found)


def sites(found: Analysis) -> None:
    """Hidden neurons and channels of a layer matched by what they do."""
    backbone = found.lake.backbone
    layers = [layer for layer in found.lake.selection_ if all(layer in backbone.layers_with(site) for site in SITES)]
    if not layers:
        return
    st.subheader("Do the two activation site find the same?", anchor=False)
    st.markdown(
        "Numbers of hidden neurons and of channels name different things, so they are matched by their maps: each "
        "selected hidden neuron with the selected channel whose map agrees most (correlation)."
    )
    for layer in layers:
        sites_of_layer(found, layer)


def sites_of_layer(found: Analysis, layer: int) -> None:
    """The best match of each selected hidden neuron of a layer."""
    overlap = common.computed(
        ("kinds", found.key, compute.identities(found.workspace.tests), layer),
        f"Matching the kinds in layer {layer}",
        lambda _: sites_overlap(found.lake, layer, compute.images_of(found.workspace)),
    )
    if overlap is None:
        return
    st.plotly_chart(
        selection.best_matches(overlap.matches, CORRELATED),
        key=f"kinds_{layer}",
        alt=f"Agreement of each selected hidden neuron of layer {layer} with its best channel",
    )
    chance = overlap.strength_by_chance
    st.markdown(
        f"**Layer {layer}**: {overlap.share_correlated:.0%} of the selected hidden neurons have a channel that does"
        f" alike (agreement of {CORRELATED:g} or more). The best match has {overlap.strength:.2f} on average"
        + ("." if chance is None else f", and {chance:.2f} for random ones that are not selected.")
    )


def steadiness(found: Analysis) -> None:
    """Whether another normal photo would change the selection."""
    result = common.computed(
        ("stability", found.key), "Leaving normal images out", lambda show: stability(found.lake, on_progress=show)
    )
    if result is None:
        return
    st.markdown(f"**{escaped(sentence(result.finding))}**")
    if len(result.runs):
        st.plotly_chart(
            selection.overlaps_by_count(result.runs), alt="Overlap of selections by number of normal images"
        )
    if len(result.neurons):
        for layer, neurons in result.neurons.groupby("layer"):
            always, sometimes = neurons[neurons["always"]], neurons[~neurons["always"]]
            st.markdown(
                f"**Layer {layer}**: {len(always)} neurons are always in, whichever image is left out; "
                f"{len(sometimes)} are in sometimes"
                + (f": {', '.join(str(neuron) for neuron in sometimes['neuron'])}." if len(sometimes) else ".")
            )
        with st.expander("Neuron by neuron"):
            st.dataframe(
                result.neurons,
                hide_index=True,
                column_config={
                    "selected": "selected from all images",
                    "share": st.column_config.NumberColumn("selected when one is left out", format="percent"),
                    "always": "always in",
                },
                alt="How often each neuron is selected",
            )


def over_k(found: Analysis) -> None:
    """Separation and memory against K."""
    if not found.workspace.tests:
        st.info("Add test images to see what each K is worth.", icon=":material/image:")
        return
    labels = found.known_labels
    rows = common.computed(
        ("sweep", found.result_key),
        "Trying values of K",
        lambda show: sweep_k(found.lake, found.images, labels, on_progress=show),
    )
    if rows is None:
        return
    measure = MEASURES[separation_measure(labels)]
    st.plotly_chart(
        selection.sweep(rows, found.lake.config.top_k, measure), alt=f"{measure} against K, selected and random"
    )
    beyond = selection.beyond(rows)
    st.caption(
        "The band is one standard deviation over three random draws; selected and random neurons need the same memory. "
        + (
            f"Too far out to draw: {beyond}. With so few neurons the scale of the scores itself breaks down. "
            if beyond
            else ""
        )
        + "Choosing K by this looks at your test images."
    )
    common.download_table(rows, "sweep.csv")
