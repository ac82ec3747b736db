"""Selection, whether it holds: other criteria, the two activation sites, and other values of K."""

import streamlit as st

from dashboard.components.progress import computed
from dashboard.components.tables import download_table
from dashboard.plots import checks
from dashboard.services.analysis import Analysis
from dashboard.words import SEPARATION_NAMES
from lake_core.experiments.controls import separation_measure, sweep_k
from lake_core.experiments.ranking import compare_criteria
from lake_core.neurons.similarity import CORRELATED, SitesOverlap, sites_overlap
from lake_core.sentences import quantity
from lake_core.types import SITES, Progress


def criteria(found: Analysis) -> None:
    """What other criteria would select."""
    compared = computed(("criteria", found.key), "Other criteria", lambda _: compare_criteria(found.lake))
    if compared is None:
        return
    for layer, table in compared.jaccard.items():
        st.subheader(f"Layer {layer}", anchor=False)
        selections = compared.selections[layer]
        st.plotly_chart(
            checks.criteria_compared(selections),
            key=f"criteria_{layer}",
            alt=f"Which neurons of layer {layer} each criterion selects",
        )
        first = next(iter(selections.values()))
        k, n_neurons = len(first.neurons), first.n_neurons
        st.caption(
            f"Each column is one of the layer's {n_neurons} neurons, from most to least sensitive by {first.criterion};"
            f" each row is what a criterion keeps of them: {quantity(k, 'neuron')}, dark blue."
        )
        st.plotly_chart(checks.overlap(table), key=f"overlap_{layer}", alt=f"Overlap of criteria in layer {layer}")
        st.caption(
            "Jaccard overlap: neurons that both criteria select, divided by those that either selects. "
            f"Two random draws of {k} overlap by about {k / (2 * n_neurons - k):.2f}."
        )
    sites(found)


def sites(found: Analysis) -> None:
    """Hidden neurons and channels of a layer matched by what they do."""
    backbone = found.lake.backbone
    layers = [layer for layer in found.lake.selection_ if all(layer in backbone.layers_with(site) for site in SITES)]
    if not layers:
        return
    st.subheader("Do the two activation sites select similar neurons?", anchor=False)
    st.markdown(
        "Neuron numbers of the two sites are unrelated, so neurons are matched by their maps: each selected MLP hidden "
        "neuron with the selected residual channel that correlates most."
    )
    for layer in layers:
        sites_of_layer(found, layer)


def sites_of_layer(found: Analysis, layer: int) -> None:
    """The best match of each selected hidden neuron of a layer."""
    lake, images = found.lake, found.workspace.images

    def work(show: Progress) -> SitesOverlap:
        lake.store.ensure(images, [lake.backbone.hook_point(layer, site) for site in SITES], show)
        return sites_overlap(lake, layer, images)

    overlap = computed(("sites", found.key, found.tests_key, layer), f"Sites of layer {layer}, images", work)
    if overlap is None:
        return
    st.plotly_chart(
        checks.best_matches(overlap.matches, CORRELATED),
        key=f"sites_{layer}",
        alt=f"Correlation of each selected MLP hidden neuron of layer {layer} with its best residual channel",
    )
    chance = overlap.strength_by_chance
    st.markdown(
        f"**Layer {layer}**: {overlap.share_correlated:.0%} of the selected MLP hidden neurons have a correlated"
        f" residual channel ({CORRELATED:g} or more). The best match correlates by {overlap.strength:.2f} on average"
        + ("." if chance is None else f"; {chance:.2f} for random neurons that are not selected.")
    )


def over_k(found: Analysis) -> None:
    """Separation and memory against K."""
    if not found.workspace.tests:
        st.info("Add test images to see what each K is worth.", icon=":material/image:")
        return
    labels = found.known_labels
    rows = computed(
        ("sweep", found.result_key),
        "Values of K",
        lambda show: sweep_k(found.lake, found.images, labels, on_progress=show),
    )
    if rows is None:
        return
    measure = SEPARATION_NAMES[separation_measure(labels)]
    st.plotly_chart(checks.sweep(rows, found.lake.config.ks, measure), alt=f"{measure} against K, selected and random")
    beyond = checks.beyond(rows)
    st.caption(
        "The band is one standard deviation over three random draws; selected and random neurons need the same memory. "
        + (f"Not drawn: {beyond}. With so few neurons the scale of the scores breaks down. " if beyond else "")
        + "Choosing K by this curve uses your test images."
    )
    download_table(rows, "sweep.csv")
