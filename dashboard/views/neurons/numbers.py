"""A neuron in numbers: its place in the ranking, distributions, quantiles, and neurons that do alike."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components import common
from dashboard.components.sidebar import KIND_NAMES
from dashboard.plots import figures
from dashboard.services import compute
from dashboard.views.neurons.view import UnitView, flat, open_unit
from lake_core.backbones.hooks import Kind
from lake_core.metrics.bootstrap import auroc_interval
from lake_core.metrics.image_metrics import auroc
from lake_core.neurons.similarity import neighbours, selected_together
from lake_core.neurons.statistics import QUANTILES

N_NEIGHBOURS = 12
NORMAL, TEST, INSIDE, OUTSIDE = "normal patches", "test patches", "inside of masks", "outside of masks"
DEFECTIVE, GOOD = "test, labelled defective", "test, labelled good"
PAIRS = ((NORMAL, TEST), (INSIDE, OUTSIDE), (DEFECTIVE, GOOD))


def own_numbers(view: UnitView) -> None:
    """The unit's place in the ranking, its means, and how well it tells defects by itself."""
    selection, unit = view.selection, view.unit
    cells: list[tuple[str, str | int, str | None]] = [
        ("Place in the ranking", f"{selection.rank_of(unit)} of {selection.n_units}", None),
        ("Selected", "yes" if unit in selection.units else "no", None),
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
        cells.append(("Alone as a detector (AUROC)", f"{area:.3f}", between))
    common.metrics(cells)


def groups_of(view: UnitView) -> dict[str, np.ndarray]:
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


def distribution(view: UnitView) -> None:
    """Histogram, quantiles, place in the ranking and the numbers picture by picture."""
    unit, layer = view.unit, view.selection.layer
    groups = groups_of(view)
    names = [name for name in PAIRS[0] if name in groups]
    pairs = {f"{one} and {other}": [one, other] for one, other in PAIRS if one in groups and other in groups}
    if len(pairs) > 1:
        names = pairs[st.segmented_control("Compare", list(pairs), default=next(iter(pairs)), required=True)]
    st.plotly_chart(
        figures.activation_histogram({name: groups[name] for name in names}),
        key="histogram",
        alt=f"Activations of unit {unit}: {' against '.join(names)}",
    )
    levels = pd.DataFrame({name: np.quantile(values, QUANTILES) for name, values in groups.items()})
    levels.insert(0, "quantile", [f"{level:g}" for level in QUANTILES])
    st.dataframe(levels, hide_index=True, alt=f"Quantiles of the activation of unit {unit}")
    st.plotly_chart(
        figures.ranking(view.selection, unit),
        key="ranking",
        alt=f"Unit {unit} is number {view.selection.rank_of(unit)} of {view.selection.n_units}",
    )
    table = table_of(view)
    with st.expander("Picture by picture"):
        st.dataframe(table, hide_index=True, alt=f"Activations of unit {unit}, picture by picture")
    common.download_table(table, f"layer{layer}_unit{unit}.csv", "Download the numbers (CSV)")


def table_of(view: UnitView) -> pd.DataFrame:
    """One row per picture: what the unit does on it."""
    n_normals = len(view.normals)
    rows = []
    for index, (example, own) in enumerate(zip(view.examples, view.values, strict=True)):
        levels = np.nanquantile(own, [0.0, 0.5, 0.99, 1.0])
        masked = view.by_mask(example)
        rows.append(
            {
                "side": "normal" if index < n_normals else "test",
                "path": example.picture.name,
                "label": example.label,
                "mean": np.nanmean(own),
            }
            | dict(zip(("min", "median", "q99", "max"), levels, strict=True))
            | ({} if masked is None else {"mean_inside_mask": masked[0].mean(), "mean_outside_mask": masked[1].mean()})
        )
    return pd.DataFrame(rows)


def company(view: UnitView) -> None:
    """Units of all layers whose maps agree most with this one's, and units selected together with it."""
    lake, layer, unit = view.found.lake, view.selection.layer, view.unit
    pictures = [example.picture for example in view.examples]
    st.markdown(
        "Neurons whose maps agree most, over all patches of all pictures. Agreement is correlation: 1 rises and falls "
        "together, −1 does the opposite, 0 has nothing in common. It does not say that one drives the other."
    )
    table = common.computed(
        ("neighbours", view.found.key, view.place, unit, compute.identities(view.found.workspace.tests)),
        "Comparing maps with every layer",
        lambda show: neighbours(lake, layer, unit, pictures, N_NEIGHBOURS, on_progress=show),
    )
    if table is None:
        return
    for row in table.to_dict("records"):
        kind: Kind = row["kind"]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                f"layer {row['layer']} · unit {row['unit']}",
                key=f"neighbour_{row['layer']}_{kind}_{row['unit']}",
                on_click=open_unit,
                args=(row["layer"], kind, row["unit"]),
                help="Open this neuron"
                if kind == lake.config.kind
                else f"Open this neuron; the sidebar's kind of neuron changes to {KIND_NAMES[kind]}",
                width=180,
            )
            st.markdown(f"{row['correlation']:+.2f} · {KIND_NAMES[kind]}{' · selected' if row['selected'] else ''}")
    together = common.computed(
        ("together", view.found.key, view.place, unit, compute.identities(view.found.workspace.tests)),
        "Leaving normal pictures out",
        lambda _: selected_together(lake, layer, unit, pictures),
    )
    if together is None:
        return
    st.markdown("**Selected together with it** in this layer, when one normal picture after the other is left out")
    if together.empty:
        st.caption("This neuron is not selected, whichever normal picture is left out.")
        return
    for other in together.head(N_NEIGHBOURS).to_dict("records"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                f"unit {other['unit']}",
                key=f"together_{other['unit']}",
                on_click=open_unit,
                args=(layer, lake.config.kind, other["unit"]),
                help="Open this neuron",
                width=180,
            )
            st.markdown(f"in {other['together']:.0%} of the selections · agreement of maps {other['correlation']:+.2f}")
    n_more = len(together) - N_NEIGHBOURS
    if n_more > 0:
        st.caption(f"and {n_more} more, in the file.")
    common.download_table(together, f"layer{layer}_unit{unit}_together.csv", "Download all of them (CSV)")
