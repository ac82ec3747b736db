"""Neurons: one unit's activation map on every picture, what it answers to, and its place in the ranking."""

import numpy as np
import streamlit as st

from dashboard import components, compute, figures, sidebar, state, unit_sections
from dashboard.compute import Analysis
from lake_core.effects import activations
from lake_core.metrics import auroc, auroc_interval
from lake_core.selection import Selection
from lake_core.units import flags, selection_of

FLAGS = {
    "register_like": "register-like: its maximum sits on the same few patches of all normal pictures",
    "dead": "dead: it never varies over the normal pictures",
    "saturated": "saturated: many normal patches are at its ceiling",
}


def strongest(found: Analysis, layer: int, n: int = 8) -> list[int]:
    """Units of a layer with the greatest contributions to the shared picture's score, greatest first."""
    score = found.score_of(state.focus().picture)
    if score is None:
        return []
    ledger = score.ledger()
    return [int(unit) for unit in ledger[ledger["layer"] == layer]["unit"].head(n)]


def pick_unit(found: Analysis, selection: Selection) -> int:
    """Picker of the shared unit: by rank among the selected, or any by number."""
    layer = selection.layer
    unit = state.focus().unit
    carriers = strongest(found, layer)
    if unit is None or not 0 <= unit < selection.n_units:
        unit = carriers[0] if carriers else int(selection.units[0])
    rank = selection.rank_of(unit)
    st.session_state.picked_unit = unit
    shown = found.score_of(state.focus().picture)
    if shown is not None and carriers:
        st.session_state.carrier = unit if unit in carriers else None
        st.pills(
            f"Neurons that carry most of the score of {shown.picture.name}",
            carriers,
            key="carrier",
            on_change=lambda: state.set_focus(layer=layer, unit=st.session_state.carrier or unit),
        )
    row = st.container(horizontal=True, vertical_alignment="bottom")

    def go(to: int) -> None:
        state.set_focus(layer=layer, unit=int(to))

    row.button(
        "◀ more sensitive",
        on_click=go,
        args=(selection.order[max(rank - 2, 0)],),
        disabled=rank == 1,
        width="stretch",
        shortcut="Alt+Left",
    )
    row.number_input(
        f"Unit (0 to {selection.n_units - 1})",
        0,
        selection.n_units - 1,
        key="picked_unit",
        on_change=lambda: go(st.session_state.picked_unit),
    )
    row.button(
        "less sensitive ▶",
        on_click=go,
        args=(selection.order[min(rank, selection.n_units - 1)],),
        disabled=rank == selection.n_units,
        width="stretch",
        shortcut="Alt+Right",
    )
    row.button(
        "Random neuron", on_click=lambda: go(int(np.random.default_rng().integers(selection.n_units))), width="stretch"
    )
    return unit


def own_numbers(
    found: Analysis, selection: Selection, unit: int, normals: list[np.ndarray], tests: list[np.ndarray]
) -> None:
    """The unit's place in the ranking, its means, and how well it tells defects by itself."""
    cells: list[tuple[str, str | int, str | None]] = [
        ("Place in the ranking", f"{selection.rank_of(unit)} of {selection.n_units}", None),
        ("Selected", "yes" if unit in selection.units else "no", None),
        ("Mean, normal patches", f"{flat(normals).mean():.3f}", None),
    ]
    if tests:
        cells.append(("Mean, test patches", f"{flat(tests).mean():.3f}", None))
    labels = found.labels
    if labels is not None and len(set(labels)) == 2:
        peaks = [float(np.nanmax(values)) for values in tests]
        area, bounds = auroc(labels, peaks), auroc_interval(labels, peaks)
        between = None if bounds is None else f"{bounds.low:.2f} to {bounds.high:.2f}"
        cells.append(("Alone as a detector (AUROC)", f"{area:.3f}", between))
    components.metrics(cells)


def flat(values: list[np.ndarray]) -> np.ndarray:
    """All values that lie on the pictures, one after the other."""
    return np.concatenate([own[np.isfinite(own)] for own in values] or [np.zeros(0)])


components.heading(
    "Neurons",
    "Where one neuron is active, on every picture and on one shared scale. Red is above zero, blue below; faint places "
    "are near zero.",
)
found = components.analysis(sidebar.current(), tests_needed=False)
selection = selection_of(found.lake, components.pick_layer(found))
place = found.lake.backbone.place(selection.layer, selection.kind)
unit = pick_unit(found, selection)
normals, tests = compute.unit_values(found, selection.layer, unit)
own_numbers(found, selection, unit, normals, tests)
acts_ipu, inside_ip = activations(found.lake, found.lake.normals_, place)
for flag in flags(acts_ipu[:, :, unit : unit + 1].numpy(), inside_ip).of(0):
    st.warning(f"This neuron is {FLAGS[flag]}.", icon=":material/flag:")

maps_tab, patches_tab, numbers_tab, words_tab, pixels_tab, pins_tab = st.tabs(
    ["Maps", "Patches", "Distribution", "Words", "Pixels behind it", "Pinned"]
)
with maps_tab:
    limit = compute.unit_limit(normals, tests)
    components.unit_legend(limit)
    smooth = st.toggle(
        "Smooth display", True, help="Interpolates between patches for display only; numbers never change."
    )
    for title, examples in (
        ("Test pictures", unit_sections.by_score(found)),
        ("Normal pictures", found.workspace.normals),
    ):
        unit_sections.maps(title, examples, found, place, unit, limit, smooth)
with patches_tab:
    unit_sections.extremes(found, place, normals, tests)
with numbers_tab:
    rank = selection.rank_of(unit)
    st.plotly_chart(
        figures.activation_histogram(flat(normals), flat(tests)),
        key="histogram",
        alt=f"Activations of unit {unit} over normal and test patches",
    )
    st.plotly_chart(
        figures.ranking(selection, unit), key="ranking", alt=f"Unit {unit} is number {rank} of {selection.n_units}"
    )
    table = unit_sections.table_of(found, place, normals, tests)
    st.dataframe(table, hide_index=True, alt=f"Activations of unit {unit}, picture by picture")
    st.download_button(
        "Download the numbers (CSV)",
        table.to_csv(index=False),
        file_name=f"layer{selection.layer}_unit{unit}.csv",
        mime="text/csv",
        icon=":material/download:",
    )
with words_tab:
    unit_sections.words(found, place, unit)
with pixels_tab:
    unit_sections.pixels(found, place, unit)
with pins_tab:
    unit_sections.pins(found, place, unit)
