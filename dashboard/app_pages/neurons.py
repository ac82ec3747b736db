"""Neurons: one unit's activation map on every picture, its histogram, and its place in the ranking."""

import numpy as np
import streamlit as st

from dashboard import components, compute, figures, sidebar, state
from dashboard.compute import Analysis, ModelKey
from lake_core.datasets import Example

CARD = 300


def pick_unit(found: Analysis, layer: int) -> int:
    """Picker of the shared unit: by rank among the selected, or any by number."""
    selection = found.lake.selection_[layer]
    unit = state.focus().unit
    if unit is None or not 0 <= unit < selection.n_units:
        unit = int(selection.units[0])
    rank = selection.rank_of(unit)
    st.session_state.picked_unit = unit
    more, number, less, chance = st.columns([1.2, 2, 1.2, 1.2], vertical_alignment="bottom")

    def go(to: int) -> None:
        state.set_focus(layer=layer, unit=int(to))

    more.button(
        "◀ more sensitive",
        on_click=go,
        args=(selection.order[max(rank - 2, 0)],),
        disabled=rank == 1,
        width="stretch",
        shortcut="Alt+Left",
    )
    number.number_input(
        f"Unit (0 to {selection.n_units - 1})",
        0,
        selection.n_units - 1,
        key="picked_unit",
        on_change=lambda: go(st.session_state.picked_unit),
    )
    less.button(
        "less sensitive ▶",
        on_click=go,
        args=(selection.order[min(rank, selection.n_units - 1)],),
        disabled=rank == selection.n_units,
        width="stretch",
        shortcut="Alt+Right",
    )
    chance.button(
        "Random neuron", on_click=lambda: go(int(np.random.default_rng().integers(selection.n_units))), width="stretch"
    )
    return unit


def maps(
    title: str, examples: tuple[Example, ...], found: Analysis, layer: int, unit: int, limit: float, smooth: bool
) -> None:
    """The unit's map on each picture, and the picture's greatest activation."""
    st.subheader(f"{title} ({len(examples)})", anchor=False)
    if not examples:
        st.caption("None yet.")
        return
    store = found.lake.store
    place = store.backbone.place(layer, found.lake.config.kind)
    model_key: ModelKey = found.key.model
    per_row = 5
    for start in range(0, len(examples), per_row):
        for column, example in zip(st.columns(per_row), examples[start : start + per_row], strict=False):
            picture = example.picture
            peak = float(store.get(picture, place)[:, unit].max())
            with column:
                st.image(
                    compute.unit_picture(picture.sha256, model_key, place, unit, limit, CARD, smooth, picture),
                    width="stretch",
                    alt=f"Activation of unit {unit} on {picture.name}, greatest {peak:.3g}",
                )
                label = "" if title.startswith("Normal") else f" · {components.label_text(example.label)}"
                st.caption(f"{picture.name}{label} · max {peak:.2f}")


components.heading(
    "Neurons",
    "Where one neuron is active, on every picture and on one shared scale. Red is above zero, blue below; faint places "
    "are near zero.",
)
found = components.analysis(sidebar.current(), tests_needed=False)
layer = components.pick_layer(found)
unit = pick_unit(found, layer)
selection = found.lake.selection_[layer]
normals, tests = compute.unit_values(found, layer, unit)
flat_normals, flat_tests = (
    np.concatenate([v[np.isfinite(v)] for v in side] or [np.zeros(0)]) for side in (normals, tests)
)
limit = compute.unit_limit(normals, tests)

rank = selection.rank_of(unit)
cells = st.columns(4)
cells[0].metric("Place in the ranking", f"{rank} of {selection.n_units}")
cells[1].metric("Selected", "yes" if unit in selection.units else "no")
cells[2].metric("Mean over normal patches", f"{flat_normals.mean():.3f}")
cells[3].metric("Mean over test patches", f"{flat_tests.mean():.3f}" if len(flat_tests) else "–")

components.unit_legend(limit)
smooth = st.toggle("Smooth display", True, help="Interpolates between patches for display only; numbers never change.")
maps("Test pictures", found.workspace.tests, found, layer, unit, limit, smooth)
maps("Normal pictures", found.workspace.normals, found, layer, unit, limit, smooth)

st.subheader("How it behaves over all patches", anchor=False)
left, right = st.columns(2)
with left:
    st.plotly_chart(
        figures.ranking(selection, unit), key="ranking", alt=f"Unit {unit} is number {rank} of {selection.n_units}"
    )
with right:
    st.plotly_chart(
        figures.activation_histogram(flat_normals, flat_tests),
        key="histogram",
        alt=f"Activations of unit {unit} over normal and test patches",
    )
