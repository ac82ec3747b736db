"""Sections of the page of one unit: its maps, its extreme patches, words, the pixels behind it, and pinned units."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import components, compute, state
from dashboard.compute import Analysis
from lake_core.attributions import METHODS, unit_attribution
from lake_core.capture import Place
from lake_core.datasets import Example
from lake_core.descriptions import Description
from lake_core.effects import describe
from lake_core.geometry import PatchGrid, mask_to_patches
from lake_core.overlays import crop_with_box, symmetric_limit, unit_overlay
from lake_core.units import extreme_patches

CARD, CARD_WIDTH = 300, 166
MAX_PINS = 8
N_EXTREMES = 8


def by_score(found: Analysis) -> tuple[Example, ...]:
    """The test pictures, highest score first."""
    pairs = sorted(zip(found.workspace.tests, found.scores, strict=True), key=lambda pair: -pair[1].score)
    return tuple(example for example, _ in pairs)


def maps(
    title: str, examples: tuple[Example, ...], found: Analysis, place: Place, unit: int, limit: float, smooth: bool
) -> None:
    """The unit's map on each picture, and the picture's greatest activation."""
    st.subheader(f"{title} ({len(examples)})", anchor=False)
    if not examples:
        st.caption("None yet.")
        return
    store = found.lake.store
    with st.container(horizontal=True):
        cards = [st.container(width=CARD_WIDTH) for _ in examples]
    for card, example in zip(cards, examples, strict=True):
        picture = example.picture
        peak = float(store.get(picture, place)[:, unit].max())
        with card:
            st.image(
                compute.unit_picture(picture.sha256, found.key.model, place, unit, limit, CARD, smooth, picture),
                width="stretch",
                alt=f"Activation of unit {unit} on {picture.name}, greatest {peak:.3g}",
            )
            label = "" if title.startswith("Normal") else f" · {components.label_text(example.label)}"
            st.caption(f"{picture.name}{label} · max {peak:.2f}")


def table_of(found: Analysis, place: Place, normals: list[np.ndarray], tests: list[np.ndarray]) -> pd.DataFrame:
    """One row per picture: what the unit does on it."""
    sides = (("normal", found.workspace.normals, normals), ("test", found.workspace.tests, tests))
    rows = []
    for side, examples, values in sides:
        for example, own in zip(examples, values, strict=True):
            levels = np.nanquantile(own, [0.0, 0.5, 0.99, 1.0])
            rows.append(
                {"side": side, "path": example.picture.name, "label": example.label, "mean": np.nanmean(own)}
                | dict(zip(("min", "median", "q99", "max"), levels, strict=True))
                | _by_mask(found, place, example, own)
            )
    return pd.DataFrame(rows)


def _by_mask(found: Analysis, place: Place, example: Example, own: np.ndarray) -> dict[str, float]:
    """Mean inside and outside of the defect's mask, where there is one that touches a patch."""
    backbone = found.lake.backbone
    if example.mask is None or not example.mask.any():
        return {}
    defect = mask_to_patches(example.mask, backbone.grid(place), backbone.placement(example.picture)) > 0
    on_picture = np.isfinite(own)
    if not (defect & on_picture).any() or not (~defect & on_picture).any():
        return {}
    return {
        "mean_inside_mask": float(own[defect & on_picture].mean()),
        "mean_outside_mask": float(own[~defect & on_picture].mean()),
    }


def extremes(found: Analysis, place: Place, normals: list[np.ndarray], tests: list[np.ndarray]) -> None:
    """The patches of all pictures that the unit answers to most, and least, with their surroundings."""
    examples = (*found.workspace.normals, *found.workspace.tests)
    values = np.stack([*normals, *tests])
    inside = np.isfinite(values)
    backbone = found.lake.backbone
    grid = backbone.grid(place)
    for title, lowest in (("Patches it answers to most", False), ("Patches it answers to least", True)):
        st.markdown(f"**{title}**, at most two of one picture")
        shown = extreme_patches(values, inside, N_EXTREMES, lowest=lowest, per_picture=2)
        with st.container(horizontal=True):
            cards = [st.container(width=104) for _ in shown]
        for card, patch in zip(cards, shown, strict=True):
            picture = examples[patch.picture].picture
            box = grid.box(patch.patch, backbone.placement(picture), picture.size)
            with card:
                st.image(
                    crop_with_box(picture, box, context=5, side=140),
                    width="stretch",
                    alt=f"Patch {patch.patch} of {picture.name}, activation {patch.value:.3g}",
                )
                st.caption(f"{patch.value:.2f} · {picture.name}")


def words(found: Analysis, place: Place, unit: int) -> None:
    """What the unit could be called, on demand, with its odds against chance."""
    st.markdown(
        "Two independent routes: whose patch similarity agrees with this neuron's maps, and which way it moves the "
        "whole picture in the joint space. A word is shown only if it beats what chance gives the best of all words."
    )
    key = ("words", found.key, compute.shas(found.workspace.tests), place, unit)
    if compute.results().get(key) is None and not st.button(
        "Describe this neuron", icon=":material/sell:", on_click=components.start_anew
    ):
        return
    pictures = [*found.lake.normals_, *found.pictures]
    described = components.computed(
        key, "Describing", lambda show: describe(found.lake, place.layer, [unit], pictures, on_progress=show)
    )
    if described is not None:
        _description(described[0])


def _description(description: Description) -> None:
    if description.words:
        st.success(f"**{description.text}**", icon=":material/sell:")
    else:
        st.info("No word describes this unit: none beats chance.", icon=":material/sell:")
    rows = [
        {
            "route": route,
            "word": one.word,
            "score": one.score,
            "p against chance": one.p_value,
            "shown": one.word in description.words,
        }
        for route, scores in (
            ("agreement of maps", description.agreement),
            ("effect on the picture", description.effect),
        )
        for one in scores
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Best words by both routes")
    st.caption("The text side of a small model is weak, and a label found for a unit can be wrong.")


def pixels(found: Analysis, place: Place, unit: int) -> None:
    """The pixels behind the unit on the shared picture, on demand (Captum)."""
    score = found.score_of(state.focus().picture)
    if score is None:
        st.caption("Add test pictures to see which pixels move this neuron.")
        return
    picture = score.picture
    backbone = found.lake.backbone
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.segmented_control(
            "Method",
            METHODS,
            default="integrated_gradients",
            required=True,
            key="attribution_method",
            format_func=lambda name: name.replace("_", " "),
        )
        where = st.segmented_control(
            "Of",
            ["its strongest patch", "the whole picture"],
            default="its strongest patch",
            required=True,
            key="attribution_of",
        )
    own = found.lake.store.get(picture, place)[:, unit].numpy()
    inside = backbone.grid(place).inside(backbone.placement(picture))
    patch = int(np.argmax(np.where(inside, own, -np.inf))) if where == "its strongest patch" else None
    key = ("pixels", found.key.model, picture.sha256, place, unit, patch, method)
    if compute.results().get(key) is None and not st.button(
        "Show the pixels behind it", icon=":material/biotech:", on_click=components.start_anew
    ):
        return
    kind = found.lake.config.kind
    result = components.computed(
        key,
        "Following the gradient",
        lambda show: unit_attribution(backbone, picture, place.layer, kind, unit, patch, method, on_progress=show),
    )
    if result is None:
        return
    height, width = result.map.shape
    limit = symmetric_limit([result.map], quantile=0.999)
    left, right = st.columns(2)
    left.image(
        compute.plain_picture(picture.sha256, 512, picture), caption=picture.name, width="stretch", alt=picture.name
    )
    right.image(
        unit_overlay(
            picture,
            result.map,
            PatchGrid(height, width, height, width),
            backbone.placement(picture),
            limit,
            smooth=False,
        ),
        caption="red: raises the activation; blue: lowers it",
        width="stretch",
        alt=f"Pixels that move unit {unit}",
    )
    said = f"Activation {result.value:.3f}"
    if result.baseline is not None and result.baseline_value is not None:
        said += f", {result.baseline_value:.3f} on the {result.baseline} picture it is compared with"
    if result.completeness_error is not None:
        said += f". Completeness error {result.completeness_error:.1%} over {result.steps} steps (0 is exact)"
    st.caption(said + ".")


def pins(found: Analysis, place: Place, unit: int) -> None:
    """Units pinned by the user, side by side on the shared picture."""
    held: list[tuple[Place, int]] = st.session_state.setdefault("pins", [])
    this = (place, unit)
    with st.container(horizontal=True, vertical_alignment="center"):
        if this in held:
            st.button("Unpin this neuron", on_click=lambda: held.remove(this), icon=":material/keep_off:")
        else:
            st.button(
                "Pin this neuron",
                on_click=lambda: held.append(this),
                icon=":material/keep:",
                disabled=len(held) >= MAX_PINS,
                help=f"Up to {MAX_PINS} neurons, compared below on one picture.",
            )
        if held:
            st.button("Unpin all", on_click=held.clear, type="tertiary")
    examples = by_score(found) or found.workspace.normals
    score = found.score_of(state.focus().picture)
    picture = score.picture if score is not None else examples[0].picture
    shown = [(pinned, number) for pinned, number in held if pinned in found.lake.backbone.places]
    if not shown:
        st.caption("Pin neurons to compare them side by side.")
        return
    values = [found.lake.store.get(picture, pinned)[:, number].numpy() for pinned, number in shown]
    limit = symmetric_limit(values)
    with st.container(horizontal=True):
        cards = [st.container(width=CARD_WIDTH) for _ in shown]
    for card, (pinned, number), own in zip(cards, shown, values, strict=True):
        with card:
            st.image(
                compute.unit_picture(picture.sha256, found.key.model, pinned, number, limit, CARD, True, picture),
                width="stretch",
                alt=f"Activation of unit {number} of layer {pinned.layer} on {picture.name}",
            )
            st.caption(f"layer {pinned.layer} · unit {number} · max {own.max():.2f}")
    st.caption(f"On {picture.name}, one scale from {-limit:g} to {limit:g}.")
