"""A neuron in numbers: its place in the ranking, distributions, quantiles, and neurons that correlate."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.pickers import pick_one
from dashboard.components.progress import computed
from dashboard.components.tables import Cell, download_table, metrics
from dashboard.plots.neurons import activation_histogram
from dashboard.plots.selection import ranking
from dashboard.views.neurons.view import NeuronView, flat, open_neuron
from dashboard.words import SITE_NAMES
from lake_core.metrics.bootstrap import auroc_interval
from lake_core.metrics.image_metrics import auroc
from lake_core.neurons.similarity import correlated_neurons, selected_together
from lake_core.neurons.statistics import QUANTILES
from lake_core.types import Site

N_CORRELATED = 12
NORMAL, TEST, INSIDE, OUTSIDE = "normal patches", "test patches", "inside of masks", "outside of masks"
DEFECTIVE, GOOD = "test, labelled defective", "test, labelled good"
PAIRS = ((NORMAL, TEST), (INSIDE, OUTSIDE), (DEFECTIVE, GOOD))


def own_numbers(view: NeuronView) -> None:
    """The neuron's place in the ranking, its means, and how well it tells defects by itself."""
    selection, neuron = view.selection, view.neuron
    cells: list[Cell] = [
        ("Rank", f"{selection.rank_of(neuron)} of {selection.n_neurons}", None),
        ("Selected", "yes" if neuron in selection.neurons else "no", None),
        ("Mean, normal patches", f"{flat(view.normals).mean():.3f}", None),
    ]
    if view.tests:
        cells.append(("Mean, test patches", f"{flat(view.tests).mean():.3f}", None))
    known = [
        (label, float(np.nanmax(own)))
        for label, own in zip(view.found.known_labels, view.tests, strict=True)
        if label is not None
    ]
    if len({label for label, _ in known}) == 2:
        labels, peaks = zip(*known, strict=True)
        area, bounds = auroc(labels, peaks), auroc_interval(labels, peaks)
        between = None if bounds is None else f"{bounds.low:.2f} to {bounds.high:.2f} (95 %)"
        cells.append(("AUROC on its own", f"{area:.3f}", between))
    metrics(cells)


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
    """Histogram, quantiles, place in the ranking and the numbers image by image."""
    neuron, layer = view.neuron, view.selection.layer
    groups = groups_of(view)
    names = [name for name in PAIRS[0] if name in groups]
    pairs = {f"{one} and {other}": [one, other] for one, other in PAIRS if one in groups and other in groups}
    if len(pairs) > 1:
        names = pairs[pick_one("Compare", list(pairs))]
    st.plotly_chart(
        activation_histogram({name: groups[name] for name in names}),
        key="histogram",
        alt=f"Activations of neuron {neuron}: {' against '.join(names)}",
    )
    levels = pd.DataFrame({name: np.quantile(values, QUANTILES) for name, values in groups.items()})
    levels.insert(0, "quantile", [f"{level:g}" for level in QUANTILES])
    st.dataframe(levels, hide_index=True, alt=f"Quantiles of the activation of neuron {neuron}")
    st.plotly_chart(
        ranking(view.selection, neuron),
        key="ranking",
        alt=f"Neuron {neuron} is number {view.selection.rank_of(neuron)} of {view.selection.n_neurons}",
    )
    table = table_of(view)
    with st.expander("Image by image"):
        st.dataframe(table, hide_index=True, alt=f"Activations of neuron {neuron}, image by image")
    download_table(table, f"layer{layer}_neuron{neuron}.csv", "Download the numbers (CSV)")


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
    """Neurons of all layers whose maps agree most with this one's, and neurons selected together with it."""
    lake, layer, neuron = view.found.lake, view.selection.layer, view.neuron
    images = [example.image for example in view.examples]
    st.markdown(
        "Neurons whose activations correlate most with this one's, over all patches of all images. Correlation does "
        "not mean that one drives the other."
    )
    table = computed(
        ("neighbours", view.found.key, view.hook_point, neuron, view.found.tests_key),
        "Layers",
        lambda show: correlated_neurons(lake, layer, neuron, images, N_CORRELATED, on_progress=show),
    )
    if table is None:
        return
    for row in table.to_dict("records"):
        site: Site = row["site"]
        changed = "" if site == lake.config.site else f"; the sidebar's activation site changes to {SITE_NAMES[site]}"
        _way_to(
            (row["layer"], site, row["neuron"]),
            f"layer {row['layer']} · neuron {row['neuron']}",
            f"neighbour_{row['layer']}_{site}_{row['neuron']}",
            f"Open this neuron{changed}",
            f"{row['correlation']:+.2f} · {SITE_NAMES[site]}{' · selected' if row['selected'] else ''}",
        )
    together = computed(
        ("together", view.found.key, view.hook_point, neuron, view.found.tests_key),
        "Leave-one-out selections",
        lambda _: selected_together(lake, layer, neuron, images),
    )
    if together is None:
        return
    st.markdown("**Selected together with it** in this layer, over selections that leave out one normal image each")
    if together.empty:
        st.caption("This neuron is in none of these selections.")
        return
    for other in together.head(N_CORRELATED).to_dict("records"):
        _way_to(
            (layer, lake.config.site, other["neuron"]),
            f"neuron {other['neuron']}",
            f"together_{other['neuron']}",
            "Open this neuron",
            f"in {other['together']:.0%} of the selections · correlation {other['correlation']:+.2f}",
        )
    n_more = len(together) - N_CORRELATED
    if n_more > 0:
        st.caption(f"and {n_more} more in the file.")
    download_table(together, f"layer{layer}_neuron{neuron}_together.csv", "Download all of them (CSV)")


def _way_to(neuron: tuple[int, Site, int], name: str, key: str, tip: str, says: str) -> None:
    """A button that opens a neuron of a layer and site, and what there is to say of it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(name, key=key, on_click=open_neuron, args=neuron, help=tip, width=180)
        st.markdown(says)
