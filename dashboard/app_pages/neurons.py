"""Neurons: one unit's activation map on every picture, its histogram, and its place in the ranking."""

import numpy as np
import streamlit as st

from dashboard import components, compute, figures, sidebar, state
from dashboard.compute import Analysis, ModelKey
from lake_core.datasets import Example

CARD, CARD_WIDTH = 300, 166


def strongest(found: Analysis, layer: int, n: int = 8) -> list[int]:
    """Units of a layer with the greatest contributions to the shared picture's score, greatest first."""
    score = found.score_of(state.focus().picture)
    if score is None:
        return []
    ledger = score.ledger()
    return [int(unit) for unit in ledger[ledger["layer"] == layer]["unit"].head(n)]


def pick_unit(found: Analysis, layer: int) -> int:
    """Picker of the shared unit: by rank among the selected, or any by number."""
    selection = found.lake.selection_[layer]
    unit = state.focus().unit
    carriers = strongest(found, layer)
    if unit is None or not 0 <= unit < selection.n_units:
        unit = carriers[0] if carriers else int(selection.units[0])
    rank = selection.rank_of(unit)
    st.session_state.picked_unit = unit
    shown = found.score_of(state.focus().picture)
    if shown is not None:
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


def by_score(found: Analysis) -> tuple[Example, ...]:
    """The test pictures, highest score first."""
    pairs = sorted(zip(found.workspace.tests, found.scores, strict=True), key=lambda pair: -pair[1].score)
    return tuple(example for example, _ in pairs)


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
    with st.container(horizontal=True):
        cards = [st.container(width=CARD_WIDTH) for _ in examples]
    for card, example in zip(cards, examples, strict=True):
        picture = example.picture
        peak = float(store.get(picture, place)[:, unit].max())
        with card:
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
components.metrics(
    [
        ("Place in the ranking", f"{rank} of {selection.n_units}", None),
        ("Selected", "yes" if unit in selection.units else "no", None),
        ("Mean over normal patches", f"{flat_normals.mean():.3f}", None),
        ("Mean over test patches", f"{flat_tests.mean():.3f}" if len(flat_tests) else "–", None),
    ]
)
components.unit_legend(limit)
smooth = st.toggle("Smooth display", True, help="Interpolates between patches for display only; numbers never change.")
maps("Test pictures", by_score(found), found, layer, unit, limit, smooth)
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
