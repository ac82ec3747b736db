"""Pickers of the shared selection, the test image, the layer, a neuron, and of a page's section."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from dashboard.components.address import written
from dashboard.services.analysis import Analysis
from dashboard.session import current
from dashboard.words import NEURON_CARD
from lake_core.detector.result import ImageResult

T = TypeVar("T")


def pick_one(
    label: str, options: Sequence[T] | Mapping[T, str], key: str | None = None, default: T | None = None, **look: Any
) -> T:
    """One of a few options as buttons.

    Args:
        label: Above them.
        options: At least one; of a mapping the values are their names on screen.
        key: Of the choice in the session's state.
        default: What is chosen at first; None takes the first option.
        look: As in `st.segmented_control`.
    """
    shown, names = list(options), options if isinstance(options, Mapping) else {}
    chosen: T = st.segmented_control(
        label,
        shown,
        default=shown[0] if default is None else default,
        required=True,
        key=key,
        format_func=lambda option: names.get(option, str(option)),
        **look,
    )
    return chosen


def pick_section(label: str, sections: Mapping[str, T], key: str) -> T:
    """Which of a page's sections is open, the first at first, and after a visit elsewhere the same; only its work is
    done.

    Args:
        label: For screen readers.
        sections: By the names on screen.
        key: Of the choice in the session's state.
    """
    return sections[pick_one(label, list(sections), key, label_visibility="collapsed", persist_state="session")]


def pick_image(found: Analysis) -> ImageResult:
    """Picker of the shared test image, highest score first, with steps to the next and previous one."""
    by_score = found.by_score
    order = [score.image.sha256 for score in by_score]
    names = {score.image.sha256: f"{score.image.name}  ·  {score.score:.3f}" for score in by_score}
    image = current().focus.image
    at = order.index(image) if image in order else 0

    def choose(sha256: str) -> None:
        current().set_focus(image=sha256)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        _step("◀", "Previous image", at > 0, lambda: choose(order[at - 1]))
        pick("Test image (highest score first)", names, order[at], choose, 256)
        _step("▶", "Next image", at < len(order) - 1, lambda: choose(order[at + 1]))
    return by_score[at]


def pick_layer(found: Analysis) -> int:
    """Picker of the shared layer, among all that have the activation site; those in the score are marked."""
    return pick_layer_of(found.lake.backbone.layers_with(found.lake.config.site), list(found.lake.selection_))


def pick_layer_of(layers: Sequence[int], in_score: Sequence[int]) -> int:
    """Picker of the shared layer among some; at first the last one in the score."""
    layer = current().focus.layer
    chosen = in_score[-1] if layer is None or layer not in layers else layer
    names = {number: f"{number}, {'' if number in in_score else 'not '}in the score" for number in layers}
    pick("Layer", names, chosen, lambda number: current().set_focus(layer=number, neuron=None), 220)
    return chosen


def pick(label: str, names: Mapping[T, str], chosen: T, choose: Callable[[T], None], width: int) -> None:
    """A picker that follows the shared selection.

    The browser answers with the name of an option, not with its place. So names are made unique, and names that
    change (with a score, say) make another widget: else the name on screen would be of no option any more.
    """
    taken = Counter(names.values())
    unique = {
        option: f"{name}  ({place})" if taken[name] > 1 else name
        for place, (option, name) in enumerate(names.items(), start=1)
    }
    key = f"{label}:{hash(tuple(unique.values()))}"
    st.session_state[key] = chosen  # always: on another page it is another widget, which would begin with the first
    st.selectbox(
        label,
        list(unique),
        key=key,
        format_func=unique.__getitem__,
        on_change=lambda: choose(st.session_state[key]),
        width=width,
    )


def clicked_data(key: str) -> list[list[Any]]:
    """The customdata of the points that were clicked or brushed on a chart of that key."""
    return [point["customdata"] for point in st.session_state[key].selection.points]


def first_clicked(event: Any) -> Any:
    """The customdata of the point that was clicked on a chart, or None."""
    points = event.selection.points
    return points[0].get("customdata") if points else None


def see_page(page: str, **focus: object) -> None:
    """Goes to a page, the shared selection changed first."""
    current().set_focus(**focus)
    if page == "neurons" and "neuron" in focus:
        st.session_state.neuron_section = NEURON_CARD
    st.switch_page(current().pages[page], query_params=written())


def _step(sign: str, name: str, enabled: bool, action: Callable[[], None]) -> None:
    st.button(sign, help=name, key=name, disabled=not enabled, on_click=action)
