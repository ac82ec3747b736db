"""Pieces that several pages draw: the way into an analysis, pickers of the shared selection, score chips, legends."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pandas as pd
import streamlit as st

from dashboard import session
from dashboard.plots import figures
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.session import Settings
from dashboard.text import escaped
from lake_core.data.samples import sample_names
from lake_core.detector.result import ImageResult
from lake_core.errors import LakeError
from lake_core.experiments.perturbation_table import PerturbationTable
from lake_core.sentences import sentence
from lake_core.types import Progress
from lake_core.visualization.legends import colour_bar, signed_colour_bar

T = TypeVar("T")

SAMPLE_TITLES = {
    "metal": "Machined flange: scratches, dents, rust",
    "textile": "Woven cloth: holes, stains, misweaves",
    "gravel": "Gravel: spills, mortar, foreign objects",
}


def heading(title: str, says: str) -> None:
    """A page's title, what it shows in one sentence, and what the page before had to say."""
    st.title(title, anchor=False)
    st.markdown(says)
    show_said()


def show_said() -> None:
    """Shows the sentences kept for the user, and keeps long lists short."""
    said = session.take_said()
    if len(said) > 4:
        st.warning(f"{len(said)} remarks about your files.", icon=":material/info:")
        with st.expander("Read them", expanded=True):
            st.markdown("\n".join(f"- {escaped(sentence)}" for sentence in said))
    else:
        for sentence in said:
            st.warning(escaped(sentence), icon=":material/info:")


def take_sample(name: str) -> None:
    """Puts a built-in sample into the workspace, in place of what is there, and names the object."""
    dataset = compute.sample(name)
    fresh, _ = session.Workspace().with_added(dataset)
    session.set_workspace(fresh)
    known = {example.image.sha256 for example in dataset.tests}
    if session.focus().image not in known:
        session.set_focus(image=None, patch=None)
    st.session_state.object_name = OBJECT_NAMES.get(name, name)
    st.session_state.paused = False
    st.session_state.pop("own_threshold", None)


OBJECT_NAMES = {"metal": "metal flange", "textile": "woven fabric", "gravel": "gravel"}


def _open_sample(name: str, page_after: str) -> None:
    """Before the sidebar is drawn, since the sample names the object there."""
    try:
        take_sample(name)
    except LakeError as error:
        session.say([str(error)])
    else:
        st.session_state.go_to = page_after


def sample_cards(page_after: str) -> None:
    """One card per built-in sample; a click opens it and goes on to a page."""
    with st.container(horizontal=True):
        cards = [st.container(border=True, width=260) for _ in sample_names()]
    for card, name in zip(cards, sample_names(), strict=True):
        with card:
            st.image(compute.sample_covers()[name], width="stretch", alt=f"A defective image of the sample {name}")
            st.markdown(SAMPLE_TITLES.get(name, name))
            st.button(
                f"Open {name}", key=f"sample_{name}", on_click=_open_sample, args=(name, page_after), width="stretch"
            )


def analysis(settings: Settings, tests_needed: bool = True) -> Analysis:
    """The analysis of this session, or what is missing for one, which ends the page.

    Runs the model first, with progress and a way to cancel, on images that the backbone has not seen yet.
    """
    need_images(tests_needed)
    workspace = session.workspace()
    found = analysis_of(settings, st.session_state.get("own_threshold"))
    memory_bank = found.lake.memory_bank_
    session.follow_grid(memory_bank.grid.rows, memory_bank.grid.cols)
    for warning in memory_bank.warnings:
        st.warning(escaped(sentence(warning)), icon=":material/warning:")
    if workspace.tests and session.focus().image not in compute.shas(workspace.tests):
        most_anomalous = max(found.scores, key=lambda score: score.score)
        session.set_focus(image=most_anomalous.image.sha256)
    return found


def need_images(tests_needed: bool = True, page_after: str = "scores") -> None:
    """Ends the page where images are missing, with ways to get some."""
    workspace = session.workspace()
    if workspace.normals and (workspace.tests or not tests_needed):
        return
    missing = "normal images to learn from" if not workspace.normals else "test images to look at"
    st.info(f"There are no {missing} yet. Add some in the workspace, or open a sample.", icon=":material/image:")
    st.page_link(st.session_state.pages["workspace"], label="Go to the workspace", icon=":material/upload:")
    sample_cards(page_after)
    st.stop()


def see_images(settings: Settings) -> None:
    """Runs the model on images that it has not seen yet, and fits nothing; what is missing or wrong ends the page."""
    need_images(tests_needed=False)
    try:
        run_model(settings)
    except LakeError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.stop()


def analysis_of(settings: Settings, threshold: float | None = None) -> Analysis:
    """The analysis of this session's images with some settings, the model run first; an error ends the page.

    Args:
        settings: Any, not only the sidebar's.
        threshold: The user's own, or None for the normal images'.
    """
    try:
        run_model(settings)
        return compute.analyse(settings, session.workspace(), threshold)
    except LakeError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.stop()


def run_model(settings: Settings) -> None:
    """Computes the activations that are missing; stops the page if the user cancelled."""
    workspace = session.workspace()
    store = compute.model(compute.ModelKey(settings.spec, settings.image_size))
    images, hook_points = compute.images_of(workspace), compute.hook_points_to_compute(settings, workspace)
    todo = store.missing(images, hook_points)
    if not todo:
        return
    if st.session_state.get("paused"):
        n_done = len(images) - len(todo)
        st.info(
            f"Stopped: {n_done} of {len(images)} images are done and kept. Go on when you like.",
            icon=":material/pause_circle:",
        )
        st.button("Go on", type="primary", on_click=_set_paused, args=(False,), key="go_on")
        st.stop()
    model = f"**{escaped(settings.spec)}**"
    says = f"{model} is looking at {len(todo)} images, once; after that nothing runs it again."
    with progress_frame("Images", _set_paused, True, says=says) as show:
        store.ensure(images, hook_points, show)


@contextmanager
def progress_frame(title: str, cancel: Callable[..., None], *args: object, says: str = "") -> Iterator[Progress]:
    """A frame with progress and a way to cancel, on the page for as long as something is computed.

    One run of a page may draw several, and twice for the same thing, if what was computed is forgotten meanwhile to
    make room for other visitors. So each has a number of its own in its key, which no other frame of the session has.

    Args:
        title: What is counted.
        cancel, args: Called by the button; the page is then drawn anew, which ends the work at its next report.
        says: Markdown above the progress.
    Yields:
        A function (done, total) to report progress to.
    """
    number = st.session_state["n_frames"] = st.session_state.get("n_frames", 0) + 1
    holder = st.empty()
    with holder.container(border=True):
        if says:
            st.markdown(says)
        progress = st.progress(0.0, text=f"{title} …")
        st.button("Cancel", on_click=cancel, args=args, key=f"cancel_{number}")

    def show(done: int, total: int) -> None:
        progress.progress(min(done / max(total, 1), 1.0), text=f"{title}: {done} of {total}")

    yield show
    holder.empty()


def _set_paused(paused: bool) -> None:
    st.session_state.paused = paused


def metrics(cells: Sequence[tuple[str, str | int, str | None]]) -> None:
    """A row of numbers that wraps on a narrow screen: (name, value, small print beneath or None)."""
    with st.container(horizontal=True, gap="large"):
        for name, value, beneath in cells:
            st.metric(name, value, beneath, delta_color="off", delta_arrow="off", width="content")


def computed(key: Hashable, title: str, work: Callable[[Progress], T]) -> T | None:
    """A result that takes a while: the one made before, else made now, with progress and a way to cancel.

    Returns:
        The result, or None after the user cancelled it.
    """
    made = compute.results().get(key)
    if made is not None:
        return made
    if st.session_state.get("stopped") == key:
        st.info("Stopped.", icon=":material/pause_circle:")
        st.button("Start again", on_click=start_anew, key=f"again_{title}")
        return None
    with progress_frame(title, _stop, key) as show:
        result = work(show)
        compute.results().put(key, result)
    return result


def download_table(table: pd.DataFrame, file_name: str, label: str = "Download (CSV)") -> None:
    """A button that downloads a table."""
    st.download_button(
        label, table.to_csv(index=False), file_name=file_name, mime="text/csv", icon=":material/download:"
    )


def sensitivity(result: PerturbationTable, name: str) -> None:
    """How far a score moves under changes that should not matter: in words, as a plot and as a table."""
    low, high = result.spread
    st.markdown(f"**{escaped(sentence(result.finding))}**")
    st.plotly_chart(
        figures.sensitivity(result.table),
        key=f"{name}_spread",
        alt=f"Scores from {low:.3f} to {high:.3f}",
    )
    summary = result.by_family().rename(columns={"n": "changes", "n_turned": "decision turned"})
    three_digits = {column: st.column_config.NumberColumn(format="%.3f") for column in ("lowest", "highest")}
    st.dataframe(
        summary, hide_index=True, column_config=three_digits, alt="Lowest and highest score of each kind of change"
    )
    with st.expander(f"All {len(result.changed)} changes, one by one"):
        st.dataframe(result.table, hide_index=True, alt="Score, threshold and decision for each change")
    download_table(result.table, f"{name}.csv")


def asked_for(key: Hashable, label: str, icon: str) -> bool:
    """Whether a result that takes a while is there or was just asked for; else a button to ask for it."""
    if compute.results().get(key) is not None:
        return True
    holder = st.empty()
    asked = holder.button(label, icon=icon, on_click=start_anew)
    if asked:
        holder.empty()
    return asked


def start_anew() -> None:
    """Forgets that a computation was cancelled."""
    _stop(None)


def _stop(key: Hashable) -> None:
    st.session_state.stopped = key


def is_dark() -> bool:
    return st.context.theme.type == "dark"


def score_legend(found: Analysis) -> None:
    """The colour scale of all score maps, with the threshold."""
    scale = found.scale
    st.image(
        colour_bar(scale, 420, 52, dark=is_dark()),
        alt=f"Colour scale of the maps from 0 to {scale.vmax:g}, threshold at {scale.threshold:.3f}",
    )
    st.caption("One scale for all images. A white line surrounds what is above the threshold.")


def neuron_legend(limit: float) -> None:
    """The colour scale of a neuron's maps."""
    st.image(
        signed_colour_bar(limit, 420, 52, dark=is_dark()),
        alt=f"Colour scale of activations from {-limit:g} (blue) over 0 to {limit:g} (red)",
    )


def verdict(score: ImageResult) -> str:
    """The decision in words and a sign, never by colour alone."""
    return "▲ above threshold" if score.is_anomalous else "▽ below threshold"


def label_text(label: str | None) -> str:
    return {"good": "labelled good", "defective": "labelled defective", None: "no label"}[label]


def pick_image(found: Analysis) -> ImageResult:
    """Picker of the shared test image, highest score first, with steps to the next and previous one."""
    by_score = sorted(found.scores, key=lambda score: -score.score)
    order = [score.image.sha256 for score in by_score]
    names = {score.image.sha256: f"{score.image.name}  ·  {score.score:.3f}" for score in by_score}
    image = session.focus().image
    current = order.index(image) if image in order else 0
    last = len(order) - 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _step("◀", "Previous image", current > 0, lambda: session.set_focus(image=order[current - 1]))
        pick("Test image (highest score first)", names, order[current], lambda sha: session.set_focus(image=sha), 256)
        _step("▶", "Next image", current < last, lambda: session.set_focus(image=order[current + 1]))
    return by_score[current]


def pick_layer(found: Analysis) -> int:
    """Picker of the shared layer, among all that have the activation site; those in the score are marked."""
    in_use = list(found.lake.selection_)
    layers = list(found.lake.backbone.layers_with(found.lake.config.site))
    layer = session.focus().layer
    current = layer if layer in layers else in_use[-1]
    names = {number: f"{number}, {'' if number in in_use else 'not '}in the score" for number in layers}
    pick("Layer", names, current, lambda number: session.set_focus(layer=number, neuron=None), 220)
    return current


def pick(label: str, names: Mapping[T, str], current: T, choose: Callable[[T], None], width: int) -> None:
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
    st.session_state[key] = current  # always: on another page it is another widget, which would begin with the first
    st.selectbox(
        label,
        list(unique),
        key=key,
        format_func=unique.__getitem__,
        on_change=lambda: choose(st.session_state[key]),
        width=width,
    )


def _step(sign: str, says: str, enabled: bool, action: Callable[[], None]) -> None:
    st.button(sign, help=says, key=says, disabled=not enabled, on_click=action)
