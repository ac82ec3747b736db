"""One run of the app: the session, the shared sidebar, the navigation, and the page."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

from dashboard.components import address, arrival, sidebar, tour
from dashboard.components.page import credit
from dashboard.components.projects import in_sidebar, look_at
from dashboard.components.samples import take_sample
from dashboard.services import registry
from dashboard.services.cache import pinned
from dashboard.session import current
from dashboard.views.explain import alone
from dashboard.views.images.adding import take_finished
from lake_core.data.data_root import data_root
from lake_core.errors import LakeError
from lake_core.projects.project_file import read_project

FOLDER = Path(__file__).parent
LOGO, STYLE = FOLDER / "logo.svg", FOLDER / "style.css"
PAGES = {  # group -> page -> title and icon
    "Data": {
        "images": ("Images", ":material/upload:"),
        "results": ("Results", ":material/grid_view:"),
    },
    "Explain": {
        "explain": ("Explain", ":material/frame_inspect:"),
        "neurons": ("Neurons", ":material/blur_on:"),
        "selection": ("Selection", ":material/bar_chart:"),
        "text_prompts": ("Text prompts", ":material/translate:"),
    },
    "Validate": {
        "interventions": ("Interventions", ":material/experiment:"),
        "evaluate": ("Evaluate", ":material/monitoring:"),
        "compare": ("Compare", ":material/compare:"),
    },
}


def run(arguments: Sequence[str]) -> None:
    """Draws the page that the address names.

    Args:
        arguments: Of the script.
    """
    try:
        _draw_all(arguments)
    except StopException:
        _forget_fragments()
        raise


def _draw_all(arguments: Sequence[str]) -> None:
    named = dict(pairwise(arguments))
    sample, project = named.get("--sample"), named.get("--project")
    _begin(sample, project, arguments)
    here = current()
    first = "images" if sample is None and project is None else "explain"
    groups = _pages(first)
    # The first page's address is "/". A link from a server that begins with another page calls it by its name.
    by_name = st.Page(lambda: None, title=first, url_path=first, visibility="hidden")
    here.pages = {name: page for pages in groups.values() for name, page in pages.items()}
    address.follow()
    if not here.is_alone:
        st.logo(LOGO, size="large")
    st.html(STYLE)
    page = st.navigation(
        {group: list(pages.values()) for group, pages in groups.items()} | {"": [by_name]},
        position="hidden" if here.is_alone else "sidebar",
    )
    if page == by_name:
        st.switch_page(here.pages[first], query_params=st.query_params.to_dict())
    if here.go_to is not None:
        target, here.go_to = here.go_to, None
        st.switch_page(here.pages[target], query_params=address.written())
    settings = sidebar.unseen() if here.is_alone or here.is_read_only else sidebar.draw()
    if here.is_read_only and not here.is_alone:
        in_sidebar(here, with_copy=page != here.pages["images"])
    if settings is not None and not here.is_read_only:
        here.set_settings(settings)
    address.write("address")  # before the page, which may stop early, and after it, since it may move the selection
    if settings is not None:
        _draw(page)
    if here.chosen != here.written_choice:
        address.write("address_after", by_visitor=False)


def _forget_fragments() -> None:
    """Drops the fragments of the run before, as Streamlit does itself where a page is drawn to its end: after `st.stop`
    it keeps them, and one whose turn comes then would draw into a place that is gone, at which the page goes blank."""
    context = get_script_run_ctx()
    if context is not None:
        context.fragment_storage.clear(new_fragment_ids=context.shared.new_fragment_ids.snapshot())


def _begin(sample: str | None, project: str | None, arguments: Sequence[str]) -> None:
    """Finds the session, or begins one, with the project or the sample that the command names."""
    is_new = arrival.start(registry.registry())
    here = current()
    here.data_root = data_root(arguments)
    if is_new and here.workspace.is_empty:
        try:
            if project is not None:
                look_at(here, read_project(Path(project)).opened())
            elif sample is not None:
                take_sample(sample)
        except LakeError as error:
            here.say([str(error)])
    take_finished()


def _pages(first: str) -> dict[str, dict[str, StreamlitPage]]:
    return {
        group: {
            name: st.Page(
                FOLDER / "app_pages" / f"{name}.py",
                title=title,
                icon=icon,
                url_path="first" if name == first else name,
                default=name == first,
            )
            for name, (title, icon) in pages.items()
        }
        for group, pages in PAGES.items()
    }


def _draw(page: StreamlitPage) -> None:
    here = current()
    if here.is_alone:
        with st.container(key="alone"):
            alone.draw()
        return
    shown = next(name for name, one in here.pages.items() if one.title == page.title)
    credit()
    tour.way_back(shown)
    tour.draw(shown)
    with pinned(here.workspace):
        page.run()
