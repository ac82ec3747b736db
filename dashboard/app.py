"""Entry of the dashboard: the session, the shared sidebar, and the navigation."""

import sys
from itertools import pairwise
from pathlib import Path

import streamlit as st

from dashboard import session
from dashboard.components import address, arrival, sidebar, tour
from dashboard.components.page import credit
from dashboard.components.projects import in_sidebar, look_at
from dashboard.components.samples import take_sample
from dashboard.services import registry
from dashboard.services.cache import pinned
from dashboard.views.explain import alone
from lake_core.backbones.process import freeze_imports, limit_threads
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
limit_threads()
freeze_imports()
st.set_page_config(page_title="LAKE Explorer", page_icon=str(FOLDER / "icon.png"), layout="wide")

arguments = sys.argv[1:]
named = dict(pairwise(arguments))
launch_sample, launch_project = named.get("--sample"), named.get("--project")
is_new = arrival.start(registry.registry())
here = session.current()
here.data_root = data_root(arguments)
if is_new and here.workspace.is_empty:
    try:
        if launch_project is not None:
            look_at(here, read_project(Path(launch_project)))
        elif launch_sample is not None:
            take_sample(launch_sample)
    except LakeError as error:
        here.say([str(error)])

first = "images" if launch_sample is None and launch_project is None else "explain"
groups = {
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
    in_sidebar(here)
if settings is not None and not here.is_read_only:
    here.set_settings(settings)
address.write("address")  # before the page, which may stop early, and after it, since it may move the selection
if here.is_alone and settings is not None:
    with st.container(key="alone"):
        alone.draw()
elif settings is not None:
    shown = next(name for name, one in here.pages.items() if one.title == page.title)
    credit()
    tour.way_back(shown)
    tour.draw(shown)
    with pinned(here.workspace):
        page.run()
if here.chosen != here.written_choice:
    address.write("address_after", by_visitor=False)
