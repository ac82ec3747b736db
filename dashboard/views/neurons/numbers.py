"""A neuron in numbers: distributions, quantiles, image by image, and neurons that correlate."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.neurons import neuron_button
from dashboard.components.pickers import pick_one
from dashboard.components.progress import Estimate, computed_on_demand
from dashboard.components.tables import download_table
from dashboard.plots.neurons import activation_histogram
from dashboard.views.neurons.view import NeuronView, flat
from dashboard.words import SITE_NAMES
from lake_core.neurons.similarity import correlated_neurons, selected_together
from lake_core.neurons.statistics import QUANTILES
from lake_core.types import SITES, Site

N_CORRELATED = 12
NUMBERS_A_SECOND = 100e6
"""Activations that are correlated with one neuron's in a second, measured on two cores."""
NORMAL, TEST, INSIDE, OUTSIDE = "normal patches", "test patches", "inside of masks", "outside of masks"
DEFECTIVE, GOOD = "test, labelled defective", "test, labelled good"
PAIRS = ((NORMAL, TEST), (INSIDE, OUTSIDE), (DEFECTIVE, GOOD))


def groups_of(view: NeuronView) -> dict[str, np.ndarray]:
    """Values of patches by what they belong to: inside and outside of masks, and by label, where there are any."""
    groups = {NORMAL: flat(view.normals), TEST: flat(view.tests)}
    masked = [found for example in view.found.workspace.tests if (found := view.by_mask(example)) is not None]
    if masked:
        groups[INSIDE] = np.concatenate([inside for inside, _ in masked])
        groups[OUTSIDE] = np.concatenate([outside for _, outside in masked])
    for name, wanted in ((DEFECTIVE, True), (GOOD, False)):
        labelled = zip(view.found.known_labels, view.tests, strict=True)
        groups[name] = flat([own for label, own in labelled if label is wanted])
    return {name: values for name, values in groups.items() if len(values)}


def distribution(view: NeuronView) -> None:
    """Histogram; quantiles and the numbers image by image on request."""
    st.markdown("##### How its activations are distributed")
    neuron, groups, table = view.neuron, groups_of(view), table_of(view)
    names = [name for name in PAIRS[0] if name in groups]
    pairs = {f"{one} and {other}": [one, other] for one, other in PAIRS if one in groups and other in groups}
    if len(pairs) > 1:
        names = pairs[pick_one("Compare", list(pairs))]
    st.plotly_chart(
        activation_histogram({name: groups[name] for name in names}),
        key="histogram",
        alt=f"Activations of neuron {neuron}: {' against '.join(names)}",
    )
    with st.expander("Quantiles, and the numbers image by image"):
        levels = pd.DataFrame({name: np.quantile(values, QUANTILES) for name, values in groups.items()})
        levels.insert(0, "quantile", [f"{level:g}" for level in QUANTILES])
        st.dataframe(levels, hide_index=True, alt=f"Quantiles of the activation of neuron {neuron}")
        st.dataframe(table, hide_index=True, alt=f"Activations of neuron {neuron}, image by image")
        download_table(table, f"layer{view.selection.layer}_neuron{neuron}.csv", "Download the numbers (CSV)")


def table_of(view: NeuronView) -> pd.DataFrame:
    """One row per image: what the neuron does on it."""
    n_normals = len(view.normals)
    rows = []
    for index, (example, own) in enumerate(zip(view.examples, view.values, strict=True)):
        levels = np.nanquantile(own, [0.0, 0.5, 0.99, 1.0])
        masked = view.by_mask(example)
        rows.append(
            {
                "side": "normal" if index < n_normals else "test",
                "path": example.image.name,
                "label": example.label,
                "mean": np.nanmean(own),
            }
            | dict(zip(("min", "median", "q99", "max"), levels, strict=True))
            | ({} if masked is None else {"mean_inside_mask": masked[0].mean(), "mean_outside_mask": masked[1].mean()})
        )
    return pd.DataFrame(rows)


def correlated(view: NeuronView) -> None:
    """Neurons of all layers whose maps agree most with this one's, and neurons selected together with it, on demand."""
    lake, layer, neuron = view.found.lake, view.selection.layer, view.neuron
    images = [example.image for example in view.examples]
    st.markdown("##### Correlated neurons")
    st.caption(
        "Neurons of all layers whose activations correlate most with this one's, over all patches of all images, and "
        "those selected together with it. Correlation does not mean that one drives the other."
    )
    tables = computed_on_demand(
        ("correlated", view.found.key, view.hook_point, neuron, view.found.tests_key),
        "Find correlated neurons",
        ":material/hub:",
        "Layers",
        lambda show: (
            correlated_neurons(lake, layer, neuron, images, N_CORRELATED, on_progress=show),
            selected_together(lake, layer, neuron, images),
        ),
        Estimate(_seconds(view), "Neurons that follow this one may say the same thing as it does."),
    )
    if tables is None:
        return
    left, right = st.columns(2)
    with left:
        _correlated(tables[0], lake.config.site)
    with right:
        _together(tables[1], view)


def _seconds(view: NeuronView) -> float:
    """About how long the correlations take: one product of matrices for each image and hook point."""
    backbone = view.found.lake.backbone
    places = [place for place in backbone.hook_points if place.site in SITES]
    numbers = sum(backbone.grid(place).n_patches * backbone.n_neurons(place) for place in places)
    return 0.5 + len(view.values) * numbers / NUMBERS_A_SECOND


def _correlated(table: pd.DataFrame, own_site: Site) -> None:
    for row in table.to_dict("records"):
        site: Site = row["site"]
        changed = "" if site == own_site else f"The sidebar's activation site changes to {SITE_NAMES[site]}."
        with st.container(horizontal=True, vertical_alignment="center"):
            neuron_button(
                f"layer {row['layer']} · neuron {row['neuron']}",
                f"neighbour_{row['layer']}_{site}_{row['neuron']}",
                (row["layer"], site, row["neuron"]),
                changed,
                width=180,
            )
            st.markdown(f"{row['correlation']:+.2f} · {SITE_NAMES[site]}{' · selected' if row['selected'] else ''}")


def _together(together: pd.DataFrame, view: NeuronView) -> None:
    layer, site = view.selection.layer, view.selection.site
    st.markdown("**Selected together with it** in this layer, over selections that leave out one normal image each")
    if together.empty:
        st.caption("This neuron is in none of these selections.")
        return
    for other in together.head(N_CORRELATED - 2).to_dict("records"):
        neuron = int(other["neuron"])
        with st.container(horizontal=True, vertical_alignment="center"):
            neuron_button(f"neuron {neuron}", f"together_{neuron}", (layer, site, neuron), width=180)
            st.markdown(f"in {other['together']:.0%} of the selections · correlation {other['correlation']:+.2f}")
    download_table(
        together, f"layer{layer}_neuron{view.neuron}_together.csv", f"Download all {len(together)} of them (CSV)"
    )
